"""A person, or a pipe, in front of a running container: output here, keys and signals there."""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager

from imagetool.containers import frames
from imagetool.containers.launch import Connection
from imagetool.errors import ImageToolError
from imagetool.runtime import terminal
from imagetool.runtime.terminal import DetachKeys

_PASSED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2,
           signal.SIGALRM, signal.SIGCONT)  # fmt: skip


class MonitorLost(ImageToolError):
    """It was leaving when it was called, or it has been killed."""

    def __init__(self) -> None:
        super().__init__("the container's monitor has been killed", hint="see: imagetool ps -a")


def follow(
    connection: Connection,
    *,
    tty: bool,
    stdin: bool,
    outputs: Collection[int] = (frames.OUT, frames.ERR),
    proxy: bool = True,
    keys: str = terminal.DEFAULT_DETACH,
) -> int | None:
    """Until the container ends: its exit code; None when the person has detached. MonitorLost."""
    keyboard = 0 if stdin else -1
    with ExitStack() as undo:
        wake = undo.enter_context(_signals(tty=tty, proxy=proxy))
        raw = tty and stdin and os.isatty(0)
        if raw:
            undo.enter_context(terminal.raw_mode(0))
        if tty and os.isatty(1):
            connection.send(frames.RESIZE, frames.pack_size(*terminal.get_size(1)))
        return _Copy(connection, keyboard, wake, DetachKeys(keys if raw else ""), outputs).run()


def outputs(names: Collection[str]) -> list[int]:
    """The frames of the streams called so: stdout, stderr."""
    return [kind for name, kind in (("stdout", frames.OUT), ("stderr", frames.ERR)) if name in names]


def wait(connection: Connection) -> int:
    """The exit code, with the output left out. MonitorLost."""
    while found := connection.receive():
        for frame in found:
            if frame.kind == frames.EXIT:
                return int(frame.data)
    raise MonitorLost


class _Copy:
    def __init__(
        self,
        connection: Connection,
        keyboard: int,
        wake: socket.socket,
        keys: DetachKeys,
        outputs: Collection[int],
    ) -> None:
        self._connection, self._keyboard, self._wake, self._keys = connection, keyboard, wake, keys
        self._outputs = outputs
        self._keys_done = False

    def run(self) -> int | None:
        poller = select.poll()
        for fd in (self._connection.fileno(), self._wake.fileno(), self._keyboard):
            if fd >= 0:
                poller.register(fd, select.POLLIN)
        code = self._show(wait=False)
        while code is None:
            ready = {fd for fd, _ in poller.poll()}
            if self._wake.fileno() in ready:
                self._pass_signals()
            if self._keyboard in ready and not self._type():
                poller.unregister(self._keyboard)
            if self._keys_done:
                return None
            if self._connection.fileno() in ready:
                code = self._show(wait=True)
        return code

    def _show(self, *, wait: bool) -> int | None:
        """Writes what has come; the exit code if that came as well."""
        found = self._connection.receive() if wait else self._connection.take()
        if wait and not found:
            raise MonitorLost
        for frame in found:
            if frame.kind == frames.EXIT:
                return int(frame.data)
            if frame.kind in self._outputs:
                _write(frame.kind, frame.data)
        return None

    def _type(self) -> bool:
        """One read of the keyboard; False at its end."""
        try:
            data = os.read(self._keyboard, frames.CHUNK)
        except OSError:
            data = b""
        if not data:
            self._connection.send(frames.END)
            return False
        passed, self._keys_done = self._keys.feed(data)
        if passed:
            self._connection.send(frames.IN, passed)
        return True

    def _pass_signals(self) -> None:
        for number in self._wake.recv(256):
            if number == signal.SIGWINCH:
                self._connection.send(frames.RESIZE, frames.pack_size(*terminal.get_size(1)))
            elif number in _PASSED:
                self._connection.send(frames.SIGNAL, str(number).encode())


@contextmanager
def _signals(*, tty: bool, proxy: bool) -> Iterator[socket.socket]:
    """A socket from which the numbers of the signals can be read that this process gets."""
    wanted = [*(_PASSED if proxy else ()), *([signal.SIGWINCH] if tty and os.isatty(1) else [])]
    reader, writer = socket.socketpair()
    with reader, writer:
        writer.setblocking(False)
        before_fd = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        before = {number: signal.signal(number, _nothing) for number in wanted}
        try:
            yield reader
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(before_fd)


def _nothing(_number: int, _frame: object) -> None:
    """The wakeup descriptor has it."""


def _write(kind: int, data: bytes) -> None:
    """BrokenPipeError when nobody reads."""
    stream = sys.stdout if kind == frames.OUT else sys.stderr
    stream.flush()
    view = memoryview(data)
    while view:
        view = view[os.write(1 if kind == frames.OUT else 2, view) :]
