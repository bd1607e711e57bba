"""Archives that come from or go to a file, or a pipe. A file is whole, or it is not there."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from imagetool.errors import ImageToolError, NotFound, UsageError
from imagetool.store import disk

Sink = Callable[[bytes], object]


@contextmanager
def output(path: str | None, what: str) -> Iterator[Sink]:
    """Where to write; None or "-" is standard output, which must not be a terminal. Errors are this package's."""
    with disk.errors(f"cannot write {what}"):
        if path not in (None, "-"):
            assert path is not None
            with disk.new_file(path) as file:
                yield file.write
            return
        if sys.stdout.isatty():
            hint = "give a file with -o, or redirect the output"
            raise UsageError(f"{what} is not written to a terminal", hint=hint)
        yield sys.stdout.buffer.write
        sys.stdout.buffer.flush()


def title(path: str | None) -> str:
    """What errors call a file that is read."""
    return "standard input" if path in (None, "-") else str(path)


@contextmanager
def reader(path: str | None, what: str) -> Iterator[Callable[[int], bytes]]:
    """`read(size)` of a file; None or "-" is standard input, which must not be a terminal."""
    if path in (None, "-"):
        if sys.stdin.isatty():
            raise UsageError(
                f"{what} is not read from a terminal", hint="give a file with -i, or redirect the input"
            )
        yield sys.stdin.buffer.read
        return
    assert path is not None
    try:
        file = open(path, "rb")  # noqa: SIM115 -- closed below; only opening may fail like this
    except OSError as error:
        raise _unreadable(path, error) from error
    with file:
        yield file.read


def _unreadable(path: str, error: OSError) -> ImageToolError:
    return NotFound(f"cannot read {path}: {error.strerror}")
