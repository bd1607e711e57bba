"""Writing a tar member by member to a sink: what pack and export share."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping

from imagetool.archive import sparse, tarwrite
from imagetool.archive.data import pieces
from imagetool.archive.tarwrite import Entry
from unionfs.layers.base import Source
from unionfs.model import Attr

Sink = Callable[[bytes], object]
Path = tuple[bytes, ...]

LOCAL = frozenset({b"security.selinux", b"system.nfs4_acl", b"user.containers.override_stat"})
"""Attributes of the machine, not of the image (umoci and containers/storage leave them out too)."""

_NONE: Mapping[bytes, bytes] = {}


class Writer:
    """`epoch`: no time is later (SOURCE_DATE_EPOCH)."""

    def __init__(self, sink: Sink, epoch: int | None = None) -> None:
        self._sink = sink
        self._epoch = epoch
        self.members = 0
        self.size = 0  # of regular files, in bytes

    def node(
        self, path: Path, attr: Attr, xattrs: Mapping[bytes, bytes] = _NONE, target: bytes = b""
    ) -> None:
        """A directory, a symbolic link with its target, a device or a FIFO. Sockets are passed over, as in tar(1)."""
        if not stat.S_ISSOCK(attr.mode):
            self._head(self._entry(path, attr, xattrs)._replace(link=target, size=0))

    def file(self, path: Path, attr: Attr, xattrs: Mapping[bytes, bytes], source: Source) -> None:
        """A regular file with its bytes; large runs of zeros become holes."""
        entry = self._entry(path, attr, xattrs)._replace(size=source.size)
        extents = sparse.data_extents(source.size, _reader(source))
        self._head(entry, extents)
        stored = 0
        for start, length in [(0, source.size)] if extents is None else extents:
            for piece in pieces(source, start, length):
                self._sink(piece)
            stored += length
        self._sink(tarwrite.padding(stored))
        self.size += source.size

    def hardlink(self, path: Path, attr: Attr, first: Path) -> None:
        """Another name of the member `first`."""
        entry = self._entry(path, attr, _NONE)
        self._head(entry._replace(link=b"/".join(first), hardlink=True, size=0))

    def empty(self, path: Path) -> None:
        """A whiteout: an empty file without an owner. Its time is of no meaning and always the same."""
        self._head(Entry(b"/".join(path), stat.S_IFREG))

    def end(self) -> None:
        self._sink(tarwrite.END)

    def _head(self, entry: Entry, extents: tarwrite.Extents | None = None) -> None:
        self._sink(tarwrite.member(entry, extents))
        self.members += 1

    def _entry(self, path: Path, attr: Attr, xattrs: Mapping[bytes, bytes]) -> Entry:
        seconds, nanoseconds = attr.mtime, attr.mtimensec
        if self._epoch is not None and seconds >= self._epoch:
            seconds, nanoseconds = self._epoch, 0
        return Entry(
            b"/".join(path),
            attr.mode,
            attr.uid,
            attr.gid,
            attr.size,
            seconds,
            nanoseconds,
            major=os.major(attr.rdev),
            minor=os.minor(attr.rdev),
            xattrs={key: value for key, value in xattrs.items() if key not in LOCAL},
        )


def _reader(source: Source) -> Callable[[int, int], bytes]:
    """Random reads for looking at zeros; holes that a file or a layer knows of are not read."""
    if source.extents is None and source.start == 0:
        return sparse.reader(source.fd)
    return lambda offset, length: b"".join(pieces(source, offset, length))
