"""PURE: what a tar header block says: numbers, checksums, kinds; and the Member that comes of it.

Sources: POSIX.1-2017 pax(1), "ustar Interchange Format", and the GNU tar manual, "Basic Tar Format". Whatever
does not fit raises Damaged, which says what is wrong; the stream adds on which member, and where.
"""

from __future__ import annotations

import os
import stat
from struct import Struct
from zlib import adler32

from unionfs.namedtuple import NamedTuple

BLOCK = 512
ZEROS = bytes(BLOCK)

# name, mode, uid, gid, size, mtime, type, link, magic+version, devmajor, devminor, prefix
HEADER = Struct("100s8s8s8s12s12s8xc100s8s64x8s8s155s12x")
USTAR = b"ustar\x00"
GNU = b"ustar  \x00"

SYMLINK_MAX = 4095  # PATH_MAX less its NUL: no kernel makes a longer link
SIZE_LIMIT = 1 << 62
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
    return checked_id(number(field))


def is_header(block: bytes) -> bool:
    """Whether the sum of a block's bytes, the checksum field taken as spaces, is what that field says."""
    field = block[148:156]
    # The low half of Adler-32 from 0 is the sum of the bytes modulo 65521: exact for 256 bytes, and quick.
    total = (adler32(block[:256], 0) & 0xFFFF) + (adler32(block[256:], 0) & 0xFFFF)
    total += 8 * 32 - (adler32(field, 0) & 0xFFFF)
    try:
        claimed = number(field)
    except Damaged:
        return False
    if claimed == total:
        return True
    rest = block[:148] + block[156:]
    return claimed == total - 256 * sum(byte > 127 for byte in rest)  # old tars added signed characters


def device(major: bytes, minor: bytes) -> int:
    high, low = number(major), number(minor)
    if not (0 <= high < 1 << 12 and 0 <= low < 1 << 20):  # what Linux's dev_t holds
        raise Damaged(f"device number {high}:{low} is out of range")
    return os.makedev(high, low)


def checked_id(value: int) -> int:
    if not 0 <= value < 0xFFFFFFFF:  # the last one is (uid_t)-1, nobody's
        raise Damaged(f"owner {value} is out of range")
    return value


def checked_time(seconds: int) -> int:
    if not -_TIME_LIMIT <= seconds < _TIME_LIMIT:
        raise Damaged(f"time {seconds} is out of range")
    return seconds


def checked_size(size: int) -> int:
    if not 0 <= size < SIZE_LIMIT:
        raise Damaged(f"size {size} is out of range")
    return size
