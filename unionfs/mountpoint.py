"""Attach a FUSE file system to a directory and take it off again: mount(2), or fusermount3 for users.

Nothing here knows what is mounted. mount(2) takes CAP_SYS_ADMIN (also that of a user namespace); everybody
else goes through the setuid program fusermount3, which passes /dev/fuse back over a socket (_FUSE_COMMFD).
"""

from __future__ import annotations

import os
from contextlib import suppress
from errno import EBUSY, EINVAL, EPERM

from unionfs.errors import SetupError
from unionfs.model import MS_RDONLY
from unionfs.namedtuple import NamedTuple

MNT_DETACH, UMOUNT_NOFOLLOW = 2, 8  # include/linux/fs.h
_MS_REMOUNT, _MS_REC, _MS_PRIVATE, _MS_SLAVE = 1 << 5, 1 << 14, 1 << 18, 1 << 19  # include/uapi/linux/mount.h
_CLONE_NEWNS = 0x20000
_CAP_SYS_ADMIN = 1 << 21
_COMM_FD = "_FUSE_COMMFD"

_HELPER_FLAGS = {  # the MS_* bits that fusermount3 knows words for; it sets nosuid and nodev by itself
    1: "ro",
    1 << 3: "noexec",
    1 << 4: "sync",
    1 << 7: "dirsync",
    1 << 10: "noatime",
    1 << 11: "nodiratime",
}


class Request(NamedTuple):
    """A mount to be made. `contexts` are SELinux words; they are left out where there is no SELinux."""

    target: str
    source: str = "unionfs"
    subtype: str = "unionfs"
    flags: int = 0  # MS_*
    allow_other: bool = False
    default_permissions: bool = True
    max_read: int | None = None
    contexts: tuple[str, ...] = ()
    private: bool = False


class Mounted(NamedTuple):
    """A row of /proc/self/mountinfo (proc(5))."""

    device: int  # st_dev of everything in it
    target: str
    fstype: str
    source: str
    owner: int  # user_id= of a FUSE mount, else 0
    readonly: bool  # the whole file system, not this mount of it alone


def may_mount() -> bool:
    """Whether this process has CAP_SYS_ADMIN in its user namespace."""
    with open("/proc/self/status", "rb") as status:
        for line in status:
            if line.startswith(b"CapEff:"):
                return bool(int(line[7:], 16) & _CAP_SYS_ADMIN)
    return False


def mount(request: Request) -> int:
    """Makes the mount; gives the /dev/fuse descriptor to serve it on. Raises SetupError, mounting nothing."""
    return _mount_directly(request) if may_mount() else _mount_by_helper(request)


def unmount(target: str, *, lazy: bool = False) -> None:
    """Takes the topmost mount off `target`; with `lazy` at once, whoever uses it. Raises OSError.

    May wait for the server of the mount: a server calls it from a thread.
    """
    try:
        _call("umount2", os.fsencode(target), UMOUNT_NOFOLLOW | (MNT_DETACH if lazy else 0))
    except PermissionError:
        _unmount_by_helper(target, lazy)


def remount(target: str, flags: int) -> None:
    """Gives a mount other MS_* flags. Raises SetupError: a read-only mount stays read-only."""
    mounted = find(target)
    if mounted is None or not mounted.fstype.startswith("fuse"):
        raise SetupError(f"{target} is not the mount point of a unionfs", hint="see: findmnt -t fuse.unionfs")
    if mounted.readonly and not flags & MS_RDONLY:
        raise SetupError(f"{target} cannot be made writable", hint="unmount it and mount it again")
    try:
        _call("mount", None, os.fsencode(target), None, flags | _MS_REMOUNT, None)
    except OSError as e:
        raise SetupError(f"cannot remount {target}: {e.strerror}", hint=_mount_hint(e.errno)) from e


def make_private(target: str) -> None:
    """Keeps mounts made below `target` from spreading to its peers. Raises OSError."""
    _call("mount", None, os.fsencode(target), None, _MS_PRIVATE, None)


def enter_private_namespace() -> None:
    """Gives this thread mounts of its own: what it mounts nobody else sees. Raises OSError."""
    _call("unshare", _CLONE_NEWNS)
    # Not private: what others unmount meanwhile goes here too, and is not held.
    _call("mount", None, b"/", None, _MS_REC | _MS_SLAVE, None)


def has_selinux() -> bool:
    return os.path.exists("/sys/fs/selinux/enforce")


def find(target: str) -> Mounted | None:
    """The topmost mount on exactly this directory (an absolute path without links)."""
    found = None
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as table:
        for line in table:
            row = _row(line)
            if row.target == target:
                found = row
    return found


def overlay_over(upper: str) -> str:
    """Where the kernel's overlayfs is mounted with this upper directory, as far as this process sees; "": nowhere."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as table:
        for line in table:
            row = _row(line)
            words = line.rstrip("\n").rpartition(" ")[2].split(",")
            if row.fstype == "overlay" and f"upperdir={upper}" in map(_plain, words):
                return _plain(row.target)
    return ""


def _row(line: str) -> Mounted:
    left, _, right = line.partition(" - ")
    device, target = left.split(" ")[2], left.split(" ")[4]
    fstype, source, words = right.rstrip("\n").split(" ")
    chosen = words.split(",")
    owner = next((word[8:] for word in chosen if word.startswith("user_id=")), "0")
    major, _, minor = device.partition(":")
    number = os.makedev(int(major), int(minor))
    return Mounted(number, _plain(target), fstype, _plain(source), int(owner), "ro" in chosen)


def _plain(text: str) -> str:
    """Undoes the octal escapes of blanks, newlines, backslashes and '#'."""
    head, *rest = text.split("\\")
    return head + "".join(chr(int(part[:3], 8)) + part[3:] for part in rest)


def _call(name: str, *arguments: int | bytes | None) -> None:
    from unionfs import libc  # most only look for a mount

    libc.call(name, *arguments)


def _mount_directly(request: Request) -> int:
    fd = open_device()
    try:
        _mount_syscall(request, fd)
        if request.private:
            make_private(request.target)
    except BaseException:
        os.close(fd)
        raise
    return fd


def open_device() -> int:
    """A new connection to the kernel's FUSE, which is no mount yet. Raises SetupError."""
    try:
        return os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    except PermissionError as e:
        raise SetupError("/dev/fuse may not be opened", hint="a container needs --device /dev/fuse") from e
    except OSError as e:
        hint = "load the kernel module: modprobe fuse; a container needs --device /dev/fuse"
        raise SetupError(f"there is no usable /dev/fuse: {e.strerror}", hint=hint) from e


def _mount_syscall(request: Request, fd: int) -> None:
    words = [f"fd={fd}", "rootmode=40000", f"user_id={os.getuid()}", f"group_id={os.getgid()}"]
    words += _common_words(request)
    if has_selinux():
        words += request.contexts
    try:
        _call(
            "mount",
            os.fsencode(request.source),
            os.fsencode(request.target),
            os.fsencode(_fstype(request)),
            request.flags,
            os.fsencode(",".join(words)),
        )
    except OSError as e:
        raise SetupError(f"cannot mount on {request.target}: {e.strerror}", hint=_mount_hint(e.errno)) from e


def _common_words(request: Request) -> list[str]:
    words = []
    if request.default_permissions:
        words.append("default_permissions")
    if request.allow_other:
        words.append("allow_other")
    if request.max_read is not None:
        words.append(f"max_read={request.max_read}")
    return words


def _fstype(request: Request) -> str:
    return f"fuse.{request.subtype}" if request.subtype else "fuse"


def _mount_hint(code: int | None) -> str:
    if code == EINVAL:
        return "the kernel refuses one of the mount options"
    if code == EPERM:
        return "this container or user namespace does not allow mounts"
    return ""


def _mount_by_helper(request: Request) -> int:
    import socket

    ours, theirs = socket.socketpair()
    with ours, theirs:
        pid, complaints = _spawn(_helper_arguments(request), theirs.fileno())
        theirs.close()
        _, fds, _, _ = socket.recv_fds(ours, 1, 1)
    text = _collect(pid, complaints)
    if not fds:
        raise SetupError(
            f"cannot mount on {request.target}: {text or 'fusermount3 failed'}", hint=_helper_hint(text)
        )
    os.set_inheritable(fds[0], False)
    return fds[0]


def _helper_arguments(request: Request) -> list[str]:
    words = [word for bit, word in _HELPER_FLAGS.items() if request.flags & bit]
    words += _common_words(request)
    words.append("fsname=" + _escape(request.source))
    if request.subtype:
        words.append("subtype=" + _escape(request.subtype))
    return ["-o", ",".join(words), "--", request.target]


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace(",", "\\,")


def _helper_hint(text: str) -> str:
    if "user_allow_other" in text:
        return "leave out allow_other, or let root put user_allow_other into /etc/fuse.conf"
    if "/dev/fuse" in text:
        return "let root open /dev/fuse to users: chmod 666 /dev/fuse"
    if "permission" in text.lower() or "write access" in text:
        return "mount on a directory that you own"
    return ""


def _find_helper() -> str:
    path = os.environ.get("PATH", "")
    for directory in [*path.split(":"), "/usr/bin", "/bin", "/usr/local/bin"]:
        program = os.path.join(directory, "fusermount3")
        if directory.startswith("/") and os.access(program, os.X_OK):
            return program
    raise SetupError(
        "fusermount3 is missing, and only root can mount without it", hint="install the package fuse3"
    )


def _spawn(arguments: list[str], comm_fd: int | None) -> tuple[int, int]:
    """Starts fusermount3; gives its pid and what its standard error comes out of."""
    program = _find_helper()
    environment = dict(os.environ)
    output, into = os.pipe()
    actions = [(os.POSIX_SPAWN_DUP2, into, 2), (os.POSIX_SPAWN_DUP2, into, 1)]
    if comm_fd is not None:
        os.set_inheritable(comm_fd, True)
        environment[_COMM_FD] = str(comm_fd)
    try:
        pid = os.posix_spawn(program, [program, *arguments], environment, file_actions=actions)
    except BaseException:
        os.close(output)
        raise
    finally:
        os.close(into)
    return pid, output


def _collect(pid: int, output: int) -> str:
    """Waits for the helper; gives the first line of what it said."""
    with open(output, errors="replace") as stream:
        said = stream.read()
    os.waitpid(pid, 0)
    return said.strip().partition("\n")[0].removeprefix("fusermount3: ")


def _unmount_by_helper(target: str, lazy: bool) -> None:
    pid, output = _spawn(["-u", *(["-z"] if lazy else []), "--", target], None)
    if said := _collect(pid, output):
        code = EBUSY if "busy" in said else EINVAL if "not mounted" in said or "not found" in said else EPERM
        raise OSError(code, said, target)


def unmount_if_ours(target: str, device: int) -> None:
    """Detaches `target`, unless somebody else's mount is on it by now or nothing is."""
    mounted = find(target)
    if mounted is not None and mounted.device == device:
        with suppress(OSError):
            unmount(target, lazy=True)
