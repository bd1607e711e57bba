"""Mounts in steps, as descriptors (Linux 5.2): a file system is configured, made, and attached last of all.

So what is half-done is never at any place, and goes with its descriptors. glibc has functions for these calls
since 2.36 only; their numbers are the same on every architecture (include/uapi/asm-generic/unistd.h).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from unionfs import libc
from unionfs.model import (
    MS_NOATIME,
    MS_NODEV,
    MS_NODIRATIME,
    MS_NOEXEC,
    MS_NOSUID,
    MS_RDONLY,
    MS_STRICTATIME,
)

MOVE_MOUNT, FSOPEN, FSCONFIG, FSMOUNT, FSPICK = 429, 430, 431, 432, 433
_CLOEXEC = 1  # FSOPEN_, FSMOUNT_, FSPICK_
_SET_FLAG, _SET_STRING, _CREATE, _RECONFIGURE = 0, 1, 6, 7  # FSCONFIG_*
_FROM_EMPTY_PATH = 4  # MOVE_MOUNT_F_EMPTY_PATH
_NO_SYMLINKS = 2  # FSPICK_SYMLINK_NOFOLLOW
_AT_FDCWD, _AT_EMPTY_PATH, _AT_DONT_SYNC = -100, 0x1000, 0x4000

VALUE_LIMIT = 255
"""Bytes of a value that fsconfig(2) takes."""

_SUPERBLOCK_FLAGS = {MS_RDONLY: "ro", 1 << 4: "sync", 1 << 7: "dirsync", 1 << 25: "lazytime"}
_ATTRIBUTES = {  # MS_* -> MOUNT_ATTR_* (include/uapi/linux/mount.h)
    MS_RDONLY: 1,
    MS_NOSUID: 2,
    MS_NODEV: 4,
    MS_NOEXEC: 8,
    MS_NOATIME: 0x10,
    MS_STRICTATIME: 0x20,
    MS_NODIRATIME: 0x80,
    1 << 8: 0x200000,  # nosymfollow
}


class MountError(OSError):
    """An OSError whose text has what the kernel says besides the number (the log of a file system context)."""


def _call(number: int, *args: int | bytes | None) -> int:
    return libc.call("syscall", number, *args)


def make(fstype: str, words: Iterable[tuple[str, str | None]], flags: int) -> int:
    """A file system that is mounted nowhere, as a descriptor of its root.

    `words` are the file system's options; those with None are flags. `flags` are MS_*. Raises MountError.
    """
    with _context(_call(FSOPEN, fstype.encode(), _CLOEXEC)) as context:
        for flag, word in _SUPERBLOCK_FLAGS.items():
            if flags & flag:
                _configure(context, _SET_FLAG, word, None)
        for word, value in words:
            _configure(context, _SET_FLAG if value is None else _SET_STRING, word, value)
        _configure(context, _CREATE, None, None)
        attributes = sum(attribute for flag, attribute in _ATTRIBUTES.items() if flags & flag)
        return _call(FSMOUNT, context, _CLOEXEC, attributes)


def attach(mount: int, target: str) -> None:
    """Puts a detached mount on a directory. Raises OSError."""
    _call(MOVE_MOUNT, mount, b"", _AT_FDCWD, os.fsencode(target), _FROM_EMPTY_PATH)


def reconfigure(target: str) -> None:
    """Remounts with nothing changed, at which the kernel drops all names of the file system that are not in use."""
    with _context(_call(FSPICK, _AT_FDCWD, os.fsencode(target), _CLOEXEC | _NO_SYMLINKS)) as context:
        _configure(context, _RECONFIGURE, None, None)


def device_of(mount: int) -> int:
    """The st_dev of a file system whose server does not answer yet (statx(2), with what is known)."""
    found = libc.buffer(256)
    libc.call("statx", mount, b"", _AT_EMPTY_PATH | _AT_DONT_SYNC, 0, found)
    major, minor = struct.unpack_from("=II", found, 136)  # stx_dev_major, stx_dev_minor
    return os.makedev(major, minor)


@contextmanager
def _context(fd: int) -> Iterator[int]:
    try:
        yield fd
    except OSError as e:
        raise _explained(e, fd) from e
    finally:
        os.close(fd)


def _configure(context: int, command: int, word: str | None, value: str | None) -> None:
    key = None if word is None else word.encode()
    _call(FSCONFIG, context, command, key, None if value is None else os.fsencode(value), 0)


def _explained(error: OSError, context: int) -> MountError:
    """`error` with the lines that the kernel has for it."""
    lines = []
    try:
        while line := os.read(context, 1024):
            lines.append(line.decode(errors="replace").strip().removeprefix("e ").removeprefix("w "))
    except OSError:  # ENODATA: that was all
        pass
    said = f" ({'; '.join(lines)})" if lines else ""
    return MountError(error.errno, f"{os.strerror(error.errno or 0)}{said}")
