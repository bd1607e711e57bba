"""Owners and devices in a build of who is not root: what cannot be real on disk is noted there.

In the user namespace of such a build every owner is real if there are ranges in /etc/subuid. With one id, the files
of a step are that user's, and whose they are in the image is in an attribute of theirs (`unionfs.override`): the
mount of a step keeps it for what the image has, and `Notes` makes it for what a COPY, ADD or WORKDIR brings. A symbolic
link can have none. No device can be made in either case: it is an empty file with a note.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from contextlib import suppress

from imagetool.containers import rootless
from imagetool.errors import StoreError
from unionfs import sysfd
from unionfs.annotations import TYPE_CHECKING, Protocol
from unionfs.model import ROOT_ID
from unionfs.namedtuple import NamedTuple

if TYPE_CHECKING:
    from imagetool.archive.pack import Options
    from unionfs.layers.base import Layer

ALONE = (
    "NOTE: there is one user id here, so that no file can be given to another user and no process become one; "
    "ranges in /etc/subuid and /etc/subgid would help (usermod --add-subuids)."
)
"""For who wonders why a command has failed."""

_DEVICES = (stat.S_IFCHR, stat.S_IFBLK)

Words = list[tuple[str, str | None]]


def in_namespace() -> bool:
    """Whether this process is root of a user namespace only, be it by itself or where it was started."""
    with open("/proc/self/uid_map") as file:
        return file.read().split() != ["0", "0", "4294967295"]


def are_noted() -> bool:
    """Whether this process is in a user namespace with one id."""
    return in_namespace() and rootless.has_one_id()


def top(asked: str) -> str:
    """Who is to keep the changes of steps: the kernel's overlayfs knows no notes. StoreError."""
    if not are_noted():
        return asked
    if asked == "overlay":
        text = "--top overlay needs more than one user id"
        raise StoreError(text, hint="use --top fuse, or have a range in /etc/subuid and /etc/subgid")
    return "fuse"


def reading(epoch: int | None, *, noted: bool) -> Options:
    """How the upper directory of a step is read."""
    from imagetool.archive.pack import Options
    from unionfs.override import CONTAINERS

    return Options(in_namespace(), CONTAINERS if noted or are_noted() else b"", epoch)


def mount_words(*, changing: bool) -> list[str]:
    """Options of a union in which steps work."""
    words = ["userxattr"] if in_namespace() and changing else []
    if are_noted():
        words += ["squash_to_uid=0,squash_to_gid=0", *["xattr_permissions=2"] * changing]
    return words


def overlay_words(*, changing: bool) -> Words:
    """Options of the kernel's overlayfs, which in a user namespace writes neither redirects nor files without data."""
    if in_namespace():
        return [("index", "off"), ("userxattr", None)]
    index = "on" if changing else "off"  # a change of a lower file is one under all its names (`hardlinks`)
    return [("index", index), ("redirect_dir", "on"), ("metacopy", "on")]


def is_unindexed() -> bool:
    """Whether the kernel's overlayfs keeps no index of hard links, nor follows redirects: in a user namespace."""
    return in_namespace()


class Giver(Protocol):
    """Who gives files their owners, and makes what is no file; below the descriptor `parent`, whose name is ""."""

    def chown(self, parent: int, name: str, uid: int, gid: int) -> None: ...

    def mknod(self, parent: int, name: str, kind: int, rdev: int) -> None: ...


class _Real:
    def chown(self, parent: int, name: str, uid: int, gid: int) -> None:
        sysfd.chown(parent, os.fsencode(name), uid, gid)

    def mknod(self, parent: int, name: str, kind: int, rdev: int) -> None:
        os.mknod(name, kind | 0o600, rdev, dir_fd=parent)


class _Here(_Real):
    def chown(self, parent: int, name: str, uid: int, gid: int) -> None:
        if not are_noted():
            super().chown(parent, name, uid, gid)

    def mknod(self, parent: int, name: str, kind: int, rdev: int) -> None:
        super().mknod(parent, name, stat.S_IFREG if in_namespace() and kind in _DEVICES else kind, rdev)


REAL: Giver = _Real()
HERE: Giver = _Here()
"""For what is in no image: where there is one id, files have that; where there can be no devices, they are files."""


class Note(NamedTuple):
    """What a file is not on disk. `owner` None: it has its own there; `kind` 0: it is what it is there."""

    owner: tuple[int, int] | None = None
    kind: int = 0
    rdev: int = 0


class Notes:
    """What is made below the directory `root`, to be written where its top layer is when nothing is mounted there."""

    def __init__(self, root: str) -> None:
        self._root = os.path.realpath(root)
        self._rows: dict[str, Note] = {}  # by paths below the root
        self._lonely = are_noted()

    @property
    def giver(self) -> Giver:
        return self if in_namespace() else REAL

    def chown(self, parent: int, name: str, uid: int, gid: int) -> None:
        if not self._lonely:
            sysfd.chown(parent, os.fsencode(name), uid, gid)
            return
        path = self._path(parent, name)
        self._rows[path] = self._rows.get(path, Note())._replace(owner=(uid, gid))

    def mknod(self, parent: int, name: str, kind: int, rdev: int) -> None:
        HERE.mknod(parent, name, kind, rdev)
        if kind in _DEVICES:
            self._rows[self._path(parent, name)] = Note(None, kind, rdev)

    def write(self, upper: str) -> bool:
        """Whether there was anything to note. OSError."""
        for path, note in self._rows.items():
            with suppress(FileNotFoundError):  # something else has come in its place
                _write(upper + path, note)
        return bool(self._rows)

    def _path(self, parent: int, name: str) -> str:
        folder = os.readlink(f"/proc/self/fd/{parent}").removeprefix(self._root)
        return f"{folder}/{name}" if name else folder


def give(path: str, uid: int, gid: int) -> None:
    """chown(2) of a file or directory that no mount shows. OSError."""
    if are_noted():
        _write(path, Note((uid, gid)))
    else:
        os.chown(path, uid, gid)


def give_here(path: str, uid: int, gid: int) -> None:
    """chown(2) of what is in no image: where there is one id, it has that. OSError."""
    if not are_noted():
        os.chown(path, uid, gid)


class Lookup:
    """Whose the files of layers are, where a mount shows them all as one user's. Takes the layers, top first."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        from imagetool.archive.tree import Tree

        self._tree = Tree(layers)
        self._inodes: dict[tuple[str, ...], int] = {(): ROOT_ID}  # of directories

    def owner(self, path: tuple[str, ...]) -> tuple[int, int]:
        if not path:
            found = self._tree.union.getattr(ROOT_ID)
        else:
            found = self._tree.union.lookup(self._inode(path[:-1]), os.fsencode(path[-1]))
        return found.uid, found.gid

    def close(self) -> None:
        self._tree.close()

    def _inode(self, path: tuple[str, ...]) -> int:
        known = next(count for count in range(len(path), -1, -1) if path[:count] in self._inodes)
        for count in range(known, len(path)):
            inode = self._tree.union.lookup(self._inodes[path[:count]], os.fsencode(path[count])).ino
            self._inodes[path[: count + 1]] = inode
        return self._inodes[path]


def _write(path: str, note: Note) -> None:
    """In place of what a mount has noted already, if it has."""
    from unionfs.override import CONTAINERS, Override, parse, render

    found = os.lstat(path)
    if stat.S_ISLNK(found.st_mode):
        return  # Linux keeps no user attributes on them
    key = os.fsdecode(CONTAINERS)
    old = Override(found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode))
    with suppress(OSError):
        old = parse(os.getxattr(path, key))
    uid, gid = note.owner or (old.uid, old.gid)
    mode = stat.S_IMODE(old.mode) | (note.kind or stat.S_IFMT(old.mode))
    os.setxattr(path, key, render(Override(uid, gid, mode, note.rdev or old.rdev)))
