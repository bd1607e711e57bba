"""How a running mount is asked things: one line in, one line of JSON out, over a Unix socket.

The socket is named after the mount's device number, in a directory that only its owner can enter. Both sides
check who the other one is (SO_PEERCRED): the server answers its own user and root, and nobody else.
"""

from __future__ import annotations

import os
import socket
import stat
import struct
import time
from collections.abc import Callable

from unionfs.annotations import Any
from unionfs.errors import SetupError
from unionfs.mountpoint import Mounted, find

_ANSWER_LIMIT = 1 << 20  # bytes; counters take some hundreds
_PATIENCE = 2.0  # seconds


def listen(device: int) -> socket.socket | None:
    """A listening socket for the mount `device`; None where no safe place for it can be had."""
    for directory in _directories(os.geteuid()):
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            _make_private(directory)
            path = _path(directory, device)
            if os.path.lexists(path):  # of a mount that had the number before
                os.unlink(path)
            listener.bind(path)
            listener.listen()
            return listener
        except OSError:
            listener.close()
    return None


def peer_is_allowed(getsockopt: Callable[[int, int, int], bytes]) -> bool:
    """Whether the other side of a socket, given by its `getsockopt`, is root or this user."""
    return _peer(getsockopt) in (0, os.geteuid())


def ask(target: str, command: str) -> dict[str, Any]:
    """Asks the server of the mount at `target`. Raises SetupError when there is none that answers."""
    target = os.path.realpath(target)
    mounted = find(target)
    if mounted is None or not (mounted.fstype.startswith("fuse") or mounted.fstype == "overlay"):
        hint = "see: findmnt -t fuse.unionfs,overlay"
        raise SetupError(f"{target} is not the mount point of a unionfs", hint=hint)
    with _connect(target, mounted) as connection:
        return ask_on(connection, command)


def ask_on(connection: socket.socket, command: str) -> dict[str, Any]:
    """Asks over a connection that is there already."""
    import json

    connection.sendall(command.encode() + b"\n")
    answer = json.loads(_read_line(connection))
    if "error" in answer:
        raise SetupError(f"{command}: {answer['error']}")
    assert isinstance(answer, dict)
    return answer


def _directories(uid: int) -> list[str]:
    """Where the sockets of a user may be, best first. /tmp only holds them in a directory of the user's."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "") if uid == os.geteuid() else ""
    places = ["/run"] if uid == 0 else [runtime, f"/run/user/{uid}"]
    return [f"{place}/unionfs" for place in places if place.startswith("/")] + [f"/tmp/unionfs-{uid}"]


def _path(directory: str, device: int) -> str:
    return f"{directory}/{os.major(device)}:{os.minor(device)}.sock"


def _make_private(directory: str) -> None:
    try:
        os.mkdir(directory, 0o700)
    except FileExistsError:
        found = os.lstat(directory)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
            raise


def _connect(target: str, mounted: Mounted) -> socket.socket:
    """Connects to a server, which begins to listen a moment after its mount answers."""
    patience = time.monotonic() + _PATIENCE
    while (connection := _connected(mounted)) is None:
        if time.monotonic() > patience:
            raise SetupError(
                f"the server of {target} cannot be reached", hint="ask as the user who mounted it, or as root"
            )
        time.sleep(0.02)
    return connection


def _connected(mounted: Mounted) -> socket.socket | None:
    for directory in _directories(mounted.owner):
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(_path(directory, mounted.device))
            if _peer(connection.getsockopt) in (0, mounted.owner):
                return connection
        except OSError:
            pass
        connection.close()
    return None


def _peer(getsockopt: Callable[[int, int, int], bytes]) -> int:
    """The user id at the other end (unix(7))."""
    credentials = getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    uid: int = struct.unpack("3i", credentials)[1]
    return uid


def _read_line(connection: socket.socket) -> bytes:
    answer = b""
    while not answer.endswith(b"\n") and len(answer) < _ANSWER_LIMIT:
        part = connection.recv(1 << 16)
        if not part:
            raise SetupError("the server ended before it answered")
        answer += part
    return answer
