"""Unpacking the union of an image's layers into a directory, as plain files.

Every name is made below a descriptor of a directory that was made here a moment before, never by a path, and
nothing that exists is opened: no symbolic link is followed, and nothing outside the directory is touched.
Without the privilege to chown and mknod, owners, modes and types are kept in `user.containers.override_stat`.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from contextlib import suppress

import xattr  # type: ignore[import-untyped]

from imagetool.archive.data import extents_of
from imagetool.archive.tree import Item, Tree, of_tars
from imagetool.archive.writer import LOCAL, Path
from imagetool.errors import Malformed, UsageError
from imagetool.store import disk
from unionfs import override, sysfd
from unionfs.layers.base import Source
from unionfs.model import Attr
from unionfs.namedtuple import NamedTuple

Xattrs = dict[bytes, bytes]

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_REFUSED = frozenset({errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EINVAL})
_AT_ONCE = 1 << 30  # sendfile(2) takes a little less than 2 GiB


class Unpacked(NamedTuple):
    """How many names were made, and one line for each kind of thing that could not be kept."""

    names: int
    warnings: tuple[str, ...]


def unpack(tars: Sequence[str], directory: str, *, rootless: bool | None = None) -> Unpacked:
    """Makes `directory` (new, or empty) the union of tar layers, top first.

    `rootless` (by default: not root) keeps owners in an attribute. UsageError when the directory is not empty;
    StoreError, NoSpace, Malformed: then it is empty again, or gone if it was new.
    """
    rootless = os.geteuid() != 0 if rootless is None else rootless
    with disk.errors(f"cannot unpack into {directory}"), of_tars(tars) as tree:
        new = not os.path.isdir(directory)
        os.makedirs(directory, exist_ok=True)
        fd = os.open(directory, _DIRECTORY & ~os.O_NOFOLLOW)
        try:
            if os.listdir(fd):
                raise UsageError(f"{directory} is not empty", hint="give a new or an empty directory")
            with _undone_on_error(fd, directory if new else ""):
                return _Unpacker(tree, fd, rootless).run()
        finally:
            os.close(fd)


class _undone_on_error:
    """An unpack that fails leaves nothing behind."""

    def __init__(self, fd: int, directory: str) -> None:
        self._fd = fd
        self._directory = directory

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if error is None:
            return
        with suppress(OSError):
            for name in os.listdir(self._fd):
                sysfd.remove_tree(self._fd, os.fsencode(name))
            if self._directory:
                os.rmdir(self._directory)


class _Unpacker:
    # INVARIANT: _open holds the directories that lead to the last name made, the top first, with what they will get

    def __init__(self, tree: Tree, root: int, rootless: bool) -> None:
        self._tree = tree
        self._root = root
        self._rootless = rootless
        self._warnings: dict[str, None] = {}
        self._open: list[tuple[int, Attr, Xattrs]] = []
        self._made = 0

    def run(self) -> Unpacked:
        try:
            for item in self._tree.walk():
                self._leave(len(item.path))
                self._make(item)
                self._made += 1
            self._leave(0)
        finally:
            for fd, _, _ in self._open:
                os.close(fd)
        return Unpacked(self._made, tuple(self._warnings))

    def _leave(self, depth: int) -> None:
        """Finishes the directories that are not on the way to a name at `depth`: now nothing changes their times."""
        while len(self._open) > max(depth, 0):
            fd, attr, xattrs = self._open.pop()
            try:
                self._finish(fd, b"", attr, xattrs)
            finally:
                os.close(fd)

    def _make(self, item: Item) -> None:
        if not item.path:
            self._enter(os.dup(self._root), item)
            return
        parent, name = self._open[-1][0], item.path[-1]
        if item.link is not None:
            disk.link(self._root, item.link, parent, name)
        elif stat.S_ISDIR(item.attr.mode):
            os.mkdir(name, 0o700, dir_fd=parent)
            self._enter(os.open(name, _DIRECTORY, dir_fd=parent), item)
        else:
            self._make_leaf(item, parent, name)

    def _enter(self, fd: int, item: Item) -> None:
        self._open.append((fd, item.attr, self._tree.xattrs(item.attr.ino)))

    def _make_leaf(self, item: Item, parent: int, name: bytes) -> None:
        mode = item.attr.mode
        if stat.S_ISREG(mode):
            self._write(item, parent, name)
        elif stat.S_ISLNK(mode):
            os.symlink(self._tree.readlink(item.attr.ino), name, dir_fd=parent)
        elif self._rootless:
            os.close(os.open(name, _NEW, 0o600, dir_fd=parent))  # the attribute says what it stands for
        else:
            os.mknod(name, stat.S_IFMT(mode) | 0o600, item.attr.rdev, dir_fd=parent)
        self._finish(parent, name, item.attr, self._tree.xattrs(item.attr.ino))

    def _write(self, item: Item, parent: int, name: bytes) -> None:
        fd = os.open(name, _NEW, 0o600, dir_fd=parent)
        try:
            copy(self._tree.source(item.attr.ino), fd, item.path)
        finally:
            os.close(fd)

    def _finish(self, fd: int, name: bytes, attr: Attr, xattrs: Xattrs) -> None:
        """Owner, mode, attributes, times: in this order, as each of them changes what comes before."""
        if self._rootless:
            self._keep_owner(fd, name, attr)
        else:
            _chown(fd, name, attr)
            if not stat.S_ISLNK(attr.mode):
                os.chmod(sysfd.proc_path(fd, name), stat.S_IMODE(attr.mode))
        if kept := {key: value for key, value in xattrs.items() if key not in LOCAL}:
            self._set_xattrs(_attributes(fd, name), kept)
        _set_times(fd, name, attr)

    def _keep_owner(self, fd: int, name: bytes, attr: Attr) -> None:
        """The real mode lets us read and write; the attribute has the one that the image says."""
        if stat.S_ISLNK(attr.mode):  # has no attributes that we may set, and no mode
            if (attr.uid, attr.gid) != (0, 0):
                self._warnings["owners of symbolic links were not kept"] = None
            return
        needed = 0o700 if stat.S_ISDIR(attr.mode) else 0o600
        os.chmod(sysfd.proc_path(fd, name), stat.S_IMODE(attr.mode) & 0o777 | needed)
        wanted = override.Override(attr.uid, attr.gid, attr.mode, attr.rdev)
        _attributes(fd, name)[override.CONTAINERS] = override.render(wanted)

    def _set_xattrs(self, attributes: xattr.xattr, wanted: Xattrs) -> None:
        for key, value in wanted.items():
            try:
                attributes[key] = value
            except OSError as error:
                if error.errno not in _REFUSED:
                    raise
                space = os.fsdecode(key.partition(b".")[0])
                self._warnings[f"attributes {space}.* were not kept: {error.strerror}"] = None


def _attributes(fd: int, name: bytes) -> xattr.xattr:
    """The extended attributes of an open directory, or of `name` in it, which may be a link and is not followed."""
    return xattr.xattr(sysfd.proc_path(fd, name), xattr.XATTR_NOFOLLOW) if name else xattr.xattr(fd)


def copy(source: Source, target: int, path: Path) -> None:
    """The bytes of a file of a layer into an empty file; holes stay holes. Malformed when some are not there."""
    for offset, at, length in extents_of(source):
        os.lseek(target, offset, os.SEEK_SET)
        while length:
            sent = os.sendfile(target, source.fd, at, min(length, _AT_ONCE))
            if not sent:
                raise Malformed(f"{b'/'.join(path)!r} ends before its {source.size} bytes")
            at, length = at + sent, length - sent
    os.ftruncate(target, source.size)


def _chown(fd: int, name: bytes, attr: Attr) -> None:
    if name:
        os.chown(name, attr.uid, attr.gid, dir_fd=fd, follow_symlinks=False)
    else:
        os.chown(fd, attr.uid, attr.gid)


def _set_times(fd: int, name: bytes, attr: Attr) -> None:
    times = (attr.atime * 10**9 + attr.atimensec, attr.mtime * 10**9 + attr.mtimensec)
    if name:
        os.utime(name, ns=times, dir_fd=fd, follow_symlinks=False)
    else:
        os.utime(fd, ns=times)
