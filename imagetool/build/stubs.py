"""Places for mounts that a layer below cannot offer, as the image has deleted them or has a link in the way.

The container makes these in the step's root; what is empty still when the command has ended goes again.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from contextlib import suppress

from imagetool.runtime.inroot import open_in_root


def missing(root: str, paths: Iterable[str]) -> list[str]:
    """Those of the paths, and of their parents, that are not there; each after its parents."""
    found: dict[str, None] = {}
    top = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for path in paths:
            names = path.strip("/").split("/")
            for count in range(1, len(names) + 1):
                part = "/".join(names[:count])
                if not _exists(top, part):
                    found[part] = None
    finally:
        os.close(top)
    return list(found)


def remove(root: str, paths: Iterable[str]) -> None:
    """Takes away those that are empty files or directories."""
    top = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for path in reversed(list(paths)):
            with suppress(OSError):  # the command has put something there, or taken it away itself
                _remove(top, path)
    finally:
        os.close(top)


def _exists(top: int, path: str) -> bool:
    try:
        os.close(open_in_root(top, path))
    except OSError:
        return False
    return True


def _remove(top: int, path: str) -> None:
    folder, _, name = path.rpartition("/")
    parent = open_in_root(top, folder)
    try:
        info = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if stat.S_ISDIR(info.st_mode):
            os.rmdir(name, dir_fd=parent)
        elif stat.S_ISREG(info.st_mode) and not info.st_size:
            os.unlink(name, dir_fd=parent)
    finally:
        os.close(parent)
