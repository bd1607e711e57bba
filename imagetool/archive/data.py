"""Reading the bytes of a file of a layer: extents and holes become one stream."""

from __future__ import annotations

import os
from collections.abc import Iterator

from imagetool.errors import Malformed
from unionfs.layers.base import Source


def extents_of(source: Source) -> tuple[tuple[int, int, int], ...]:
    """(offset in the file, offset on the descriptor, length) of all data."""
    return ((0, source.start, source.size),) if source.extents is None else source.extents


def pieces(source: Source, start: int, length: int, size: int = 1 << 20) -> Iterator[bytes]:
    """The bytes of a source from `start` on; holes are zeros. Malformed when they are not there."""
    for offset, at, count in _runs(source, start, length):
        while count:
            want = min(count, size)
            data = bytes(want) if at is None else os.pread(source.fd, want, at)
            if not data:
                raise Malformed(f"a file in a layer ends at byte {offset}, before its {source.size} bytes")
            yield data
            offset, count = offset + len(data), count - len(data)
            at = None if at is None else at + len(data)


def _runs(source: Source, start: int, length: int) -> Iterator[tuple[int, int | None, int]]:
    """(offset in the file, offset on the descriptor or None for a hole, length) without gaps."""
    end = min(start + length, source.size)
    for offset, at, count in extents_of(source):
        if offset + count <= start:
            continue
        if offset >= end:
            break
        if offset > start:
            yield start, None, offset - start
            start = offset
        take = min(offset + count, end) - start
        yield start, at + start - offset, take
        start += take
    if start < end:
        yield start, None, end - start
