"""The log of a container: a JSON line for each line of its output, with the stream and the time.

    {"log": "text\\n", "stream": "stdout", "time": "2024-05-01T12:00:00.123456789Z"}

Bytes that are no UTF-8 are kept as lone surrogates. A line longer than LINE comes in parts.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator

from imagetool.units import time_text
from unionfs.namedtuple import NamedTuple

FILE = "log"
LINE = 1 << 14  # bytes, as Docker's
_POLL = 0.05  # seconds between looks at a log that grows


class Row(NamedTuple):
    stream: str
    time: str
    data: bytes


class Log:
    """Writes; a full disk costs lines, and never stops the container."""

    def __init__(self, directory: str) -> None:
        self._fd = os.open(
            f"{directory}/{FILE}", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600
        )
        self._pending = {"stdout": b"", "stderr": b""}

    def feed(self, stream: str, data: bytes) -> None:
        *lines, rest = (self._pending[stream] + data).split(b"\n")
        rows = [line + b"\n" for line in lines]
        while len(rest) > LINE:
            rows.append(rest[:LINE])
            rest = rest[LINE:]
        self._pending[stream] = rest
        self._write(stream, rows)

    def flush(self) -> None:
        """Lines without an end have come to theirs."""
        for stream, rest in self._pending.items():
            self._write(stream, [rest] if rest else [])
            self._pending[stream] = b""

    def close(self) -> None:
        self.flush()
        os.close(self._fd)

    def _write(self, stream: str, rows: list[bytes]) -> None:
        now = time_text(time.time())
        text = "".join(
            json.dumps({"log": row.decode("utf-8", "surrogateescape"), "stream": stream, "time": now}) + "\n"
            for row in rows
        )
        try:
            os.write(self._fd, text.encode())
        except OSError:
            return


def read(directory: str, *, tail: int | None = None) -> list[Row]:
    """The whole log, or its last `tail` lines."""
    try:
        with open(f"{directory}/{FILE}", "rb") as file:
            rows = [row for row in map(_row, file) if row]
    except FileNotFoundError:
        return []
    return rows if tail is None else rows[max(0, len(rows) - tail) :] if tail else []


def follow(directory: str, goes_on: Callable[[], bool], *, tail: int | None = None) -> Iterator[Row]:
    """The log, and what comes to it, until `goes_on` is False and all has been read."""
    try:
        file = open(f"{directory}/{FILE}", "rb")  # noqa: SIM115 -- closed below
    except FileNotFoundError:
        return
    with file:
        rest = file.read()
        whole, _, rest = rest.rpartition(b"\n")
        rows = [row for row in map(_row, whole.split(b"\n")) if row]
        yield from rows if tail is None else rows[max(0, len(rows) - tail) :] if tail else []
        while True:
            more = goes_on()
            *lines, rest = (rest + file.read()).split(b"\n")
            yield from (row for row in map(_row, lines) if row)
            if not more:
                return
            time.sleep(_POLL)


def _row(line: bytes) -> Row | None:
    """None for a line that was cut by a crash."""
    try:
        found = json.loads(line)
        data = found["log"].encode("utf-8", "surrogateescape")
        return Row(found["stream"], found["time"], data)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
