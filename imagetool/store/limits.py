"""How large a layer may become, and how full the disk."""

from __future__ import annotations

import os

from imagetool.errors import LimitExceeded, NoSpace
from imagetool.units import size_text
from unionfs.namedtuple import NamedTuple

CHECK_EVERY = 32 << 20
"""Bytes between two looks at the free space."""


class Limits(NamedTuple):
    """Bounds on what a blob may do. Bytes."""

    layer_size: int | None = None  # of a decompressed layer; None: `floor`, or `ratio` times the blob
    floor: int = 2 << 30  # no compressed size makes a layer of this size suspicious
    ratio: int = 200  # real layers seldom reach 20, gzip can do 1,032, zstd 40,000
    reserve: int = 64 << 20  # of free space that is left for others

    def layer_bound(self, blob_size: int) -> int:
        """How many bytes a blob of `blob_size` may decompress to."""
        return self.layer_size if self.layer_size is not None else max(self.floor, self.ratio * blob_size)


LIMITS = Limits()


class Budget:
    """Counts what is written for one layer. `check` is called before every write."""

    def __init__(self, limits: Limits, directory: str, what: str) -> None:
        self._limits = limits
        self._directory = directory
        self._what = what
        self._next = 0
        self.spent = 0

    def check(self, count: int, blob_size: int) -> None:
        """LimitExceeded or NoSpace if `count` more bytes may not be written."""
        self.spent += count
        self._require(self.spent, blob_size)
        if self.spent > self._next:
            self._next = self.spent + CHECK_EVERY
            require_space(self._directory, count, self._limits, self._what)

    def expect(self, count: int, blob_size: int | None) -> None:
        """The same of `count` bytes that are announced: the rest of a large file, before any of it is written.

        `blob_size` None: not known yet, so that no ratio can be told.
        """
        if count > CHECK_EVERY:
            if blob_size is not None or self._limits.layer_size is not None:
                self._require(self.spent + count, blob_size or 0)
            require_space(self._directory, count, self._limits, self._what)

    def _require(self, size: int, blob_size: int) -> None:
        bound = self._limits.layer_bound(blob_size)
        if size > bound:
            text = f"{self._what} decompresses to more than {size_text(bound)}"
            raise LimitExceeded(text, hint="if it is to be trusted, raise --max-layer-size")


def require_space(directory: str, needed: int, limits: Limits, what: str) -> None:
    """NoSpace unless `needed` bytes fit on the disk and the reserve remains."""
    state = os.statvfs(directory)
    free = state.f_bavail * state.f_frsize
    if needed + limits.reserve > free:
        text = (
            f"{what} needs {size_text(needed)}, and {size_text(free)} are free on {_mount_point(directory)}"
        )
        if needed <= free:
            text += f", of which {size_text(limits.reserve)} are to stay free"
        raise NoSpace(text, hint="see `imagetool system prune`, or give another place with --root")


def _mount_point(path: str) -> str:
    """Of the disk that a directory is on: the place that a person knows."""
    path = os.path.realpath(path)
    while not os.path.ismount(path):
        path = os.path.dirname(path)
    return path
