"""Containers of a user who is not root: all that is theirs lives in a user namespace that their monitor makes.

In it the user is root: he mounts the union there, and the container has its namespaces there. With ranges in
/etc/subuid there are other users inside, else he is the only one. Owners and modes of changed files are kept in
an attribute of theirs, so that on disk all of them belong to the user. Whoever comes later (exec, cp) enters the
namespace of the container that runs, or one of his own. Entering is for single-threaded processes, and for good.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress

from unionfs.annotations import TYPE_CHECKING

if TYPE_CHECKING:
    from imagetool.containers.record import Record
    from unionfs.layers.directory import DirLayer

_LEAVING = 5.0  # seconds for killed processes to end


class _Here:
    entered = False


def needed() -> bool:
    """Whether this process may not do what containers need; not any more once it has entered."""
    return os.geteuid() != 0


def active() -> bool:
    """Whether it has entered."""
    return _Here.entered


def enter() -> None:
    """A new user namespace and mounts of its own; nothing happens to root. SandboxError."""
    if needed():
        from imagetool.runtime import userns

        userns.enter(userns.available_maps(os.geteuid(), os.getegid()))
        _Here.entered = True


def join(pid: int) -> None:
    """The user namespace of a container's process; nothing happens to root. SandboxError."""
    if not needed():
        return
    from imagetool.runtime import linux
    from imagetool.runtime.errors import SandboxError

    try:
        fd = os.pidfd_open(pid)
        try:
            linux.setns(fd, linux.CLONE_NEWUSER)
        finally:
            os.close(fd)
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
    except OSError as error:
        raise SandboxError(f"cannot enter the container's user namespace: {error.strerror}") from error
    _Here.entered = True


def has_one_id() -> bool:
    """Whether 0 is the only user that exists here."""
    with open("/proc/self/uid_map") as file:
        return sum(int(line.split()[2]) for line in file) == 1


def layer(record: Record, directory: str) -> DirLayer:
    """The RW layer, with owners as the container sees them. OSError, SetupError."""
    from unionfs.layers.directory import DirLayer
    from unionfs.override import CONTAINERS

    key = CONTAINERS if record.rootless else b""
    return DirLayer(os.fsencode(f"{directory}/top/upper"), userxattr=record.rootless, override_key=key)


def end_all(source: str) -> None:
    """Kills what still lives where a mount of this name is: the server, and who uses it, of a killed monitor."""
    from signal import SIGKILL

    deadline = time.monotonic() + _LEAVING
    while (left := _inside(source)) and time.monotonic() < deadline:
        for pid in left:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, SIGKILL)
        time.sleep(0.01)


def _inside(source: str) -> list[int]:
    """The other processes in whose mounts it is. In this process's own mounts it must not be."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            with suppress(OSError), open(f"/proc/{name}/mountinfo", errors="surrogateescape") as file:
                if any(f" {source} " in line for line in file):
                    found.append(int(name))
    return found
