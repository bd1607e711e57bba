"""A unionfs mount that outlives whoever asks for it, and the removal of what it stood on."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from imagetool.store import disk
from unionfs.errors import SetupError


def serve(words: str, target: str) -> None:
    """`words` are those of one -o. Returns when the mount answers; SetupError: there is none.

    A daemon is forked from here, unless something has left threads: then from a new process.
    """
    arguments = ["-o", words, "--", target]
    if "trio" not in sys.modules:
        from unionfs.cli import run

        run(arguments)
        return
    import subprocess

    from unionfs import interpreter

    command = interpreter.command("unionfs", *arguments)
    done = subprocess.run(command, capture_output=True, text=True, env=interpreter.environment())
    if done.returncode:
        raise SetupError(done.stderr.strip().removeprefix("unionfs: ") or f"cannot mount on {target}")


def remove_tree(directory: str) -> None:
    """However deep, and whatever its names: by names below descriptors."""
    from unionfs import sysfd

    parent, name = os.path.split(directory)
    with disk.errors(f"cannot remove {directory}"):
        fd = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with suppress(FileNotFoundError):
                sysfd.remove_tree(fd, os.fsencode(name))
        finally:
            os.close(fd)
