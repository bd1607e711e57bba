"""What a monitor and those who are attached to its container say to each other over a stream socket.

A frame is one byte for its kind, four for the length (big endian), and so many bytes. The monitor sends
STARTED or FAILED once, to who has started the container, then OUT and ERR, and EXIT as the last. Those who
come later begin with HELLO, a JSON object: {"output": bool, "input": bool}. What they may send are the
other kinds.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator

from unionfs.namedtuple import NamedTuple

OUT, ERR, EXIT, STARTED, FAILED = 1, 2, 3, 4, 5
HELLO, IN, END, RESIZE, SIGNAL, STOP = 16, 17, 18, 19, 20, 21  # STOP: a signal, and no restart after it
CHUNK = 1 << 16
_HEAD = struct.Struct("!BI")
_MOST = 1 << 20  # bytes of one frame
SOCKET = "attach"


class Frame(NamedTuple):
    kind: int
    data: bytes = b""

    def packed(self) -> bytes:
        return _HEAD.pack(self.kind, len(self.data)) + self.data


class Reader:
    """Frames out of bytes as they come."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that are complete now. ValueError for what is none."""
        self._bytes += data
        while len(self._bytes) >= _HEAD.size:
            kind, length = _HEAD.unpack_from(self._bytes)
            if length > _MOST:
                raise ValueError(f"a frame of {length} bytes")
            if len(self._bytes) < _HEAD.size + length:
                return
            data = bytes(self._bytes[_HEAD.size : _HEAD.size + length])
            del self._bytes[: _HEAD.size + length]
            yield Frame(kind, data)


def pack_size(rows: int, columns: int) -> bytes:
    return struct.pack("!HH", rows, columns)


def unpack_size(data: bytes) -> tuple[int, int]:
    rows, columns = struct.unpack("!HH", data)
    return rows, columns


def listen(directory: str) -> socket.socket:
    """The socket of a container's directory; one that a killed monitor left is replaced."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    folder = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    path = f"/proc/self/fd/{folder}/{SOCKET}"  # a path of any length would not fit into sockaddr_un
    try:
        if os.path.lexists(path):
            os.unlink(path)
        before = os.umask(0o177)
        try:
            sock.bind(path)
        finally:
            os.umask(before)
        sock.listen()
    except BaseException:
        sock.close()
        raise
    finally:
        os.close(folder)
    return sock


def connect(directory: str) -> socket.socket:
    """OSError when no monitor listens."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    folder = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sock.connect(f"/proc/self/fd/{folder}/{SOCKET}")
    except BaseException:
        sock.close()
        raise
    finally:
        os.close(folder)
    return sock
