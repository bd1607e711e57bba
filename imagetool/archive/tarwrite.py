"""PURE: tar members as bytes: ustar headers, PAX records where ustar has no room (POSIX.1-2017, pax).

The same entry always gives the same bytes. Every reader of image layers understands what is written here:
names of any length and any bytes, nanoseconds, large ids and sizes, `SCHILY.xattr.*`, GNU sparse files 1.0.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping, Sequence
from struct import Struct
from types import MappingProxyType

from unionfs.namedtuple import NamedTuple

BLOCK = 512
END = bytes(2 * BLOCK)

_HEADER = Struct("100s8s8s8s12s12s8s1s100s6s2s32s32s8s8s155s12x")
_TYPES = {
    stat.S_IFREG: b"0",
    stat.S_IFLNK: b"2",
    stat.S_IFCHR: b"3",
    stat.S_IFBLK: b"4",
    stat.S_IFDIR: b"5",
    stat.S_IFIFO: b"6",
}
_ID_LIMIT = 1 << 21  # seven octal digits
_SIZE_LIMIT = 1 << 33  # eleven octal digits

Extents = Sequence[tuple[int, int]]
"""Offset and length of each piece of data, in ascending order."""


class Entry(NamedTuple):
    """One member. `path` has no slash at either end; "." is the root itself.

    `link` is a symbolic link's target or, with `hardlink`, the path of an earlier member.
    """

    path: bytes
    mode: int  # type and permissions
    uid: int = 0
    gid: int = 0
    size: int = 0
    mtime: int = 0
    mtimensec: int = 0
    link: bytes = b""
    hardlink: bool = False
    major: int = 0
    minor: int = 0
    xattrs: Mapping[bytes, bytes] = MappingProxyType({})


def member(entry: Entry, sparse: Extents | None = None) -> bytes:
    """All that comes before the data of a member. With `sparse`, the data are those extents, one after the other.

    Raises ValueError for a socket, which no tar can hold.
    """
    if stat.S_IFMT(entry.mode) not in _TYPES:
        raise ValueError(f"{entry.path!r} is of a type that a tar cannot hold")
    records: dict[bytes, bytes] = {}
    name = _shown_path(entry)
    stored = 0 if entry.hardlink or not stat.S_ISREG(entry.mode) else entry.size
    table = b""
    if sparse is not None:
        table = _sparse_table(sparse)
        stored = len(table) + sum(length for _, length in sparse)
        records |= _sparse_records(name, entry.size)
        name = _sparse_name(name)
    records |= _records(entry, name, stored)
    head = _pax(name, records) + _ustar(entry, name, stored)
    return head + table


def padding(size: int) -> bytes:
    """What follows `size` bytes of data."""
    return bytes(-size % BLOCK)


def _shown_path(entry: Entry) -> bytes:
    """Directories end in a slash, as every tar writes them."""
    path = b"./" if entry.path in (b"", b".") else entry.path
    return path + b"/" if stat.S_ISDIR(entry.mode) and not path.endswith(b"/") else path


def _records(entry: Entry, name: bytes, stored: int) -> dict[bytes, bytes]:
    """The PAX records that an entry needs."""
    found: dict[bytes, bytes] = {}
    if _split(name) is None or not name.isascii():
        found[b"path"] = name
    if len(entry.link) > 100 or not entry.link.isascii():
        found[b"linkpath"] = entry.link
    for key, value, limit in ((b"uid", entry.uid, _ID_LIMIT), (b"gid", entry.gid, _ID_LIMIT)):
        if value >= limit:
            found[key] = b"%d" % value
    if stored >= _SIZE_LIMIT:
        found[b"size"] = b"%d" % stored
    if entry.mtimensec or not 0 <= entry.mtime < _SIZE_LIMIT:
        found[b"mtime"] = _time(entry.mtime, entry.mtimensec)
    for key in sorted(entry.xattrs):
        found[b"SCHILY.xattr." + key] = entry.xattrs[key]
    return found


def _time(seconds: int, nanoseconds: int) -> bytes:
    """Decimal seconds; a time before 1970 is the negative of its distance, as PAX has it."""
    sign = b""
    if seconds < 0:
        total = -(seconds * 10**9 + nanoseconds)
        sign, seconds, nanoseconds = b"-", total // 10**9, total % 10**9
    fraction = (b".%09d" % nanoseconds).rstrip(b"0") if nanoseconds else b""
    return sign + b"%d" % seconds + fraction


def _pax(name: bytes, records: Mapping[bytes, bytes]) -> bytes:
    """An extended header member with these records; nothing where there are none."""
    if not records:
        return b""
    body = b"".join(_record(key, value) for key, value in records.items())
    title = b"PaxHeaders.0/" + name.rstrip(b"/").rpartition(b"/")[2][:80]
    header = _pack(title, 0o644, 0, 0, len(body), 0, b"x", b"", 0, 0)
    return header + body + padding(len(body))


def _record(key: bytes, value: bytes) -> bytes:
    """`LENGTH KEY=VALUE\\n`, where LENGTH counts itself."""
    rest = b" " + key + b"=" + value + b"\n"
    length = len(rest) + 1
    while len(b"%d" % length) + len(rest) != length:
        length = len(b"%d" % length) + len(rest)
    return b"%d" % length + rest


def _ustar(entry: Entry, name: bytes, stored: int) -> bytes:
    flag = b"1" if entry.hardlink else _TYPES[stat.S_IFMT(entry.mode)]
    mode = stat.S_IMODE(entry.mode)
    mtime = entry.mtime if 0 <= entry.mtime < _SIZE_LIMIT else 0
    return _pack(name, mode, entry.uid, entry.gid, stored, mtime, flag, entry.link, entry.major, entry.minor)


def _pack(
    name: bytes,
    mode: int,
    uid: int,
    gid: int,
    size: int,
    mtime: int,
    flag: bytes,
    link: bytes,
    major: int,
    minor: int,
) -> bytes:
    prefix, tail = _split(name) or (b"", name[:100])
    fields = [
        tail,
        b"%07o\0" % mode,
        b"%07o\0" % (uid if uid < _ID_LIMIT else 0),
        b"%07o\0" % (gid if gid < _ID_LIMIT else 0),
        b"%011o\0" % (size if size < _SIZE_LIMIT else 0),
        b"%011o\0" % mtime,
        b" " * 8,
        flag,
        link[:100],
        b"ustar\0",
        b"00",
        b"",
        b"",
        b"%07o\0" % major,
        b"%07o\0" % minor,
        prefix,
    ]
    block = _HEADER.pack(*fields)
    fields[6] = b"%06o\0 " % sum(block)
    return _HEADER.pack(*fields)


def _split(name: bytes) -> tuple[bytes, bytes] | None:
    """A name of up to 256 bytes in ustar's prefix and name; None when no slash is in the right place."""
    if len(name) <= 100:
        return b"", name
    slash = name.rfind(b"/", 0, 156) if len(name) <= 256 else -1
    if slash <= 0 or not 0 < len(name) - slash - 1 <= 100:
        return None
    return name[:slash], name[slash + 1 :]


def _sparse_name(name: bytes) -> bytes:
    """Where an extractor that knows no sparse files puts the raw data."""
    folder, _, last = name.rpartition(b"/")
    return (folder + b"/" if folder else b"") + b"GNUSparseFile.0/" + last


def _sparse_records(name: bytes, size: int) -> dict[bytes, bytes]:
    return {
        b"GNU.sparse.major": b"1",
        b"GNU.sparse.minor": b"0",
        b"GNU.sparse.name": name,
        b"GNU.sparse.realsize": b"%d" % size,
    }


def _sparse_table(extents: Extents) -> bytes:
    """The map in front of the data: decimal lines, padded to a block."""
    numbers = [len(extents), *(number for extent in extents for number in extent)]
    text = b"".join(b"%d\n" % number for number in numbers)
    return text + padding(len(text))
