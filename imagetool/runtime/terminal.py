"""A caller's terminal in front of a container's: raw mode that is always undone, resize, detach keys.

`DetachKeys` is pure. Copying is a poll loop without threads: an interactive run needs nothing more.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import struct
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from imagetool.errors import UsageError
from unionfs.annotations import Any
from unionfs.namedtuple import NamedTuple

DEFAULT_DETACH = "ctrl-p,ctrl-q"
_CHUNK = 1 << 16
_CONTROLS = {"@": 0, "[": 27, "\\": 28, "]": 29, "^": 30, "_": 31}


class Ended(NamedTuple):
    """Why the copying stopped."""

    detached: bool


class DetachKeys:
    """Finds the sequence in what is typed; a prefix is held back until it is decided."""

    def __init__(self, text: str = DEFAULT_DETACH) -> None:
        self._keys = parse_keys(text)
        self._held = 0  # how many of the keys are typed already

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """(what to pass on, whether the sequence is complete); what follows the sequence is dropped."""
        if not self._keys:
            return data, False
        out = bytearray()
        for byte in data:
            out += self._step(byte)
            if self._held == len(self._keys):
                self._held = 0
                return bytes(out), True
        return bytes(out), False

    def _step(self, byte: int) -> bytes:
        typed = self._keys[: self._held] + bytes([byte])
        self._held = next(
            n for n in range(len(typed), -1, -1) if self._keys.startswith(typed[len(typed) - n :])
        )
        return typed[: len(typed) - self._held]


def parse_keys(text: str) -> bytes:
    """PURE: "ctrl-p,ctrl-q" or single characters, separated by commas; "" turns detaching off."""
    return bytes(_key(word, text) for word in text.split(",")) if text else b""


@contextmanager
def raw_mode(fd: int) -> Iterator[None]:
    """The terminal passes every key on; restored whatever happens, SIGKILL included."""
    before = termios.tcgetattr(fd)
    with _guard(fd, before):
        try:
            tty.setraw(fd, termios.TCSADRAIN)  # what was typed ahead is kept
            yield
        finally:
            termios.tcsetattr(fd, termios.TCSADRAIN, before)


@contextmanager
def _guard(fd: int, before: list[Any]) -> Iterator[None]:
    """A process that sees this one end, and undoes what it could not; in a session that no key's signal reaches."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            os.dup2(fd, 0)
            os.dup2(reader, 1)
            os.closerange(2, os.sysconf("SC_OPEN_MAX"))
            os.read(1, 1)  # nothing ever comes but the end
            termios.tcsetattr(0, termios.TCSADRAIN, before)
        finally:
            os._exit(0)
    os.close(reader)
    try:
        yield
    finally:
        os.close(writer)
        os.waitpid(pid, 0)


def get_size(fd: int) -> tuple[int, int]:
    """(rows, columns)"""
    rows, columns, _, _ = struct.unpack("4H", fcntl.ioctl(fd, termios.TIOCGWINSZ, bytes(8)))
    return rows, columns


def set_size(fd: int, rows: int, columns: int) -> None:
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))


@contextmanager
def following_size(source: int, target: int) -> Iterator[None]:
    """The terminal `target` has the size of `source`, now and after each change."""

    def follow(_number: int = 0, _frame: object = None) -> None:
        with suppress(OSError):  # either side may be gone already
            set_size(target, *get_size(source))

    follow()
    before = signal.signal(signal.SIGWINCH, follow)
    try:
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)


def copy(
    master: int, keyboard: int, screen: int, keys: DetachKeys, tee: Callable[[bytes], None] | None = None
) -> Ended:
    """Copy both ways until the container's side is closed, or the detach keys are typed.

    keyboard: -1 if nothing is to be typed. `tee` sees all output, for a log.
    """
    poller = select.poll()
    poller.register(master, select.POLLIN)
    if keyboard >= 0:
        poller.register(keyboard, select.POLLIN)
    while True:
        for fd, _ in poller.poll():
            if fd == master:
                data = _read(master)
                if not data:
                    return Ended(False)
                _write(screen, data)
                if tee:
                    tee(data)
            elif _typed(keyboard, master, keys, poller):
                return Ended(True)


def keep_open(master: int) -> None:
    """A process that shows nobody what comes, so that who has this terminal can go on when it is left alone."""
    if os.fork():
        return
    try:
        os.setsid()
        os.dup2(master, 0)
        os.closerange(1, os.sysconf("SC_OPEN_MAX"))
        while _read(0):
            pass
    finally:
        os._exit(0)


def interact(master: int, stdin: int, stdout: int, detach: str = DEFAULT_DETACH) -> Ended:
    """The caller's terminal is the container's until it ends or is detached from."""
    keys = DetachKeys(detach)
    if not os.isatty(stdin):
        return copy(master, stdin, stdout, keys)
    with raw_mode(stdin), following_size(stdin, master):
        return copy(master, stdin, stdout, keys)


def _typed(keyboard: int, master: int, keys: DetachKeys, poller: select.poll) -> bool:
    data = _read(keyboard)
    if not data:
        poller.unregister(keyboard)
        _write(master, b"\x04")  # end of file, as a terminal says it
        return False
    passed, done = keys.feed(data)
    _write(master, passed)
    return done


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, _CHUNK)
    except OSError:  # EIO: the last process has closed the terminal
        return b""


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            _until_writable(fd)
        except OSError:  # nobody reads any more; the other direction says when it is over
            return


def _until_writable(fd: int) -> None:
    poller = select.poll()  # select(2) refuses descriptors from 1024 on
    poller.register(fd, select.POLLOUT)
    poller.poll()


def _key(word: str, text: str) -> int:
    low = word.lower()
    if len(word) == 1 and word.isascii():
        return ord(word)
    if low.startswith("ctrl-") and len(low) == 6:
        last = low[5]
        if "a" <= last <= "z":
            return ord(last) - ord("a") + 1
        if last in _CONTROLS:
            return _CONTROLS[last]
    raise UsageError(f"invalid detach keys {text!r}", hint="such as ctrl-p,ctrl-q: letters or ctrl-LETTER")
