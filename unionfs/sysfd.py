"""System calls on (directory descriptor, final name): the only way this package touches a layer's tree.

A whole path would fail near PATH_MAX and could be led astray by a symbolic link; a final name can not.
No function here follows a symbolic link. Descriptors of directories may be O_PATH.
"""

from __future__ import annotations

import os
import stat
import struct
import sys
from contextlib import suppress

from unionfs.model import NOW, Attr

_new = tuple.__new__

RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2
RENAME_WHITEOUT = 4

O_DIR = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def rename(olddir: int, old: bytes, newdir: int, new: bytes, flags: int = 0) -> None:
    """renameat2(2)."""
    if not flags:
        os.rename(old, new, src_dir_fd=olddir, dst_dir_fd=newdir)
        return
    from unionfs import libc

    libc.call("renameat2", olddir, old, newdir, new, flags)


_TIMES = struct.Struct("=4q")
AT_FDCWD = -100
AT_SYMLINK_NOFOLLOW = 0x100
OMIT = (0, (1 << 30) - 2)  # UTIME_OMIT


def set_times(parent: int, name: bytes, atime: tuple[int, int] | None, mtime: tuple[int, int] | None) -> None:
    """utimensat(2): (seconds, nanoseconds), model.NOW, or None to leave one as it is. Only the kernel knows NOW."""
    if name and atime and mtime and NOW not in (atime, mtime):  # without ctypes
        ns = (atime[0] * 1_000_000_000 + atime[1], mtime[0] * 1_000_000_000 + mtime[1])
        os.utime(name, ns=ns, dir_fd=parent, follow_symlinks=False)
        return
    from unionfs import libc

    times = _TIMES.pack(*(atime or OMIT), *(mtime or OMIT))
    if name:
        libc.call("utimensat", parent, name, times, AT_SYMLINK_NOFOLLOW)
        return
    try:
        libc.futimens(parent, times)
    except OSError as e:
        if e.errno != EBADF:
            raise
        libc.call("utimensat", AT_FDCWD, proc_path(parent), times, 0)


MEMORY = frozenset({0x01021994, 0x858458F6})
"""TMPFS_MAGIC, RAMFS_MAGIC (include/uapi/linux/magic.h): file systems that no fsync can wait for."""


def in_memory(fd: int) -> bool:
    """Whether a descriptor is of a file system without a disk behind it."""
    from unionfs import libc

    answer = libc.buffer(256)  # struct statfs, whose first field is f_type
    with suppress(OSError):
        libc.call("fstatfs", fd, answer)
    return int.from_bytes(answer.raw[:4], sys.byteorder) in MEMORY


def fallocate(fd: int, mode: int, offset: int, length: int) -> None:
    """fallocate(2), whatever modes the file system has; os.posix_fallocate knows none."""
    from unionfs import libc

    libc.call("fallocate", fd, mode, offset, length)


def descriptor_limit() -> int:
    """How many descriptors this process may have (RLIMIT_NOFILE)."""
    import resource

    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def open_dir(parent: int, name: bytes) -> int:
    return os.open(name, O_DIR, dir_fd=parent)


def lstat(parent: int, name: bytes) -> os.stat_result:
    """stat(2) of an entry, or of the descriptor itself if the name is empty."""
    if not name:
        return os.fstat(parent)
    return os.stat(name, dir_fd=parent, follow_symlinks=False)


def lstat_or_none(parent: int, name: bytes) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None


def proc_path(parent: int, name: bytes = b"") -> bytes:
    """A path for the calls that take no descriptor: the link in /proc leads to the directory, `name` is final."""
    return b"/proc/self/fd/%d/%b" % (parent, name) if name else b"/proc/self/fd/%d" % parent


EBADF = 9  # what O_PATH descriptors answer to most calls


def chmod(parent: int, name: bytes, mode: int) -> None:
    """chmod(2) of what is known not to be a symbolic link."""
    if name:
        os.chmod(name, mode, dir_fd=parent)
        return
    try:
        os.fchmod(parent, mode)
    except OSError as e:
        if e.errno != EBADF:
            raise
        os.chmod(proc_path(parent), mode)


def chown(parent: int, name: bytes, uid: int, gid: int) -> None:
    if name:
        os.chown(name, uid, gid, dir_fd=parent, follow_symlinks=False)
        return
    try:
        os.fchown(parent, uid, gid)
    except OSError as e:
        if e.errno != EBADF:
            raise
        os.chown(proc_path(parent), uid, gid)


def getxattr(parent: int, name: bytes, key: bytes) -> bytes | None:
    """The attribute `key` of an entry; None if it has none or the file system keeps none."""
    try:
        return os.getxattr(proc_path(parent, name), key, follow_symlinks=not name)
    except OSError as e:
        if e.errno in NO_XATTR:
            return None
        raise


def has_xattr(fd: int, key: bytes) -> bool:
    """Whether what is open has the attribute `key`; of a descriptor that is not O_PATH. To find it among none takes
    less than to hear that it is missing."""
    try:
        return os.fsdecode(key) in os.listxattr(fd)
    except OSError as e:
        if e.errno in NO_XATTR:
            return False
        raise


NO_XATTR = frozenset({61, 95})
"""ENODATA: not there. EOPNOTSUPP: this file system, or this type of file, has no such attributes."""


def setxattr(parent: int, name: bytes, key: bytes, value: bytes, flags: int = 0) -> None:
    os.setxattr(proc_path(parent, name), key, value, flags, follow_symlinks=not name)


def removexattr(parent: int, name: bytes, key: bytes) -> None:
    with suppress_no_xattr():
        os.removexattr(proc_path(parent, name), key, follow_symlinks=not name)


class suppress_no_xattr(suppress):
    """Passes over "there is no such attribute" and nothing else."""

    def __init__(self) -> None:
        super().__init__(OSError)

    def __exit__(self, kind: object, error: object, trace: object) -> bool:
        return isinstance(error, OSError) and error.errno in NO_XATTR


def all_xattrs(parent: int, name: bytes) -> dict[bytes, bytes]:
    path, follow = proc_path(parent, name), not name
    found: dict[bytes, bytes] = {}
    with suppress_no_xattr():
        for key in os.listxattr(path, follow_symlinks=follow):
            with suppress_no_xattr():
                found[os.fsencode(key)] = os.getxattr(path, key, follow_symlinks=follow)
    return found


def attr_of(st: os.stat_result, ino: int) -> Attr:
    """stat(2)'s answer as Attr; the times are taken apart without passing through floats."""
    mode, _, _, nlink, uid, gid, size, atime, mtime, ctime = st
    atimensec = st.st_atime_ns - atime * 1_000_000_000
    mtimensec = st.st_mtime_ns - mtime * 1_000_000_000
    ctimensec = st.st_ctime_ns - ctime * 1_000_000_000
    times = (atime, mtime, ctime, atimensec, mtimensec, ctimensec)
    rdev = st.st_rdev & 0xFFFFFFFF
    return _new(Attr, (ino, size, st.st_blocks, *times, mode, nlink, uid, gid, rdev, st.st_blksize, 0))


def remove_tree(parent: int, name: bytes, most: int = sys.maxsize) -> bool:
    """Removes what `name` is, with all below it. For the work directory: nobody else looks there.

    False, with nothing removed, if it is a directory with more than `most` entries.
    """
    try:
        os.unlink(name, dir_fd=parent)
        return True
    except IsADirectoryError:
        pass
    except PermissionError:  # POSIX lets unlink(2) of a directory say EPERM
        if not stat.S_ISDIR(lstat(parent, name).st_mode):
            raise
    fd = open_to_empty(parent, name)
    try:
        children = os.listdir(fd)
        if len(children) > most:
            return False
        for child in children:
            try:
                os.unlink(child, dir_fd=fd)
            except OSError:
                remove_tree(fd, os.fsencode(child))
    finally:
        os.close(fd)
    os.rmdir(name, dir_fd=parent)
    return True


def open_to_empty(parent: int, name: bytes) -> int:
    """A directory of our own, to list and empty it."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(name, flags, dir_fd=parent)
    except PermissionError:  # the kernel's overlayfs makes its own with no permissions at all
        chmod(parent, name, 0o700)
        return os.open(name, flags, dir_fd=parent)
