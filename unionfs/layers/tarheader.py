"""PURE: what the bytes of a tar archive mean: header blocks, numbers, PAX records, sparse maps.

Sources: POSIX.1-2017 pax(1) "ustar Interchange Format" and "pax Extended Header", and the GNU tar manual,
"Basic Tar Format" and "Storing Sparse Files". Whatever does not fit raises Damaged, which says what is wrong;
the stream adds on which member, and where.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from struct import Struct
from typing import NamedTuple
from zlib import adler32

BLOCK = 512
ZEROS = bytes(BLOCK)

# name, mode, uid, gid, size, mtime, checksum, type, link, magic+version, devmajor, devminor, prefix
HEADER = Struct("100s8s8s8s12s12s8sc100s8s64x8s8s155s12x")
USTAR = b"ustar\x00"
GNU = b"ustar  \x00"

SYMLINK_MAX = 4095  # PATH_MAX less its NUL: no kernel makes a longer link
XATTR_NAME_MAX = 255  # include/uapi/linux/limits.h
XATTR_SIZE_MAX = 65536
EXTENTS_MAX = 1 << 18  # of one sparse file: far above real ones, and below what hurts in memory
_TIME_LIMIT = 1 << 63

HARDLINK = 0
"""The `kind` of a hard link: it has no type of its own."""

KINDS = {
    b"0": stat.S_IFREG,
    b"\0": stat.S_IFREG,
    b"7": stat.S_IFREG,
    b"S": stat.S_IFREG,
    b"1": HARDLINK,
    b"2": stat.S_IFLNK,
    b"3": stat.S_IFCHR,
    b"4": stat.S_IFBLK,
    b"5": stat.S_IFDIR,
    b"D": stat.S_IFDIR,
    b"6": stat.S_IFIFO,
}


class Damaged(ValueError):
    """What is wrong with the archive at this place."""


class More(NamedTuple):
    """What few members have. Times are (seconds, nanoseconds); extents as in `layers.base.Source`."""

    atime: tuple[int, int] | None = None
    ctime: tuple[int, int] | None = None
    xattrs: dict[bytes, bytes] = {}  # noqa: RUF012  (never changed)
    extents: tuple[tuple[int, int, int], ...] | None = None


class Member(NamedTuple):
    """One member as the archive has it: its name and link are not yet normalised."""

    at: int  # byte offset of its header
    name: bytes
    kind: int  # the type bits of st_mode, or HARDLINK
    mode: int  # permissions only
    uid: int
    gid: int
    size: int  # of the file, holes included
    mtime: int
    mtimensec: int
    link: bytes
    rdev: int
    data: int  # byte offset of its data
    more: More | None


def number(field: bytes) -> int:
    """A numeric field: octal digits, or GNU's base-256 two's complement when its top bit is set."""
    if field[0] & 0x80:
        bits = 8 * len(field) - 1
        value = int.from_bytes(field, "big") & ((1 << bits) - 1)
        return value - (1 << bits) if field[0] & 0x40 else value
    text = field.strip(b" \0").replace(b"\0", b" ").partition(b" ")[0]
    if text.strip(b"01234567"):
        raise Damaged(f"{field!r} is not a number")
    return int(text or b"0", 8)


def long_number(field: bytes) -> int:
    """The same for the fields of 12 bytes, quick for what nearly every archive has there."""
    digits = field[:11]
    if field[11] < 33 and digits.isdigit():
        try:
            return int(digits, 8)
        except ValueError:
            pass
    return number(field)


def identifier(field: bytes) -> int:
    return _bounded_id(number(field))


def checksum_fits(block: bytes, claimed: bytes) -> bool:
    """Whether the sum of the header's bytes, the checksum field taken as spaces, is what the field says."""
    # The low half of Adler-32 from 0 is the sum of the bytes modulo 65521: exact for 256 bytes, and quick.
    total = (adler32(block[:256], 0) & 0xFFFF) + (adler32(block[256:], 0) & 0xFFFF)
    total += 256 - (adler32(claimed, 0) & 0xFFFF)
    value = number(claimed)
    if value == total:
        return True
    rest = block[:148] + block[156:]
    return value == total - 256 * sum(byte > 127 for byte in rest)  # old tars added signed characters


def is_header(block: bytes) -> bool:
    try:
        return checksum_fits(block, block[148:156])
    except Damaged:
        return False


def device(major: bytes, minor: bytes) -> int:
    high, low = number(major), number(minor)
    if not (0 <= high < 1 << 12 and 0 <= low < 1 << 20):  # what Linux's dev_t holds
        raise Damaged(f"device number {high}:{low} is out of range")
    return os.makedev(high, low)


def pax_records(body: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The `LENGTH KEYWORD=VALUE\\n` records of an extended header, in order."""
    at = 0
    while at < len(body):
        space = body.find(b" ", at, at + 10)
        digits = body[at:space] if space > 0 else b""
        end = at + int(digits) if digits.isdigit() else 0
        if not space < end - 1 < len(body) or body[end - 1] != 0x0A:
            raise Damaged(f"malformed record at byte {at} of its extended header")
        key, equals, value = body[space + 1 : end - 1].partition(b"=")
        if not equals or not key:
            raise Damaged(f"record without a keyword at byte {at} of its extended header")
        yield key, value
        at = end


def pax_number(key: bytes, value: bytes) -> int:
    if not value.isdigit() or len(value) > 20:
        raise Damaged(f"{key.decode('ascii', 'replace')}={value[:30]!r} is not a number")
    return int(value)


def pax_id(key: bytes, value: bytes) -> int:
    return _bounded_id(pax_number(key, value))


def pax_time(key: bytes, value: bytes) -> tuple[int, int]:
    """`[-]SECONDS[.FRACTION]` as (seconds, nanoseconds), rounded down."""
    negative = value[:1] == b"-"
    whole, _, fraction = value[negative:].partition(b".")
    if not (whole + fraction).isdigit() or len(value) > 64:
        raise Damaged(f"{key.decode('ascii', 'replace')}={value[:30]!r} is not a time")
    nanoseconds = int(fraction[:9].ljust(9, b"0"))
    seconds = int(whole or b"0")
    if negative:
        nanoseconds += bool(fraction[9:].strip(b"0"))
        seconds, nanoseconds = divmod(-(seconds * 10**9 + nanoseconds), 10**9)
    return checked_time(seconds), nanoseconds


def checked_time(seconds: int) -> int:
    if not -_TIME_LIMIT <= seconds < _TIME_LIMIT:
        raise Damaged(f"time {seconds} is out of range")
    return seconds


def pax_xattrs(records: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """The extended attributes in PAX records. Where both forms are given, SCHILY's wins: it is the raw one.

    SCHILY.acl.* is not looked at: its text names users of another machine. RHT.security.selinux neither.
    """
    found = {}
    for key, value in records.items():
        if key.startswith(b"LIBARCHIVE.xattr."):
            found[_url_decoded(key[17:])] = _base64_decoded(value)
    for key, value in records.items():
        if key.startswith(b"SCHILY.xattr."):
            found[key[13:].replace(b"%3D", b"=").replace(b"%25", b"%")] = value
    for name, value in found.items():
        if not 0 < len(name) <= XATTR_NAME_MAX or b"\0" in name or len(value) > XATTR_SIZE_MAX:
            raise Damaged(f"extended attribute {name[:40]!r} of {len(value)} bytes is not a legal one")
    return found


def sparse_extents(
    pairs: Iterable[tuple[int, int]], data: int, stored: int, size: int
) -> tuple[tuple[int, int, int], ...]:
    """Extents of a sparse file of `size` bytes whose (offset, length) pieces lie end to end from `data`."""
    extents: list[tuple[int, int, int]] = []
    end = used = 0
    for offset, length in pairs:
        if offset < end or length < 0 or offset + length > size or used + length > stored:
            raise Damaged(f"its sparse map is inconsistent at {offset}+{length}")
        if length and extents and offset == end:
            first, where, before = extents[-1]
            extents[-1] = (first, where, before + length)
        elif length:
            extents.append((offset, data + used, length))
        end, used = offset + length, used + length
    return tuple(extents)


def sparse_fields(block: bytes, at: int, count: int) -> list[tuple[int, int]]:
    """The (offset, length) pairs that an old GNU sparse header or extension block has at `at`."""
    pairs = []
    for start in range(at, at + 24 * count, 24):
        if block[start] == 0:
            break
        pairs.append((number(block[start : start + 12]), number(block[start + 12 : start + 24])))
    return pairs


def sparse_text(key: bytes, values: list[bytes]) -> list[tuple[int, int]]:
    """The pairs of a PAX sparse map: offset, length, offset, length, …"""
    if len(values) % 2 or len(values) > 2 * EXTENTS_MAX:
        raise Damaged(f"its sparse map has {len(values)} numbers")
    numbers = [pax_number(key, value) for value in values]
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def _bounded_id(value: int) -> int:
    if not 0 <= value < 0xFFFFFFFF:  # the last one is (uid_t)-1, nobody's
        raise Damaged(f"owner {value} is out of range")
    return value


def _url_decoded(text: bytes) -> bytes:
    from urllib.parse import unquote_to_bytes  # rare, and not worth its import otherwise

    return unquote_to_bytes(text)


def _base64_decoded(text: bytes) -> bytes:
    from binascii import Error, a2b_base64

    try:
        return a2b_base64(text + b"=" * (-len(text) % 4))
    except Error:
        raise Damaged("an extended attribute is not in base64") from None
