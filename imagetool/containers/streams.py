"""The monitor's ends: the container's output and input, and everybody who is attached. Nothing here waits.

Who reads slowly slows the container down, as a pipe does: its output is not read while a client is LAG behind.
"""

from __future__ import annotations

import json
import os
import socket
from contextlib import suppress

from imagetool.containers.frames import CHUNK, ERR, HELLO, IN, OUT, Frame, Reader
from imagetool.containers.log import Log

LAG = 1 << 20  # bytes
_STREAMS = {OUT: "stdout", ERR: "stderr"}


class Client:
    """Somebody at the other end of a socket."""

    def __init__(self, sock: socket.socket, *, output: bool = False, input: bool = False) -> None:
        sock.setblocking(False)
        self.sock, self.output, self.input = sock, output, input
        self.unsent = bytearray()
        self._reader = Reader()

    def fileno(self) -> int:
        return self.sock.fileno()

    def send(self, frame: Frame) -> None:
        self.unsent += frame.packed()
        self.flush()

    def flush(self) -> None:
        """What the socket takes now; one that is broken takes all."""
        try:
            while self.unsent:
                del self.unsent[: self.sock.send(self.unsent)]
        except BlockingIOError:
            return
        except OSError:
            self.unsent.clear()

    def receive(self) -> list[Frame] | None:
        """What has come; None when the client has gone, or talks nonsense."""
        try:
            data = self.sock.recv(CHUNK)
            frames = list(self._reader.feed(data)) if data else None
        except BlockingIOError:
            return []
        except (OSError, ValueError):
            return None
        for frame in frames or ():
            if frame.kind == HELLO:
                self._greet(frame.data)
        return frames

    def _greet(self, data: bytes) -> None:
        with suppress(ValueError, AttributeError):
            asked = json.loads(data)
            self.output, self.input = bool(asked.get("output")), bool(asked.get("input"))


class Output:
    """The container's two streams, or its terminal, to the log and to the clients."""

    def __init__(self, ends: dict[int, int], log: Log) -> None:
        self.ends = ends  # descriptor -> OUT or ERR
        self._log = log
        for fd in ends:
            os.set_blocking(fd, False)

    def move(self, fd: int, clients: list[Client]) -> bool:
        """One read's worth; False when there is nothing now. A stream that has ended is closed."""
        try:
            data = os.read(fd, CHUNK)
        except BlockingIOError:
            return False
        except OSError:  # EIO: the last process has closed the terminal
            data = b""
        kind = self.ends[fd]
        if not data:
            os.close(fd)
            del self.ends[fd]
            return False
        self._log.feed(_STREAMS[kind], data)
        for client in clients:
            if client.output:
                client.send(Frame(kind, data))
        return True

    def drain(self, clients: list[Client]) -> None:
        """All that an ended container has left behind."""
        for fd in list(self.ends):
            while fd in self.ends and self.move(fd, clients):
                pass
            if fd in self.ends:  # a process outside has it open still
                os.close(fd)
                del self.ends[fd]


class Input:
    """What is typed, on its way to the container; fd -1: nowhere."""

    def __init__(self, fd: int, *, terminal: bool) -> None:
        self.fd, self._terminal = fd, terminal
        self.unsent = bytearray()
        self._ending = False
        if fd >= 0:
            os.set_blocking(fd, False)

    def feed(self, frame: Frame) -> None:
        if self.fd >= 0:
            self.unsent += frame.data if frame.kind == IN else self._end()
            self.flush()

    def _end(self) -> bytes:
        self._ending = not self._terminal
        return b"\x04" if self._terminal else b""  # end of file, as a terminal says it

    def flush(self) -> None:
        try:
            while self.unsent:
                del self.unsent[: os.write(self.fd, self.unsent)]
        except BlockingIOError:
            return
        except OSError:  # nobody reads any more
            self.unsent.clear()
            self._ending = not self._terminal
        if self._ending:
            self.close()

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
        self.fd = -1
        self.unsent.clear()
