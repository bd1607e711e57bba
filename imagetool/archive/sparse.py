"""Which parts of a file are zeros: decided by its content alone, so that the same file always packs the same way.

What a file system reports as holes depends on the file system; it is used only to read less.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator

GRAIN = 64 << 10
"""Bytes that must be zeros, at a multiple of this, to be left out."""

MINIMUM = 1 << 20
"""Files below this size are packed whole: a map would save next to nothing."""

_ZEROS = bytes(GRAIN)


def data_extents(size: int, read: Callable[[int, int], bytes]) -> list[tuple[int, int]] | None:
    """(offset, length) of what is not zeros, in grains; None when there is nothing worth leaving out.

    `read(offset, length)` gives bytes of the file.
    """
    if size < MINIMUM:
        return None
    extents: list[tuple[int, int]] = []
    for offset, length, zeros in _grains(size, read):
        if zeros:
            continue
        if extents and sum(extents[-1]) == offset:
            extents[-1] = (extents[-1][0], extents[-1][1] + length)
        else:
            extents.append((offset, length))
    whole = extents == [(0, size)]
    if not extents or sum(extents[-1]) != size:
        extents.append((size, 0))  # GNU tar's way to say how long the file is
    return None if whole else extents


def reader(fd: int) -> Callable[[int, int], bytes]:
    """A `read` for a file: the file system's holes are not read."""
    hole_ends = 0

    def read(offset: int, length: int) -> bytes:
        nonlocal hole_ends
        if offset >= hole_ends:
            hole_ends = _next_data(fd, offset)
        return bytes(length) if offset + length <= hole_ends else os.pread(fd, length, offset)

    return read


def _grains(size: int, read: Callable[[int, int], bytes]) -> Iterator[tuple[int, int, bool]]:
    for offset in range(0, size, MINIMUM):
        piece = read(offset, min(MINIMUM, size - offset))
        for start in range(0, len(piece), GRAIN):
            grain = piece[start : start + GRAIN]
            yield offset + start, len(grain), grain == _ZEROS[: len(grain)]


def _next_data(fd: int, offset: int) -> int:
    """Where the next data begin; `offset` itself where the file system knows no holes."""
    try:
        return os.lseek(fd, offset, os.SEEK_DATA)
    except OSError as error:
        if error.errno == errno.ENXIO:  # no more data
            return os.fstat(fd).st_size
        return offset
