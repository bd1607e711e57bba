"""Putting items into a directory that may hold something already. No link in it is followed."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable
from types import TracebackType

from imagetool.build.content import Item, Names
from imagetool.build.owners import REAL, Giver
from imagetool.errors import UsageError
from imagetool.store import disk
from unionfs import sysfd
from unionfs.annotations import Self
from unionfs.namedtuple import NamedTuple

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Looks(NamedTuple):
    """Owner and mode of what is made. None: the item's own."""

    uid: int | None = None
    gid: int | None = None
    mode: Callable[[int], int] = stat.S_IMODE
    giver: Giver = REAL

    def owner(self, item: Item) -> tuple[int, int]:
        return (item.uid if self.uid is None else self.uid, item.gid if self.gid is None else self.gid)

    def make(self, parent: int, name: str) -> None:
        """A directory that the destination needs and does not have."""
        os.mkdir(name, 0o700, dir_fd=parent)
        self.giver.chown(parent, name, self.uid or 0, self.gid or 0)
        sysfd.chmod(parent, os.fsencode(name), 0o755)


class Landing:
    """Takes the items of one part, in their order, below the directory `fd`; a context manager."""

    # INVARIANT: _open holds the directories that lead to the last name made, the first below the top, each with
    # the item whose looks it is to get when it is left, or None

    def __init__(self, fd: int, looks: Looks) -> None:
        self._top = fd
        self._looks = looks
        self._open: list[tuple[str, int, Item | None]] = []

    def put_all(self, items: Iterable[Item]) -> None:
        """UsageError where a directory and something else meet; OSError."""
        for item in items:
            if item.path:
                self._enter(item.path[:-1])
                self._put(item)
        self._enter(())

    def put_file(self, item: Item, name: str) -> None:
        """The one item of a part that is a file, under this name."""
        self._put(item._replace(path=(name,)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for _, fd, _ in self._open:
            os.close(fd)

    def _enter(self, path: Names) -> None:
        """Leaves directories, and finishes them, until those that are open lead to `path`."""
        names = [row[0] for row in self._open]
        common = 0
        while common < min(len(names), len(path)) and names[common] == path[common]:
            common += 1
        while len(self._open) > common:
            _, fd, item = self._open.pop()
            try:
                if item is not None:
                    self._finish(fd, "", item)
            finally:
                os.close(fd)
        for name in path[common:]:
            self._open.append((name, os.open(name, _DIRECTORY, dir_fd=self._parent), None))

    @property
    def _parent(self) -> int:
        return self._open[-1][1] if self._open else self._top

    def _put(self, item: Item) -> None:
        name, parent = item.path[-1], self._parent
        there = sysfd.lstat_or_none(parent, os.fsencode(name))
        if stat.S_ISDIR(item.mode):
            self._put_directory(item, there)
            return
        if there is not None:
            if stat.S_ISDIR(there.st_mode) and not item.unpacked:
                raise UsageError(f"cannot replace the directory {'/'.join(item.path)} with a file")
            sysfd.remove_tree(parent, os.fsencode(name))
        if item.first is not None:
            disk.link(self._top, item.first, parent, name)
            return
        self._make(item, parent, name)
        self._finish(parent, name, item)

    def _put_directory(self, item: Item, there: os.stat_result | None) -> None:
        name, parent = item.path[-1], self._parent
        if there is not None and item.unpacked and not stat.S_ISDIR(there.st_mode):
            os.unlink(name, dir_fd=parent)
            there = None
        if there is None:
            os.mkdir(name, 0o700, dir_fd=parent)
        elif not stat.S_ISDIR(there.st_mode):
            what = "a symbolic link" if stat.S_ISLNK(there.st_mode) else "no directory"
            raise UsageError(
                f"cannot copy to non-directory: {'/'.join(item.path)} is {what} in the destination"
            )
        keeps = item.implied and there is not None
        fd = os.open(name, _DIRECTORY, dir_fd=parent)
        self._open.append((name, fd, None if keeps else item))

    def _make(self, item: Item, parent: int, name: str) -> None:
        if item.copy is not None:
            fd = os.open(name, _NEW, 0o600, dir_fd=parent)
            try:
                item.copy(fd)
            finally:
                os.close(fd)
        elif stat.S_ISLNK(item.mode):
            os.symlink(item.target, name, dir_fd=parent)
        else:
            self._looks.giver.mknod(parent, name, stat.S_IFMT(item.mode), item.rdev)

    def _finish(self, fd: int, name: str, item: Item) -> None:
        """Owner, mode, attributes, times: in this order, as each of them changes what comes before."""
        raw = os.fsencode(name)
        self._looks.giver.chown(fd, name, *self._looks.owner(item))
        if not stat.S_ISLNK(item.mode):
            sysfd.chmod(fd, raw, stat.S_IMODE(item.mode) if item.unpacked else self._looks.mode(item.mode))
        for key, value in item.xattrs().items():
            sysfd.setxattr(fd, raw, key, value)
        if name:
            os.utime(name, ns=(item.mtime, item.mtime), dir_fd=fd, follow_symlinks=False)
        else:
            os.utime(fd, ns=(item.mtime, item.mtime))
