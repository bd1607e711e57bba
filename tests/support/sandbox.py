"""Who uses a mount, and where: root, an ordinary user, or root of a user namespace.

The unprivileged ones get a mount namespace in which /dev/fuse and
/dev/net/tun are open to all, as udev makes them, and in which
the interpreter and this checkout can be reached even when they are below a closed home directory.
"""

from __future__ import annotations

import os
import pwd
import signal
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from tests.support import process

CHECKOUT = Path(__file__).parents[2]
USER = pwd.getpwnam("nobody")  # an ordinary user; fusermount3 wants one with an account
SUB_ID, SUB_COUNT = 100_000, 65_536  # what a user namespace maps, as /etc/subuid has it
MS_BIND = 4096


@dataclass(frozen=True)
class Sandbox:
    """`enter` turns the calling (child) process into the user; `owner` is this user's id outside."""

    name: str
    enter: Callable[[], None]
    owner: int
    umount: tuple[str, ...]
    namespace: str  # of the overlay xattrs that the user may write


def nothing() -> None:
    """The test process is root already."""


ROOT = Sandbox("root", nothing, 0, ("umount",), "trusted")


@contextmanager
def user(*, sub_ids: bool = False) -> Iterator[Sandbox]:
    """An ordinary user, who mounts through fusermount3; with `sub_ids` he has further ids of his own."""
    with _holder(new_user=False, sub_ids=sub_ids) as pid, _namespaces(pid, "mnt") as (mnt,):

        def enter() -> None:
            process.setns(mnt, process.CLONE_NEWNS)
            process.become(USER.pw_uid, USER.pw_gid)

        yield Sandbox("user", enter, USER.pw_uid, ("fusermount3", "-u"), "user")


@contextmanager
def user_namespace() -> Iterator[Sandbox]:
    """Root of a user namespace with ids 0..65535, who may mount FUSE file systems there."""
    with _holder(new_user=True) as pid, _namespaces(pid, "user", "mnt") as (users, mnt):

        def enter() -> None:
            process.setns(users, process.CLONE_NEWUSER)
            process.setns(mnt, process.CLONE_NEWNS)
            process.become(0, 0)

        yield Sandbox("userns", enter, SUB_ID, ("umount",), "user")


@contextmanager
def _namespaces(pid: int, *names: str) -> Iterator[list[int]]:
    fds = [os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC) for name in names]
    try:
        yield fds
    finally:
        for fd in fds:
            os.close(fd)


@contextmanager
def _holder(*, new_user: bool, sub_ids: bool = False) -> Iterator[int]:
    """The pid of a process that keeps the namespaces alive and does nothing else."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        _hold(new_user, sub_ids, writer)
    os.close(writer)
    try:
        assert os.read(reader, 1) == b"+", "the namespaces of an unprivileged user could not be made"
        if new_user:
            for name in ("uid_map", "gid_map"):
                Path(f"/proc/{pid}/{name}").write_text(f"0 {SUB_ID} {SUB_COUNT}\n")
        yield pid
    finally:
        os.close(reader)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _hold(new_user: bool, sub_ids: bool, writer: int) -> NoReturn:
    try:
        process.unshare(process.CLONE_NEWNS)
        _open_devices()
        if sub_ids:
            _give_sub_ids()
        _open_up([Path(sys.base_prefix).resolve(), Path(sys.prefix).resolve(), CHECKOUT])
        if new_user:
            process.unshare(process.CLONE_NEWUSER | process.CLONE_NEWNS)
        process.die_with_parent()
        os.write(writer, b"+")
        os.close(writer)
        while True:
            signal.pause()
    finally:
        os._exit(1)


def _mount(source: str, target: Path, kind: str, flags: int, data: str = "") -> None:
    call = process.LIBC.mount
    process.checked(call(source.encode(), os.fsencode(target), kind.encode(), flags, data.encode()))


def _open_devices() -> None:
    for device in ("/dev/fuse", "/dev/net/tun"):
        if os.path.exists(device):
            node = Path(f"/dev/shm/{os.path.basename(device)}.{os.getpid()}")
            os.mknod(node, stat.S_IFCHR, os.stat(device).st_rdev)
            node.chmod(0o666)
            _mount(str(node), Path(device), "none", MS_BIND)
            node.unlink()


def _give_sub_ids() -> None:
    for name in ("subuid", "subgid"):
        given = Path(f"/dev/shm/{name}.{os.getpid()}")
        given.write_text(f"{USER.pw_name}:{SUB_ID}:{SUB_COUNT}\n")
        given.chmod(0o644)
        _mount(str(given), Path("/etc") / name, "none", MS_BIND)
        given.unlink()


def _open_up(paths: Iterable[Path]) -> None:
    """Binds each path onto itself, below a fresh open directory in place of its first closed ancestor."""
    held = [(path, os.open(path, os.O_PATH)) for path in paths]
    for path, fd in held:
        closed = next((up for up in reversed(path.parents) if not up.stat().st_mode & stat.S_IXOTH), None)
        if closed:
            _mount("tmpfs", closed, "tmpfs", 0, "mode=755")
        if not path.exists():
            path.mkdir(parents=True)
            _mount(f"/proc/self/fd/{fd}", path, "none", MS_BIND)
        os.close(fd)
