"""Temporary directories of a build, and what else has to be undone at its end, the last first."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from itertools import count

from imagetool.store import disk
from imagetool.store.lease import Lease
from unionfs.annotations import Any


class Scratch:
    """A context manager. For any number of threads."""

    def __init__(self, lease: Lease) -> None:
        self.prefix = f"{lease.layout.temporary}/{lease.name}.d"  # what is left goes when the lease is dead
        self._numbers = count(1)
        self._undo = ExitStack()
        self._directories: list[str] = []
        self.remover: Callable[[list[str]], object] = remove
        """Who removes the directories, when all else is undone."""

    def __enter__(self) -> Scratch:
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()
        if self._directories:
            self.remover(self._directories)

    def callback(self, function: Callable[..., object], *arguments: Any) -> None:
        """To be called at the end."""
        self._undo.callback(function, *arguments)

    def directory(self) -> str:
        """A new empty directory, mode 0755."""
        path = f"{self.prefix}{next(self._numbers)}"
        with disk.errors("cannot make a directory for the build"):
            os.mkdir(path)
            os.chmod(path, 0o755)
        self._directories.append(path)
        return path


def remove(paths: Iterable[str]) -> None:
    """Trees that were roots once, however deep: by names below descriptors."""
    from unionfs import sysfd

    for path in paths:
        parent, name = os.path.split(path)
        with suppress(OSError):  # what is left goes with the next collection
            fd = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                sysfd.remove_tree(fd, os.fsencode(name))
            finally:
                os.close(fd)
