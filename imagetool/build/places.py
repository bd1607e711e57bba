"""Names beneath a root, found as if the root were "/": no link, no ".." and no race leads out of it.

What `runtime.inroot` does for something that is there, for a name that may not be: its directory and final name.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from types import TracebackType

from imagetool.runtime.inroot import LINKS_MAX
from unionfs.annotations import Self

Make = Callable[[int, str], None]
"""Makes a missing directory, given the descriptor of its parent and its name."""

_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Place:
    """A final name that is no symbolic link, in an open directory; a context manager that closes it.

    `name` "" is the directory itself. `path` is the whole of it from the root, without any link.
    """

    # INVARIANT: _trail has one descriptor for the root and one for each name of `folders`

    def __init__(self, root: int) -> None:
        self.name = ""
        self.folders: list[str] = []
        self._trail = [os.dup(root)]

    @property
    def parent(self) -> int:
        return self._trail[-1]

    @property
    def path(self) -> tuple[str, ...]:
        return (*self.folders, self.name) if self.name else tuple(self.folders)

    def stat(self) -> os.stat_result | None:
        """lstat(2) of it; None if nothing is there."""
        if not self.name:
            return os.fstat(self.parent)
        try:
            return os.stat(self.name, dir_fd=self.parent, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def down(self, name: str, make: Make | None) -> str:
        """Enters the directory `name`; gives the target instead if it is a symbolic link."""
        try:
            fd = os.open(name, _DIRECTORY, dir_fd=self.parent)
        except FileNotFoundError:
            if make is None:
                raise
            make(self.parent, name)
            fd = os.open(name, _DIRECTORY, dir_fd=self.parent)
        except NotADirectoryError:
            if target := _link(self.parent, name):
                return target
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), name) from None
        self.folders.append(name)
        self._trail.append(fd)
        return ""

    def up(self, levels: int = 1) -> None:
        for _ in range(min(levels, len(self.folders))):
            self.folders.pop()
            os.close(self._trail.pop())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for fd in self._trail:
            os.close(fd)
        self._trail.clear()


def locate(root: int, path: str, *, make: Make | None = None, directory: bool = False) -> Place:
    """Where `path` is beneath the directory descriptor `root`: every link is followed, the last one too.

    `directory`: it is one, and the place is in it. Without `make`, a missing directory on the way is
    FileNotFoundError. NotADirectoryError; ELOOP.
    """
    todo = [name for name in path.split("/")[::-1] if name not in ("", ".")]
    place = Place(root)
    hops = 0
    try:
        while todo:
            name = todo.pop()
            if name == "..":
                place.up()
                continue
            target = place.down(name, make) if todo or directory else _last(place, name)
            if target:
                hops += 1
                if hops > LINKS_MAX:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
                if target.startswith("/"):
                    place.up(len(place.folders))
                todo += [part for part in target.split("/")[::-1] if part not in ("", ".")]
    except BaseException:
        place.__exit__(None, None, None)
        raise
    return place


def _last(place: Place, name: str) -> str:
    """The target if the last component is a link; else it becomes the place's name."""
    target = _link(place.parent, name)
    place.name = "" if target else name
    return target


def _link(parent: int, name: str) -> str:
    """The target of a symbolic link; "" for what is none, or not there."""
    try:
        if not stat.S_ISLNK(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            return ""
        return os.readlink(name, dir_fd=parent)
    except FileNotFoundError:
        return ""
