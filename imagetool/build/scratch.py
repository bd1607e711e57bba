"""Temporary directories of a build, and what else has to be undone at its end, the last first."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any

from imagetool.store import disk
from imagetool.store.lease import Lease


class Scratch:
    """A context manager. For any number of threads."""

    def __init__(self, lease: Lease) -> None:
        self._lease = lease
        self._undo = ExitStack()

    def __enter__(self) -> Scratch:
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def callback(self, function: Callable[..., object], *arguments: Any) -> None:
        """To be called at the end."""
        self._undo.callback(function, *arguments)

    def directory(self) -> str:
        """A new empty directory, mode 0755."""
        path = self._lease.temporary()
        with disk.errors("cannot make a directory for the build"):
            os.mkdir(path)
            os.chmod(path, 0o755)
        self._undo.callback(_remove, path)
        return path


def _remove(path: str) -> None:
    """A tree that was a root once, however deep: by names below descriptors."""
    from unionfs import sysfd

    parent, name = os.path.split(path)
    fd = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(OSError):  # what is left goes with the lease
            sysfd.remove_tree(fd, os.fsencode(name))
    finally:
        os.close(fd)
