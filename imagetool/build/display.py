"""What a build shows: Docker's lines. Stages that run at once each have a channel; what the later ones say waits for
the end of the earlier ones, so that the lines of a stage stay together. On a terminal the steps that run move at its
bottom; of one that is done only its lines stay, and what its command said if it failed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from imagetool.build.live import Live
from imagetool.units import size_text
from unionfs.annotations import IO

_BOLD, _PLAIN = b"\x1b[1m", b"\x1b[0m"

_KEPT = 64 << 10  # bytes of a command's output that are shown if it fails, where nothing else is


class Display:
    """`stream` None: nothing is shown, but what a step said before it failed, on `failures`."""

    def __init__(
        self,
        stream: IO[bytes] | None,
        failures: IO[bytes],
        *,
        colours: bool = False,
        live: Live | None = None,
    ) -> None:
        self._stream, self._failures = stream, failures
        self.colours, self.live = colours, live
        self._lock = threading.Lock()
        self._channels: dict[int, Channel] = {}

    def line(self, text: str) -> None:
        if self._stream:
            self._write(self._stream, text.encode(errors="surrogateescape") + b"\n")

    def context(self, size: int) -> None:
        self.line(f"Sending build context to imagetool {_size(size)}")

    @contextmanager
    def busy(self, text: str) -> Iterator[None]:
        """While something is done that belongs to no step."""
        if self.live is None:
            yield
            return
        self.live.begin(text, text)
        try:
            yield
        finally:
            self.live.end(text)

    def failed(self, said: bytes) -> None:
        if self._stream is None and said:
            self._write(self._failures, said)

    def channel(self, number: int) -> Channel:
        """For one stage, the lower ones first. All are made before the first is used."""
        kind = Channel if self.live is None else MovingChannel
        return self._channels.setdefault(number, kind(number, self))

    def show(self, channel: Channel, data: bytes) -> None:
        """Now, if no earlier stage is still at it; else when they have ended."""
        with self._lock:
            channel.waiting += data
            if channel.number == min(self._channels, default=channel.number):
                self._flush(channel)

    def end(self, channel: Channel) -> None:
        with self._lock:
            if channel.number != min(self._channels, default=channel.number):
                channel.ended = True
                return
            self._flush(channel)
            self._channels.pop(channel.number, None)
            while self._channels:
                first = self._channels[min(self._channels)]
                self._flush(first)
                if not first.ended:
                    return
                del self._channels[first.number]

    def _flush(self, channel: Channel) -> None:
        if channel.waiting and self._stream:
            self._write(self._stream, bytes(channel.waiting))
        channel.waiting.clear()

    def _write(self, stream: IO[bytes], data: bytes) -> None:
        if self.live is not None and stream is self._stream:
            self.live.write(data)
            return
        stream.write(data)
        stream.flush()


class Channel:
    """What one stage says."""

    def __init__(self, number: int, display: Display) -> None:
        self.number, self._display = number, display
        self.waiting = bytearray()
        self.ended = False
        self.output = bytearray()  # of the step's command

    def step(self, number: int, total: int, text: str) -> None:
        self.output.clear()
        self._line(f"Step {number}/{total} : {text}", _BOLD)

    def note(self, text: str) -> None:
        """` ---> Using cache`, ` ---> 4eacea30377a`."""
        self._line(f" ---> {text}")

    def line(self, text: str) -> None:
        self._line(text)

    def sink(self) -> Callable[[bytes], None]:
        """For what a command says."""

        def take(data: bytes) -> None:
            self.output += data
            del self.output[:-_KEPT]
            self._display.show(self, data)

        return take

    def end_output(self) -> None:
        """What comes next begins on a new line."""
        if self.output and not self.output.endswith(b"\n"):
            self._display.show(self, b"\n")

    def failed(self) -> None:
        self._display.failed(bytes(self.output))

    def end(self) -> None:
        self._display.end(self)

    def _line(self, text: str, colour: bytes = b"") -> None:
        data = text.encode(errors="surrogateescape")
        if colour and self._display.colours:
            data = colour + data + _PLAIN
        self._display.show(self, data + b"\n")


class MovingChannel(Channel):
    """On a terminal: a step moves while it runs, and is written when it is done."""

    def __init__(self, number: int, display: Display) -> None:
        super().__init__(number, display)
        assert display.live is not None
        self._live = display.live
        self._title = ""
        self._said: list[str] = []

    def step(self, number: int, total: int, text: str) -> None:
        self._close()
        self.output.clear()
        self._title = f"Step {number}/{total} : {text}"
        self._live.begin(self.number, self._title)

    def note(self, text: str) -> None:
        self._said.append(f" ---> {text}")

    def line(self, text: str) -> None:
        self._said.append(text)

    def sink(self) -> Callable[[bytes], None]:
        def take(data: bytes) -> None:
            self.output += data
            del self.output[:-_KEPT]
            self._live.say(self.number, data)

        return take

    def end_output(self) -> None:
        """Nothing of it stays."""

    def failed(self) -> None:
        self._close()
        if self.output:
            end = b"" if self.output.endswith(b"\n") else b"\n"
            self._display.show(self, bytes(self.output) + end)

    def end(self) -> None:
        self._close()
        super().end()

    def _close(self) -> None:
        """What stays of the step: its line, with the time if it took some, and what was noted."""
        seconds = self._live.end(self.number)
        if self._title:
            self._line(self._title + (f"  ({seconds:.1f}s)" if seconds >= 1 else ""), _BOLD)
        for text in self._said:
            self._line(text)
        self._title, self._said = "", []


def _size(size: int) -> str:
    """As Docker has it there: with a space before the unit."""
    text = size_text(size, 4)
    number = text.rstrip("kMGTPEZYB")
    return f"{number} {text[len(number) :]}"
