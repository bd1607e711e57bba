"""The lines at the bottom of a terminal that move: what is being done, for how long, and the last that it said.

Drawn by a thread ten times a second, so that what is quick is never drawn; it only waits and writes, and holds
nothing that a fork of the process would miss. What is done goes above, by `write`, and stays.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Hashable
from contextlib import suppress
from time import monotonic

_EVERY = 0.1  # seconds
_TAIL = 5  # lines of output that are shown
_KEPT = 4096  # bytes of it that are looked at
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f]")
_DIM, _PLAIN = "\x1b[2m", "\x1b[0m"


class _Row:
    def __init__(self, title: str) -> None:
        self.title, self.begun = title, monotonic()
        self.said = bytearray()

    def lines(self, width: int) -> list[str]:
        """PURE but for the clock: the title with the time at the right edge, and the last lines of the output."""
        time = f"{monotonic() - self.begun:.1f}s"
        room = max(width - len(time) - 2, 0)
        text = self.said.decode(errors="replace").replace("\t", "    ")
        tail = [_CONTROL.sub("", row.rpartition("\r")[2]) for row in text.replace("\r\n", "\n").split("\n")]
        tail = [f"{_DIM} | {row[: max(width - 4, 0)]}{_PLAIN}" for row in tail if row.strip()][-_TAIL:]
        return [f"{self.title[:room]:<{room}} {time}", *tail]


class Live:
    """For any number of threads. `fd` is a terminal."""

    # INVARIANT: the cursor is in the first column below the `_drawn` lines that are ours

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lock = threading.Lock()
        self._rows: dict[Hashable, _Row] = {}
        self._drawn = 0
        self._thread: threading.Thread | None = None

    def begin(self, key: Hashable, title: str) -> None:
        """Something is under way, until `end`."""
        with self._lock:
            self._rows[key] = _Row(_CONTROL.sub("", title.replace("\n", " ")))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="build-display", daemon=True)
                self._thread.start()

    def say(self, key: Hashable, data: bytes) -> None:
        with self._lock:
            if row := self._rows.get(key):
                row.said += data
                del row.said[:-_KEPT]

    def end(self, key: Hashable) -> float:
        """Seconds that it took; 0.0 if it had not begun."""
        with self._lock:
            row = self._rows.pop(key, None)
            if not self._rows:
                self._put("")
        return monotonic() - row.begun if row else 0.0

    def write(self, data: bytes) -> None:
        """Lines that stay, above those that move."""
        with self._lock:
            self._put(data.decode(errors="surrogateescape"))

    def _run(self) -> None:
        while True:
            threading.Event().wait(_EVERY)
            with self._lock:
                if not self._rows:
                    self._thread = None
                    return
                with suppress(OSError):  # the terminal has gone; whoever writes what stays is told
                    self._draw()

    def _draw(self) -> None:
        columns, lines = os.get_terminal_size(self._fd)
        rows = [line for row in self._rows.values() for line in row.lines(columns)][: max(lines - 1, 1)]
        self._put("".join(f"{row}\n" for row in rows))
        self._drawn = len(rows)

    def _put(self, text: str) -> None:
        """In place of the lines that move."""
        erase = f"\x1b[{self._drawn}A\r\x1b[J" if self._drawn else ""
        self._drawn = 0
        data = memoryview((erase + text).encode(errors="surrogateescape"))
        while data:
            data = data[os.write(self._fd, data) :]
