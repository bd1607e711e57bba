"""The index of a tar layer: its binary format, its publishing, and the memory-mapped reader.

The index is a cache: whatever is wrong with it, it is built again from the tar. Numbers are little-endian.

    header   128 bytes, see HEADER
    rows     64 bytes an entry, see ROW: row N is entry N; entry 0 is the root
    links    4 bytes a name: the entries of every hard-linked inode, sorted by (primary, entry)
    names    NUL, then every name with a NUL after it, in the order of the entries
    blob     link targets, extended attributes, and the records of sparse files and of rare times

Entries are numbered breadth first, the names of a directory in byte order: a directory's entries, and their
names, lie side by side, children come after their parent, and the same archive always gives the same numbers.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterable, Iterator
from struct import Struct, error
from zlib import crc32

from unionfs.errors import LayerError
from unionfs.namedtuple import NamedTuple

MAGIC = b"unionidx"
VERSION = 2

# magic, version, CRC-32 of the header with this field zero, entries, links, bytes of names, bytes of blob,
# of the tar: size, mtime in nanoseconds, inode number; BLAKE2b-256 of all that follows the header
HEADER = Struct("<8sIIIIQQQqQ32s32x")

# offset of the name, parent, primary, nlink, length of the name | flags, mode, size, mtime, its nanoseconds,
# uid, gid, data, xattrs, extra. What is left of the bar belongs to the name, the rest to the inode.
HEAD = Struct("<IIIIB")
TAIL = Struct("<BHQqIIIQII")
ROW = Struct("<IIIIB" + "BHQqIIIQII")
ROW_SIZE = 64
FLAGS_AT = HEAD.size
DATA_AT = HEAD.size + 31
_NAME = Struct("<I12xB")  # offset and length of the name
_CHILDREN = Struct("<18xH28xQ")  # mode and data
"""`data` is: of a file, where its bytes are in the tar; of a directory, its first entry and (from bit 32 on)
their count; of a symbolic link, where its target is in the blob; of a device, its number.

`primary` is the first entry of its inode. `xattrs` and `extra` are 0, or 1 + an offset in the blob / 8."""

WHITEOUT = 1  # these two as in unionfs.model.Mark
OPAQUE = 2
LINKED = 4  # the inode has more names: its number is that of `primary`
SPARSE = 8  # `extra` has extents
TIMES = 16  # `extra` has times
DEVICE = 32  # `data` is a device number
IMPLIED = 64  # a directory that the archive has no member for; as in unionfs.model.Mark

# atime, its nanoseconds, ctime, its nanoseconds, number of extents; then EXTENT for each
EXTRA = Struct("<qIqII")
_TIMES = Struct("<qIqI")
EXTENT = Struct("<QQQ")
XATTR = Struct("<HI")  # lengths of a name and a value, both follow; a length of 0 for the name ends the list


class Unusable(Exception):
    """Why an index cannot be used and has to be built again."""


class TarId(NamedTuple):
    """What tells that a tar file is the one that was indexed."""

    size: int
    mtime_ns: int
    ino: int

    @classmethod
    def of(cls, fd: int) -> TarId:
        st = os.fstat(fd)
        return cls(st.st_size, st.st_mtime_ns, st.st_ino)


class Image(NamedTuple):
    """The parts of an index that do not depend on which file the tar is."""

    rows: bytearray
    links: bytes
    names: bytearray
    blob: bytearray

    def parts(self, tar: TarId) -> list[bytes | bytearray]:
        """The bytes of the index file, in order."""
        from unionfs.blake2 import blake2b

        digest = blake2b(digest_size=32)
        for part in self:
            digest.update(part)
        count, links = len(self.rows) // ROW_SIZE, len(self.links) // 4
        fields = (count, links, len(self.names), len(self.blob), *tar, digest.digest())
        crc = crc32(HEADER.pack(MAGIC, VERSION, 0, *fields))
        return [HEADER.pack(MAGIC, VERSION, crc, *fields), *self]


def publish(path: str, parts: Iterable[bytes | bytearray]) -> None:
    """Writes an index under its name in one step: readers find the old one or the new one. Raises OSError."""
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name}.{os.getpid()}.{os.urandom(4).hex()}.tmp")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        try:
            write_all(fd, parts)
            os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    _sync_directory(folder or ".")


def in_memory(parts: Iterable[bytes | bytearray]) -> int:
    """A descriptor of an index that no directory has."""
    fd = os.memfd_create("unionfs-index", os.MFD_CLOEXEC)
    write_all(fd, parts)
    return fd


def write_all(fd: int, parts: Iterable[bytes | bytearray]) -> None:
    for part in parts:
        rest = memoryview(part)
        while rest:
            rest = rest[os.write(fd, rest) :]


def _sync_directory(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class Index:
    """An open index, mapped. Every method checks what it reads: LayerError when the index is damaged.

    Raises Unusable when the index is no index, is damaged in its header, or was built from another tar.
    """

    __slots__ = ("blob_at", "count", "digest", "links", "links_at", "map", "names_at", "path", "size", "tar")

    count: int  # entries
    links: int  # names of hard-linked inodes
    digest: bytes

    def __init__(self, fd: int, tar: TarId, path: str) -> None:
        self.path = path
        self.size = os.fstat(fd).st_size
        head = os.pread(fd, HEADER.size, 0)
        names, blob = self._read_header(head, tar)
        self.links_at = HEADER.size + ROW_SIZE * self.count
        self.names_at = self.links_at + 4 * self.links
        self.blob_at = self.names_at + names
        if self.count < 1 or names < 1 or self.blob_at + blob != self.size:
            raise Unusable("its length is not what its header says")
        self.map = mmap.mmap(fd, self.size, mmap.MAP_SHARED, mmap.PROT_READ)

    def _read_header(self, head: bytes, tar: TarId) -> tuple[int, int]:
        if len(head) < HEADER.size or head[:8] != MAGIC:
            raise Unusable("it is not an index")
        _, version, crc, self.count, self.links, names, blob, *known, self.digest = HEADER.unpack(head)
        if version != VERSION:
            raise Unusable(f"it has format {version}, this is {VERSION}")
        if crc != crc32(head[:12] + bytes(4) + head[16:]):
            raise Unusable("its header is damaged")
        self.tar = TarId(*known)
        if self.tar != tar:
            raise Unusable("the archive has changed since")
        return names, blob

    def verify(self) -> bool:
        """Whether every byte is as it was written. Reads the whole index."""
        from unionfs.blake2 import blake2b

        digest = blake2b(digest_size=32)
        for at in range(HEADER.size, self.size, 1 << 20):
            digest.update(self.map[at : at + (1 << 20)])
        return bool(digest.digest() == self.digest)

    def damaged(self, what: str) -> LayerError:
        return LayerError(f"index {self.path} is damaged: {what}", hint="delete it: it is built again")

    def row(self, number: int) -> tuple[int, ...]:
        """The fields of ROW. Raises IndexError for a number that is no entry's."""
        if not 0 <= number < self.count:
            raise IndexError(f"{self.path} has no entry {number}")
        return ROW.unpack_from(self.map, HEADER.size + ROW_SIZE * number)

    def name(self, row: tuple[int, ...]) -> bytes:
        at = self.names_at + row[0]
        name = self.map[at : at + row[4]]
        if at + row[4] >= self.blob_at or b"/" in name or b"\0" in name:
            raise self.damaged("a name is out of bounds")
        return name

    def children(self, number: int) -> tuple[int, int]:
        """The first entry of a directory and their count. Raises IndexError as `row`."""
        if not 0 <= number < self.count:
            raise IndexError(f"{self.path} has no entry {number}")
        mode, data = _CHILDREN.unpack_from(self.map, HEADER.size + ROW_SIZE * number)
        if mode & 0o170000 != 0o040000:
            return 0, 0
        first, count = data & 0xFFFFFFFF, data >> 32
        if count and not number < first <= first + count <= self.count:
            raise self.damaged(f"the entries of directory {number} are out of bounds")
        return first, count

    def narrow(self, first: int, count: int, name: bytes, enough: int) -> tuple[int, int]:
        """Of `count` sorted entries from `first` on, at most `enough` among which `name` is, if it is there."""
        rows, names, view = HEADER.size + ROW_SIZE * first, self.names_at, self.map
        low, high = 0, count
        while high - low > enough:
            middle = (low + high) // 2
            at, size = _NAME.unpack_from(view, rows + ROW_SIZE * middle)
            if view[names + at : names + at + size] <= name:
                low = middle
            else:
                high = middle
        return first + low, high - low

    def joined_names(self, first: int, count: int) -> bytes:
        """The names of `count` >= 1 entries of a directory from `first` on, a NUL before and after each."""
        start = HEADER.size + ROW_SIZE * first
        low, _ = _NAME.unpack_from(self.map, start)
        last, size = _NAME.unpack_from(self.map, start + ROW_SIZE * (count - 1))
        end = self.names_at + last + size
        joined = self.map[self.names_at + low - 1 : end + 1]
        if low < 1 or low > last or end >= self.blob_at or joined[0] or joined[-1]:
            raise self.damaged(f"the names of entries from {first} on are out of bounds")
        return joined

    def names(self, first: int, count: int) -> list[bytes]:
        joined = self.joined_names(first, count)
        names = joined[1:-1].split(b"\0")
        if len(names) != count or b"/" in joined or b"\0\0" in joined:
            raise self.damaged(f"the names of entries from {first} on do not fit")
        return names

    def blob(self, at: int, size: int) -> bytes:
        start = self.blob_at + at
        if at < 0 or size < 0 or start + size > self.size:
            raise self.damaged("a reference is out of bounds")
        return self.map[start : start + size]

    def xattrs(self, reference: int) -> dict[bytes, bytes]:
        found: dict[bytes, bytes] = {}
        if not reference:
            return found
        at = self.blob_at + 8 * (reference - 1)
        try:
            while (lengths := XATTR.unpack_from(self.map, at))[0]:
                middle, end = at + XATTR.size + lengths[0], at + XATTR.size + sum(lengths)
                if end > self.size or b"\0" in self.map[at + XATTR.size : middle]:
                    raise self.damaged("extended attributes are out of bounds")
                found[self.map[at + XATTR.size : middle]] = self.map[middle:end]
                at = end
        except error:
            raise self.damaged("extended attributes are out of bounds") from None
        return found

    def extra(self, reference: int) -> tuple[tuple[int, ...], list[tuple[int, int, int]]]:
        """atime, its nanoseconds, ctime, its nanoseconds, count of extents; the extents."""
        at = 8 * (reference - 1)
        fields = EXTRA.unpack(self.blob(at, EXTRA.size))
        extents = self.blob(at + EXTRA.size, EXTENT.size * fields[4])
        return fields, list(EXTENT.iter_unpack(extents))

    def times(self, reference: int) -> tuple[int, int, int, int]:
        """atime, its nanoseconds, ctime, its nanoseconds, of an `extra`."""
        at = self.blob_at + 8 * (reference - 1)
        if not reference or at + _TIMES.size > self.size:
            raise self.damaged("a reference is out of bounds")
        return _TIMES.unpack_from(self.map, at)

    def same_inode(self, primary: int) -> list[int]:
        """The entries of a hard-linked inode, by binary search."""
        from bisect import bisect_left, bisect_right

        def owner(position: int) -> int:
            return self.row(self._link(position))[2]

        try:
            low = bisect_left(range(self.links), primary, key=owner)
            high = bisect_right(range(self.links), primary, low, key=owner)
            return [self._link(position) for position in range(low, high)]
        except IndexError:
            raise self.damaged("a hard link is out of bounds") from None

    def linked(self) -> Iterator[int]:
        """The entries of all hard-linked inodes."""
        return map(self._link, range(self.links))

    def _link(self, position: int) -> int:
        at = self.links_at + 4 * position
        return int.from_bytes(self.map[at : at + 4], "little")

    def close(self) -> None:
        self.map.close()
