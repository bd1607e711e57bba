"""The table of behaviours, and the few system calls that Python does not have."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

from tests.support import process
from tests.support.notation import Tree

Check = Callable[[Path], None]


class Needs(IntEnum):
    """What a behaviour's process must be allowed to do. Each includes those before."""

    NOTHING = 0
    IDS = 1  # be root of at least a user namespace: change owners and become others
    ROOT = 2  # be the machine's root: devices, trusted.* and security.*


class Behaviour(NamedTuple):
    """One row. Without `layers` it runs in an empty directory, else in one with these layers, top first."""

    name: str
    check: Check
    needs: Needs
    layers: tuple[Tree, ...]


TABLE: dict[str, Behaviour] = {}


def behaviour(layers: Sequence[Tree] = (), *, needs: Needs = Needs.NOTHING) -> Callable[[Check], Check]:
    """Registers a function on a directory. It raises AssertionError or OSError where the behaviour is not so."""

    def register(check: Check) -> Check:
        name = check.__name__
        assert name not in TABLE, f"two behaviours called {name}"
        TABLE[name] = Behaviour(name, check, needs, tuple(layers))
        return check

    return register


@contextmanager
def refuses(*codes: int) -> Iterator[None]:
    """The block must raise OSError with one of these errnos."""
    expected = "/".join(errno.errorcode[code] for code in codes)
    try:
        yield
    except OSError as error:
        if error.errno not in codes:
            raise AssertionError(f"{error} instead of {expected}") from error
    else:
        raise AssertionError(f"no error instead of {expected}")


@contextmanager
def opened(path: Path | str, flags: int = os.O_RDONLY, mode: int = 0o644) -> Iterator[int]:
    fd = os.open(path, flags, mode)
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def umask(mask: int) -> Iterator[None]:
    old = os.umask(mask)
    try:
        yield
    finally:
        os.umask(old)


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def mode(path: Path) -> int:
    """Permission bits, setuid, setgid and sticky; not of what a link points to."""
    return os.lstat(path).st_mode & 0o7777


ALICE, BOB, GROUP = 1001, 1002, 2001
"""Ids of nobody in particular, inside what every user namespace of the tests maps."""


def as_user(function: Callable[[], object], uid: int = ALICE, gid: int | None = None, *groups: int) -> None:
    """Runs the function as an ordinary user (needs Needs.IDS)."""

    def inside() -> None:
        process.become(uid, uid if gid is None else gid, groups)
        function()

    process.in_child(inside)


def program(path: Path, source: str = "/usr/bin/id") -> Path:
    """A copy of a real program at `path`, executable."""
    path.write_bytes(Path(source).read_bytes())
    path.chmod(0o755)
    return path


NOREPLACE, EXCHANGE, RENAME_WHITEOUT = 1, 2, 4
AT_FDCWD = -100
AT_EMPTY_PATH, AT_SYMLINK_FOLLOW = 0x1000, 0x400


def rename2(old: Path, new: Path, flags: int) -> None:
    """renameat2(2)."""
    call = process.LIBC.renameat2
    process.checked(call(AT_FDCWD, os.fsencode(old), AT_FDCWD, os.fsencode(new), flags))


def link_fd(fd: int, new: Path) -> None:
    """Gives an O_TMPFILE inode a name, in the way that needs no capability."""
    source = f"/proc/self/fd/{fd}".encode()
    process.checked(process.LIBC.linkat(AT_FDCWD, source, AT_FDCWD, os.fsencode(new), AT_SYMLINK_FOLLOW))


KEEP_SIZE, PUNCH_HOLE, COLLAPSE_RANGE, ZERO_RANGE, INSERT_RANGE = 1, 2, 8, 16, 32


def fallocate(fd: int, how: int, offset: int, length: int) -> None:
    long = ctypes.c_long
    process.checked(process.LIBC.fallocate(fd, how, long(offset), long(length)))


class Row(NamedTuple):
    """struct linux_dirent64 (getdents64(2)): `offset` is where the next row is."""

    name: bytes
    ino: int
    offset: int
    kind: int


SYS_GETDENTS64 = 217 if os.uname().machine == "x86_64" else 61


def getdents(fd: int, size: int = 4096) -> list[Row]:
    """One call's worth of rows, "." and ".." included; none at the end of the directory."""
    buffer = ctypes.create_string_buffer(size)
    got = process.checked(process.LIBC.syscall(SYS_GETDENTS64, fd, buffer, size))
    rows, at = [], 0
    while at < got:
        ino, offset, length, kind = struct.unpack_from("=QqHB", buffer, at)
        name = ctypes.string_at(ctypes.addressof(buffer) + at + 19)
        rows.append(Row(name, ino, offset, kind))
        at += length
    return rows


def all_rows(fd: int, size: int = 4096) -> list[Row]:
    """Every row from where the descriptor is, in calls of `size` bytes."""
    rows: list[Row] = []
    while part := getdents(fd, size):
        rows += part
    return rows


def real(rows: Sequence[Row]) -> list[bytes]:
    return [row.name for row in rows if row.name not in (b".", b"..")]


ACL_ACCESS, ACL_DEFAULT = "system.posix_acl_access", "system.posix_acl_default"
USER_OBJ, USER, GROUP_OBJ, GROUP_TAG, MASK, OTHER = 1, 2, 4, 8, 16, 32
NO_ID = 0xFFFFFFFF


def acl(*entries: tuple[int, int] | tuple[int, int, int]) -> bytes:
    """A POSIX ACL as its xattr (linux/posix_acl_xattr.h): entries are (tag, permissions[, id])."""
    rows = b"".join(struct.pack("<HHI", tag, bits, *(rest or [NO_ID])) for tag, bits, *rest in entries)
    return struct.pack("<I", 2) + rows
