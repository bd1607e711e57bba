"""Pipes between a process in a container and the caller's streams, so that it gets none of the caller's files.

A descriptor of a terminal could be typed into and read from, one of a file be opened again for more than was meant.
"""

from __future__ import annotations

import os
import select
from types import TracebackType

from imagetool.runtime.base import Stdio

_CHUNK = 1 << 16
_READ = select.POLLIN | select.POLLHUP | select.POLLERR


class Relay:
    """Three pipes, or two when nothing is to be typed. `inner` are the container's ends, until `hand_over`."""

    def __init__(self, *, stdin: bool) -> None:
        keyboard = os.pipe2(os.O_CLOEXEC) if stdin else (-1, -1)
        out, err = os.pipe2(os.O_CLOEXEC), os.pipe2(os.O_CLOEXEC)
        self.inner = Stdio(keyboard[0], out[1], err[1])
        self._outputs = {out[0]: 1, err[0]: 2}  # ours -> the caller's
        self._keyboard, self._unsent = keyboard[1], b""
        for fd in (out[0], err[0], *([self._keyboard] if stdin else [])):
            os.set_blocking(fd, False)

    def __enter__(self) -> Relay:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.hand_over()
        for fd in list(self._outputs):
            self._end(fd)
        self._hang_up()

    def hand_over(self) -> None:
        """The process has its ends now."""
        for fd in self.inner:
            if fd >= 0:
                os.close(fd)
        self.inner = Stdio()

    def run(self, pid: int) -> None:
        """Until the process has ended, and what it has written is out. What its children write later is nobody's."""
        ended = os.pidfd_open(pid)
        try:
            while True:
                ready = self._ready(ended)
                for fd in [fd for fd in self._outputs if fd in ready]:
                    self._pass_on(fd)
                self._type(ready)
                if ended in ready:
                    break
        finally:
            os.close(ended)
        for fd in list(self._outputs):
            while self._pass_on(fd):
                pass

    def _ready(self, ended: int) -> set[int]:
        poller = select.poll()
        for fd in (ended, *self._outputs):
            poller.register(fd, _READ)
        if self._keyboard >= 0:
            if self._unsent:
                poller.register(self._keyboard, select.POLLOUT)
            else:
                poller.register(0, _READ)
                poller.register(self._keyboard, 0)  # only whether anybody reads it
        return {fd for fd, _ in poller.poll()}

    def _pass_on(self, fd: int) -> bool:
        """One read's worth; False when there is nothing now, or never again."""
        try:
            data = os.read(fd, _CHUNK)
        except BlockingIOError:
            return False
        try:
            _write(self._outputs[fd], data)
        except OSError:  # nobody reads what we write: the process is to see that too
            data = b""
        if not data:
            self._end(fd)
        return bool(data)

    def _type(self, ready: set[int]) -> None:
        if self._keyboard in ready and not self._unsent:  # nobody reads it any more
            self._hang_up()
        if self._keyboard < 0:
            return
        try:
            if 0 in ready:
                self._unsent = os.read(0, _CHUNK)
                if not self._unsent:
                    self._hang_up()
            if self._unsent:
                self._unsent = self._unsent[os.write(self._keyboard, self._unsent) :]
        except BlockingIOError:
            return
        except OSError:
            self._hang_up()

    def _end(self, fd: int) -> None:
        del self._outputs[fd]
        os.close(fd)

    def _hang_up(self) -> None:
        if self._keyboard >= 0:
            os.close(self._keyboard)
        self._keyboard, self._unsent = -1, b""


def _write(fd: int, data: bytes) -> None:
    """All of it; whoever has the other end may have made it one that does not wait."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(fd, rest) :]
        except BlockingIOError:
            waiting = select.poll()
            waiting.register(fd, select.POLLOUT)
            waiting.poll()
