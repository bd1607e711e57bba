"""TarLayer: a layer served straight out of an uncompressed tar, by its memory-mapped index.

A handle is an entry's number in the index, 0 for the root. The inode number is the handle + INO_OFFSET; names
that are hard links of each other have that of the first of them. Nothing stays in memory per entry.
"""

from __future__ import annotations

import mmap
import os
import stat
from collections.abc import Iterator
from errno import EINVAL, ENOENT
from itertools import chain
from struct import Struct

from unionfs.annotations import Any
from unionfs.errors import LayerError, UnionError
from unionfs.layers import index as fmt
from unionfs.layers.base import Entry, Source
from unionfs.layers.index import Index
from unionfs.layers.tarheader import SIZE_LIMIT
from unionfs.layers.tarindex import index_path, obtain
from unionfs.model import Attr
from unionfs.namedtuple import NamedTuple

INO_OFFSET = 2
BLKSIZE = 4096
TRIM_AFTER = 1 << 17
"""Entries listed between two trims: about 12 MB of index."""
_BATCH = 512  # entries decoded at once: many for speed, few for memory
_NEAR = 64  # entries: from here on a search of their joined names beats halving
_SCAN = Struct("<12xIxBHQqIII12xI")
"""Of index.ROW: nlink, flags, mode, size, mtime, its nanoseconds, uid, gid, extra."""
_new = tuple.__new__

Number = Any
"""An int. The protocol's handles are opaque, so that a narrower type would not be a Layer's."""


class TarLayer:
    """A `layers.base.Layer`, made by `open_tar_layer`. Raises LayerError where the index is damaged."""

    def __init__(self, fd: int, index: Index, warning: str = "") -> None:
        self._fd = fd
        self._index = index
        self.base = 0
        self._scanned = 0
        self.warning = warning
        """Why the index could not be saved and is held in memory; empty as a rule."""

    def fileno(self) -> int:
        """The descriptor of the tar."""
        return self._fd

    def __len__(self) -> int:
        """The number of entries: handles are below it."""
        return self._index.count

    @property
    def identity(self) -> bytes:
        return self._index.digest[:16]

    @property
    def root(self) -> Entry:
        return self.entry(0)

    def entry(self, handle: Number) -> Entry:
        """The entry of a number. UnionError(ENOENT) when there is none."""
        return self._one(handle, self._index.name(self._row(handle)))

    def attr(self, handle: Number) -> Attr:
        if not 0 <= handle < self._index.count:
            raise UnionError(ENOENT, f"layer {self._index.path} has no entry {handle}")
        return self._one(handle, b"").attr

    def parent(self, handle: Number) -> int:
        """The number of the directory that holds an entry; the root's is itself."""
        return self._parent(handle, self._row(handle))

    def lookup(self, parent: Number, name: bytes) -> Entry | None:
        number = self._find(parent, name)
        return self._one(number, name) if number else None

    def scan(self, parent: Number, after: int = 0) -> Iterator[Entry]:
        first, count = self._children(parent)
        starts = range(first + after, first + count, _BATCH)
        return chain.from_iterable(self._batch(start, first + count) for start in starts)

    def _batch(self, start: int, end: int) -> Iterator[Entry]:
        size = min(_BATCH, end - start)
        self._scanned += size
        if self._scanned > TRIM_AFTER:  # what is mapped would add up; the page cache has it anyway
            self._scanned = 0
            self.trim()
        return self._rows(start, size, self._index.names(start, size))

    def names(self, parent: Number) -> list[bytes]:
        first, count = self._children(parent)
        return self._index.names(first, count) if count else []

    def followers(self, handle: Number, n: int) -> list[int]:
        """The inode numbers of the regular files among the `n` entries behind one in its directory."""
        first, count = self._children(self.parent(handle))
        found = []
        for number in range(handle + 1, min(handle + 1 + n, first + count)):
            row = self._index.row(number)
            if stat.S_IFMT(row[6]) == stat.S_IFREG:
                found.append(self.base + INO_OFFSET + (row[2] if row[5] & fmt.LINKED else number))
        return found

    def marks(self, entry: Entry) -> Entry:
        return entry

    def readlink(self, handle: Number) -> bytes:
        row = self._row(handle)
        if stat.S_IFMT(row[6]) != stat.S_IFLNK:
            raise UnionError(EINVAL)
        target = self._index.blob(row[12], row[7])
        if not target or b"\0" in target:
            raise self._index.damaged(f"the target of symbolic link {handle} is none")
        return target

    def source(self, handle: Number) -> Source:
        """Where the bytes of a regular file are in the tar; never beyond its end."""
        row = self._row(handle)
        flags, mode, size, data = row[5], row[6], row[7], row[12]
        if stat.S_IFMT(mode) != stat.S_IFREG:
            raise UnionError(EINVAL)
        if flags & fmt.SPARSE:
            return Source(self._fd, 0, size, self._extents(row))
        if data + size > self._index.tar.size:
            raise self._index.damaged(f"the data of entry {handle} are beyond the end of the archive")
        return Source(self._fd, data, size)

    def release(self, source: Source) -> None:
        """The descriptor is the layer's: there is nothing to give back."""

    def xattrs(self, handle: Number) -> dict[bytes, bytes]:
        return self._index.xattrs(self._row(handle)[13])

    def aliases(self, ino: int) -> list[tuple[bytes, ...]]:
        """Every path of an inode of this layer, in the order of their entries."""
        handle = ino - INO_OFFSET - self.base
        linked = self._row(handle)[5] & fmt.LINKED
        paths = [self.path(number) for number in (self._index.same_inode(handle) if linked else (handle,))]
        if linked and () in paths:
            raise self._index.damaged("the root is a hard link")
        return paths

    def linked(self) -> Iterator[tuple[bytes, ...]]:
        """Every path of every inode that has several."""
        return map(self.path, self._index.linked())

    def path(self, handle: Number) -> tuple[bytes, ...]:
        names = []
        while handle:
            row = self._row(handle)
            names.append(self._index.name(row))
            handle = self._parent(handle, row)
        return tuple(reversed(names))

    def trim(self) -> None:
        """Gives back the memory of the index that was read; what is needed again is in the page cache."""
        self._index.map.madvise(mmap.MADV_DONTNEED)

    def close(self) -> None:
        self._index.close()
        os.close(self._fd)

    def __enter__(self) -> TarLayer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _row(self, handle: Number) -> tuple[int, ...]:
        try:
            return self._index.row(handle)
        except IndexError:
            raise UnionError(ENOENT, f"layer {self._index.path} has no entry {handle}") from None

    def _children(self, parent: Number) -> tuple[int, int]:
        try:
            return self._index.children(parent)
        except IndexError:
            raise UnionError(ENOENT, f"layer {self._index.path} has no entry {parent}") from None

    def _parent(self, handle: int, row: tuple[int, ...]) -> int:
        if row[1] >= handle > 0:
            raise self._index.damaged(f"entry {handle} is below itself")
        return row[1]

    def _find(self, parent: Number, name: bytes) -> int:
        """The number of a name in a directory, 0 if it is not there: halve, then search the joined names."""
        index = self._index
        low, count = self._children(parent)
        if not count or not name or b"\0" in name:
            return 0
        if count > _NEAR:
            low, count = index.narrow(low, count, name, _NEAR)
        joined = index.joined_names(low, count)
        at = joined.find(b"\0" + name + b"\0")
        return low + joined.count(b"\0", 0, at) if at >= 0 else 0

    def _rows(self, first: int, count: int, names: list[bytes]) -> Iterator[Entry]:
        """`count` entries side by side from `first` on; the hot path of every listing."""
        start = fmt.HEADER.size + fmt.ROW_SIZE * first
        rows = _SCAN.iter_unpack(self._index.map[start : start + fmt.ROW_SIZE * count])
        return map(self._plain, range(first, first + count), names, rows)

    def _one(self, number: int, name: bytes) -> Entry:
        row = _SCAN.unpack_from(self._index.map, fmt.HEADER.size + fmt.ROW_SIZE * number)
        return self._plain(number, name, row)

    def _plain(self, number: int, name: bytes, row: tuple[int, ...]) -> Entry:
        """An entry by the fields of _SCAN."""
        nlink, flags, mode, size, t, ns, uid, gid, extra = row
        if not flags:
            times = (t, t, t, ns, ns, ns)
        elif flags == fmt.TIMES:
            atime, atimensec, ctime, ctimensec = self._index.times(extra)
            times = (atime, t, ctime, atimensec, ns, ctimensec)
        else:
            return self._rare(number, name)
        ino, blocks = number + self.base + INO_OFFSET, (size + 511) >> 9
        attr = _new(Attr, (ino, size, blocks, *times, mode, nlink, uid, gid, 0, BLKSIZE, 0))
        return _new(Entry, (name, attr, number, 0, b""))

    def _rare(self, number: int, name: bytes) -> Entry:
        """An entry with other flags than TIMES."""
        row = self._index.row(number)
        _, _, primary, nlink, _, flags, mode, size, mtime, mtimensec, uid, gid, data, _, extra = row
        atime, atimensec, ctime, ctimensec = mtime, mtimensec, mtime, mtimensec
        blocks, rdev = (size + 511) >> 9, 0
        if flags & (fmt.SPARSE | fmt.TIMES):
            (atime, atimensec, ctime, ctimensec, _), extents = self._index.extra(extra)
            if flags & fmt.SPARSE:
                blocks = (sum(length for _, _, length in extents) + 511) >> 9
        if flags & fmt.DEVICE:
            rdev = data & 0xFFFFFFFF
        if flags & fmt.LINKED and primary > number:
            raise self._index.damaged(f"entry {number} is a hard link to a later one")
        ino = self.base + INO_OFFSET + (primary if flags & fmt.LINKED else number)
        times = (atime, mtime, ctime, atimensec, mtimensec, ctimensec)
        attr = Attr(ino, size, blocks, *times, mode, nlink, uid, gid, rdev, BLKSIZE)
        return Entry(name, attr, number, flags & (fmt.WHITEOUT | fmt.OPAQUE | fmt.IMPLIED))

    def _extents(self, row: tuple[int, ...]) -> tuple[tuple[int, int, int], ...]:
        extents = self._index.extra(row[14])[1]
        end = 0
        if row[7] > SIZE_LIMIT:
            raise self._index.damaged(f"a sparse file of {row[7]} bytes")
        for offset, where, length in extents:
            if offset < end or offset + length > row[7] or where + length > self._index.tar.size:
                raise self._index.damaged("the extents of a sparse file are out of bounds")
            end = offset + length
        return tuple(extents)


class Checked(NamedTuple):
    """What `check_index` found and did."""

    rebuilt: str  # why the index was built (again); empty when it was sound
    entries: int
    identity: bytes
    warning: str  # why it could not be saved; empty as a rule


def open_tar_layer(path: str | bytes, *, index: str | bytes | None = None) -> TarLayer:
    """Opens an uncompressed tar as a layer, with the index at `index` (NAME.idx beside NAME.tar by default).

    An index that is missing, stale or damaged is built again and saved; where that is not possible it is held
    in memory, and `warning` says why. Raises LayerError when the tar cannot be read or is damaged.
    """
    return _open(path, index, verify=False)[0]


def check_index(path: str | bytes, *, index: str | bytes | None = None) -> Checked:
    """Verifies every byte of a tar's index, and builds it again when it is not sound. Raises LayerError."""
    layer, rebuilt = _open(path, index, verify=True)
    with layer:
        return Checked(rebuilt, len(layer), layer.identity, layer.warning)


def _open(path: str | bytes, index: str | bytes | None, verify: bool) -> tuple[TarLayer, str]:
    tar = os.fsdecode(path)
    try:
        fd = os.open(tar, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise LayerError(f"cannot open layer {tar}: {error.strerror}") from None
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise LayerError(f"layer {tar} is not a regular file", hint="give an uncompressed tar")
        where = index_path(tar) if index is None else os.fsdecode(index)
        found, rebuilt, warning = obtain(fd, tar, where, verify=verify)
        return TarLayer(fd, found, warning), rebuilt
    except OSError as error:
        os.close(fd)
        raise LayerError(f"cannot read layer {tar}: {error.strerror}") from None
    except BaseException:
        os.close(fd)
        raise
