"""System calls that Python's `os` lacks: namespaces, the mount API of file descriptors, credentials.

Every function raises OSError with the call's name as its filename. Numbers are those of
include/uapi/linux/{sched,mount,fcntl,prctl}.h; the calls from 424 on have one number on every architecture.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

CLONE_NEWTIME = 0x00000080
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_PRIVATE, MS_SLAVE, MS_SHARED = 1 << 18, 1 << 19, 1 << 20
MNT_DETACH = 2

ATTR_RDONLY, ATTR_NOSUID, ATTR_NODEV, ATTR_NOEXEC = 1, 2, 4, 8
ATTR_ATIME = 0x70  # the mask of the three atime modes; 0 is relatime
ATTR_NOATIME, ATTR_STRICTATIME, ATTR_NODIRATIME = 0x10, 0x20, 0x80

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_KEEPCAPS, PR_SET_SECCOMP = 1, 4, 8, 22
PR_CAPBSET_READ, PR_CAPBSET_DROP = 23, 24
PR_SET_CHILD_SUBREAPER, PR_GET_CHILD_SUBREAPER = 36, 37
PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 38, 47
PR_CAP_AMBIENT_RAISE = 2

_AT_FDCWD = -100
_AT_EMPTY_PATH, _AT_RECURSIVE = 0x1000, 0x8000
_OPEN_TREE_CLONE, _OPEN_TREE_CLOEXEC = 1, os.O_CLOEXEC
_FS_CLOEXEC = 1  # FSOPEN_CLOEXEC and FSMOUNT_CLOEXEC
_MOVE_FROM_FD, _MOVE_TO_FD = 0x04, 0x40  # MOVE_MOUNT_F_EMPTY_PATH, MOVE_MOUNT_T_EMPTY_PATH
_FSCONFIG_SET_FLAG, _FSCONFIG_SET_STRING, _FSCONFIG_CMD_CREATE = 0, 1, 6
_SYS_OPEN_TREE, _SYS_MOVE_MOUNT, _SYS_FSOPEN, _SYS_FSCONFIG, _SYS_FSMOUNT = 428, 429, 430, 431, 432
_SYS_CLOSE_RANGE, _SYS_MOUNT_SETATTR = 436, 442
_CLOSE_RANGE_CLOEXEC = 4
_SYS_KEYCTL = {"x86_64": 250, "i686": 288, "aarch64": 219, "riscv64": 219, "armv7l": 311, "ppc64le": 271,
               "s390x": 280, "loongarch64": 219}  # fmt: skip
_KEYCTL_JOIN_SESSION_KEYRING = 1
_CAPABILITY_VERSION_3 = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def _checked(result: int, name: str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), name)
    return result


def _syscall(name: str, number: int, *arguments: int | bytes | None) -> int:
    return _checked(
        _libc.syscall(
            ctypes.c_long(number),
            *(ctypes.c_long(a) if isinstance(a, int) else ctypes.c_char_p(a) for a in arguments),
        ),
        name,
    )


def unshare(flags: int) -> None:
    _checked(_libc.unshare(ctypes.c_int(flags)), "unshare")


def setns(fd: int, flags: int) -> None:
    """Join the namespace `fd`, or those in `flags` of the process of the pidfd `fd` (Linux 5.8)."""
    _checked(_libc.setns(ctypes.c_int(fd), ctypes.c_int(flags)), "setns")


def pivot_root(new: bytes, old: bytes) -> None:
    _checked(_libc.pivot_root(ctypes.c_char_p(new), ctypes.c_char_p(old)), "pivot_root")


def umount(path: bytes, flags: int = MNT_DETACH) -> None:
    _checked(_libc.umount2(ctypes.c_char_p(path), ctypes.c_int(flags)), "umount")


def sethostname(name: bytes) -> None:
    _checked(_libc.sethostname(ctypes.c_char_p(name), ctypes.c_size_t(len(name))), "sethostname")


def setdomainname(name: bytes) -> None:
    _checked(_libc.setdomainname(ctypes.c_char_p(name), ctypes.c_size_t(len(name))), "setdomainname")


def prctl(option: int, *arguments: int) -> int:
    padded = [ctypes.c_ulong(a) for a in (*arguments, 0, 0, 0, 0)[:4]]
    return _checked(_libc.prctl(ctypes.c_int(option), *padded), "prctl")


def is_subreaper() -> bool:
    answer = ctypes.c_int(0)
    _checked(_libc.prctl(ctypes.c_int(PR_GET_CHILD_SUBREAPER), ctypes.byref(answer), 0, 0, 0), "prctl")
    return bool(answer.value)


def capset(effective: int, permitted: int, inheritable: int) -> None:
    """Set the calling thread's capability sets; each is a mask with bit N for capability N."""
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    sets = (effective, permitted, inheritable)
    data = struct.pack("=6I", *(s & 0xFFFFFFFF for s in sets), *(s >> 32 for s in sets))
    _checked(_libc.capset(ctypes.c_char_p(header), ctypes.c_char_p(data)), "capset")


def seccomp(program: bytes) -> None:
    """Install a classic BPF program (an array of `struct sock_filter`, 8 bytes each) as a seccomp filter."""
    code = ctypes.create_string_buffer(program, len(program))
    fprog = struct.pack("@HP", len(program) // 8, ctypes.addressof(code))
    filter_mode = ctypes.c_ulong(2)
    _checked(_libc.prctl(ctypes.c_int(PR_SET_SECCOMP), filter_mode, ctypes.c_char_p(fprog), 0, 0), "seccomp")


def cloexec_from(first: int) -> None:
    """Mark every descriptor from `first` on close-on-exec (Linux 5.11)."""
    _syscall("close_range", _SYS_CLOSE_RANGE, first, 0xFFFFFFFF, _CLOSE_RANGE_CLOEXEC)


def new_session_keyring() -> None:
    """An empty one, so that the caller's keys are lost to this process. Nothing happens where there are no keys."""
    number = _SYS_KEYCTL.get(os.uname().machine)
    try:
        if number is not None:
            _syscall("keyctl", number, _KEYCTL_JOIN_SESSION_KEYRING, None)
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.EPERM):  # EPERM: a filter that the container inherits, too
            raise


def close_from(first: int) -> None:
    _syscall("close_range", _SYS_CLOSE_RANGE, first, 0xFFFFFFFF, 0)


def clone_tree(path: bytes, dir_fd: int = _AT_FDCWD, *, recursive: bool = False) -> int:
    """A detached copy of the mount at `path`, or at the descriptor `dir_fd` itself where `path` is empty."""
    flags = _OPEN_TREE_CLONE | _OPEN_TREE_CLOEXEC | (_AT_RECURSIVE if recursive else 0)
    return _syscall("open_tree", _SYS_OPEN_TREE, dir_fd, path, flags | (0 if path else _AT_EMPTY_PATH))


def new_filesystem(kind: bytes, options: list[tuple[bytes, bytes | None]], attributes: int = 0) -> int:
    """A detached mount of a new file system; an option without a value is a flag."""
    context = _syscall("fsopen", _SYS_FSOPEN, kind, _FS_CLOEXEC)
    try:
        for key, value in options:
            command = _FSCONFIG_SET_FLAG if value is None else _FSCONFIG_SET_STRING
            _syscall("fsconfig", _SYS_FSCONFIG, context, command, key, value, 0)
        _syscall("fsconfig", _SYS_FSCONFIG, context, _FSCONFIG_CMD_CREATE, None, None, 0)
        return _syscall("fsmount", _SYS_FSMOUNT, context, _FS_CLOEXEC, attributes)
    finally:
        os.close(context)


def set_mount(fd: int, *, on: int = 0, off: int = 0, propagation: int = 0, recursive: bool = False) -> None:
    """Change the attributes of the mount whose root is `fd` (struct mount_attr, Linux 5.12)."""
    if on & ATTR_ATIME:
        off |= ATTR_ATIME  # the kernel wants the whole mask cleared when one of the modes is set
    attributes = struct.pack("=4Q", on, off, propagation, 0)
    flags = _AT_EMPTY_PATH | (_AT_RECURSIVE if recursive else 0)
    _syscall("mount_setattr", _SYS_MOUNT_SETATTR, fd, b"", flags, attributes, len(attributes))


def attach(mount: int, target: int) -> None:
    """Put the detached mount onto the file or directory of the descriptor `target`; no path is walked."""
    _syscall("move_mount", _SYS_MOVE_MOUNT, mount, b"", target, b"", _MOVE_FROM_FD | _MOVE_TO_FD)


def bounding_set() -> int:
    """The capabilities that this process could give at most, as a mask."""
    return _capability_set("CapBnd:")


def permitted_set() -> int:
    """The capabilities that this process has."""
    return _capability_set("CapPrm:")


def _capability_set(name: str) -> int:
    with open("/proc/self/status") as file:
        return next((int(line.split()[1], 16) for line in file if line.startswith(name)), 0)
