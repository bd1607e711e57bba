"""What is copied, piece by piece: parts are what a source brings along, items the single names of a part."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from types import TracebackType

from imagetool.build.trees import Folder, Found, Tree, reading
from imagetool.errors import ImageToolError
from unionfs.annotations import Protocol, Self
from unionfs.namedtuple import NamedTuple

Names = tuple[str, ...]
Xattrs = Mapping[bytes, bytes]

_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_MARKS = (b"trusted.overlay.", b"user.overlay.")  # overlayfs's, of whatever the files were taken from
_AT_ONCE = 1 << 20
_SLICE = 1 << 30  # bytes that one call copies at most


class Item(NamedTuple):
    """One name to make. `path` () is the part itself: a file, or the directory that the rest is in."""

    path: Names
    mode: int  # type and permissions
    uid: int
    gid: int
    mtime: int  # ns
    rdev: int = 0
    target: str = ""  # of a symbolic link
    first: Names | None = None  # an earlier item that this is a hard link of
    implied: bool = False  # a directory that keeps what it is, if it is there
    unpacked: bool = (
        False  # as tar(1) does: whatever is in the way goes, be it a directory; --chmod is not for it
    )
    copy: Callable[[int], None] | None = None  # a regular file's bytes, into an empty file
    xattrs: Callable[[], Xattrs] = dict


class Part(Protocol):
    """What one source brings along: a file called `name`, or the contents of a directory."""

    @property
    def name(self) -> str: ...

    @property
    def directory(self) -> bool: ...

    def facts(self) -> Iterator[bytes]:
        """What a digest is taken of: every name with all that counts, and no times."""

    def items(self) -> Iterator[Item]:
        """Directories before what they hold. Use each before the next: what it reads from is then closed."""


class Document(NamedTuple):
    """A here-document: a file of 0644."""

    name: str
    data: bytes
    directory: bool = False

    def facts(self) -> Iterator[bytes]:
        yield fact(self.name, stat.S_IFREG | 0o644, 0, 0, 0, hashlib.sha256(self.data).digest())

    def items(self) -> Iterator[Item]:
        from time import time_ns

        yield Item((), stat.S_IFREG | 0o644, 0, 0, time_ns(), copy=lambda fd: write(fd, self.data))


class FilePart(NamedTuple):
    """One name of a tree that is no directory."""

    tree: Tree
    found: Found
    directory: bool = False

    @property
    def name(self) -> str:
        return self.found.name

    def facts(self) -> Iterator[bytes]:
        folder, last = self.found.path[:-1], self.found.path[-1]
        with _Facts(self.tree) as facts:
            yield facts.of(self.name, folder, last, self.found.stat)

    def items(self) -> Iterator[Item]:
        with self.tree.opened(self.found.path[:-1]) as fd:
            yield _item(self.tree, fd, self.found.path, self.found.stat, ())


class FolderPart(NamedTuple):
    """The contents of a directory of a tree."""

    tree: Tree
    folder: Folder
    name: str = ""
    directory: bool = True

    def facts(self) -> Iterator[bytes]:
        base = len(self.folder.path)
        first: dict[tuple[int, int], str] = {}
        with _Facts(self.tree) as facts:
            for folder in self.folder.walk():
                prefix = "".join(f"{name}/" for name in folder.path[base:])
                if prefix:
                    yield facts.of(prefix, folder.path, "", folder.stat)
                for name, info in folder.others:
                    shown = prefix + name
                    if info.st_nlink > 1:
                        earlier = first.setdefault((info.st_dev, info.st_ino), shown)
                        if earlier is not shown:
                            yield os.fsencode(f"{shown}\0{earlier}\0")
                            continue
                    yield facts.of(shown, folder.path, name, info)

    def items(self) -> Iterator[Item]:
        base = len(self.folder.path)
        first: dict[tuple[int, int], Names] = {}
        for folder in self.folder.walk():
            path = folder.path[base:]
            with self.tree.opened(folder.path) as fd:
                yield _directory(self.tree, fd, folder, path)
                for name, info in folder.others:
                    item = _item(self.tree, fd, (*folder.path, name), info, (*path, name))
                    if info.st_nlink > 1:
                        earlier = first.setdefault((info.st_dev, info.st_ino), item.path)
                        item = item._replace(first=None if earlier is item.path else earlier)
                    yield item


def fact(name: str, mode: int, uid: int, gid: int, rdev: int, digest: bytes) -> bytes:
    """The bytes that stand for one name. `digest`, 32 bytes, is of its content."""
    return b"%b\0%o %d %d %x %b" % (os.fsencode(name), mode, uid, gid, rdev, digest)


class _Facts:
    """Digests of what a tree has, by its memory or by reading; a context manager."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._folder: Names | None = None  # the one that is open, if any
        self._open = ExitStack()
        self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def of(self, shown: str, folder: Names, name: str, info: os.stat_result) -> bytes:
        """`name` in `folder`, or the folder itself if it is empty."""
        digest = self._tree.memory.get(info)
        if digest is None:
            digest = _content(self._descriptor(folder), name, info)
            self._tree.memory.put(info, digest)
        mode = info.st_mode
        rdev = info.st_rdev if stat.S_ISCHR(mode) or stat.S_ISBLK(mode) else 0
        uid, gid = self._tree.owner((*folder, name) if name else folder, info)
        return fact(shown, mode, uid, gid, rdev, digest)

    def _descriptor(self, folder: Names) -> int:
        if folder is not self._folder:
            self._open.close()
            self._fd = self._open.enter_context(self._tree.opened(folder))
            self._folder = folder
        return self._fd


def _content(parent: int, name: str, info: os.stat_result) -> bytes:
    """sha256 of a file's bytes or a link's target, and of the attributes if there are any."""
    with reading(name):
        found = hashlib.sha256()
        if stat.S_ISREG(info.st_mode):
            attributes = _hash_file(parent, name, found.update)
        else:
            if stat.S_ISLNK(info.st_mode):
                found.update(os.fsencode(os.readlink(name, dir_fd=parent)))
            attributes = xattrs_of(parent, name)
    if attributes:
        found = hashlib.sha256(found.digest())
        for key in sorted(attributes):
            found.update(b"%d %d %b%b" % (len(key), len(attributes[key]), key, attributes[key]))
    return found.digest()


def _hash_file(parent: int, name: str, update: Callable[[bytes], object]) -> Xattrs:
    fd = open_file(parent, name)
    try:
        for data in _read(fd):
            update(data)
        return xattrs_of(fd, "") if _has_xattrs(fd) else {}
    finally:
        os.close(fd)


def _has_xattrs(fd: int) -> bool:
    try:
        return bool(os.listxattr(fd))
    except OSError:  # the file system has none at all
        return False


def xattrs_of(parent: int, name: str) -> Xattrs:
    """The attributes that belong to a file and not to the machine that it is on."""
    from unionfs import sysfd  # what is remembered needs none of this

    found = sysfd.all_xattrs(parent, os.fsencode(name))
    if not found:
        return found
    from imagetool.archive.writer import LOCAL

    return {key: value for key, value in found.items() if key not in LOCAL and not key.startswith(_MARKS)}


def _directory(tree: Tree, fd: int, folder: Folder, path: Names) -> Item:
    info = folder.stat
    uid, gid = tree.owner(folder.path, info)
    attributes = xattrs_of(fd, "")  # they are asked for when all below is done, and `fd` closed
    return Item(
        path, info.st_mode, uid, gid, info.st_mtime_ns, implied=folder.implied, xattrs=lambda: attributes
    )


def _item(tree: Tree, parent: int, where: Names, info: os.stat_result, path: Names) -> Item:
    uid, gid = tree.owner(where, info)
    name, mode = where[-1], info.st_mode
    item = Item(path, mode, uid, gid, info.st_mtime_ns, xattrs=partial(xattrs_of, parent, name))
    if stat.S_ISREG(mode):
        return item._replace(copy=partial(_copy, parent, name))
    if stat.S_ISLNK(mode):
        with reading(name):
            return item._replace(target=os.readlink(name, dir_fd=parent))
    return item._replace(rdev=info.st_rdev)


def open_file(parent: int, name: str) -> int:
    """A descriptor of what is known to be a regular file, to read."""
    fd = os.open(name, _FILE, dir_fd=parent)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise ImageToolError(f"cannot read {name}: it was replaced meanwhile", hint="build again")
    return fd


def _copy(parent: int, name: str, target: int) -> None:
    """The bytes of a file into an empty one; holes stay holes, and what the file system can share is shared."""
    with reading(name):
        fd = open_file(parent, name)
    try:
        info = os.fstat(fd)
        if info.st_size <= _AT_ONCE and info.st_blocks * 512 >= info.st_size:
            for data in _read(fd):
                write(target, data)
            return
        for start, end in _extents(fd, info.st_size):
            _copy_range(fd, target, start, end)
        os.ftruncate(target, info.st_size)
    finally:
        os.close(fd)


def _read(fd: int) -> Iterator[bytes]:
    """The bytes of a file. A buffer much larger than the file would cost more than all the rest."""
    left = os.fstat(fd).st_size
    while data := os.read(fd, min(max(left, 0) + 1, _AT_ONCE)):
        yield data
        left -= len(data)
        if not left:  # nobody writes to it now, or the digest is not remembered
            return


def _extents(fd: int, size: int) -> Iterator[tuple[int, int]]:
    """Where the file system has data: (start, end)."""
    end = 0
    while end < size:
        try:
            start = os.lseek(fd, end, os.SEEK_DATA)
        except OSError:  # ENXIO: no more; anything else: it knows no holes
            return
        end = os.lseek(fd, start, os.SEEK_HOLE)
        yield start, end


def _copy_range(source: int, target: int, start: int, end: int) -> None:
    at = start
    try:
        while at < end and (count := os.copy_file_range(source, target, min(end - at, _SLICE), at, at)):
            at += count
    except OSError:  # two file systems that cannot do it together
        os.lseek(target, at, os.SEEK_SET)
        while at < end and (count := os.sendfile(target, source, at, min(end - at, _SLICE))):
            at += count


def write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
