"""Building an index in one pass over a tar archive: pushed chunk by chunk, or read from a stream or a file.

A pull uses it between the socket and the disk, and opening a tar layer when there is no index.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from unionfs.annotations import Protocol
from unionfs.errors import LayerError
from unionfs.layers import index
from unionfs.layers.tarstream import TarStream
from unionfs.layers.tartree import ENTRIES_MAX, Tree

CHUNK = 1 << 20


class Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class Writable(Protocol):
    def write(self, data: bytes, /) -> object: ...


class Hasher(Protocol):
    def update(self, data: bytes, /) -> object: ...


class IndexBuilder:
    """`feed` it all bytes of an uncompressed tar, `finish`, then `publish` the index beside the tar.

    Memory grows by about 200 bytes an entry, whatever the size of files. Any method raises LayerError, which
    names `title`, the member and the byte offset, when the archive is damaged or hostile.
    """

    def __init__(self, title: str = "tar archive", *, limit: int = ENTRIES_MAX) -> None:
        self._tree = Tree(limit)
        self._stream = TarStream(self._tree.add, title)
        self._image: index.Image | None = None
        self.feed = self._stream.feed
        self.skip = self._stream.skip

    @property
    def skippable(self) -> int:
        """How many of the next bytes may be passed to `skip` instead of `feed`."""
        return self._stream.skippable

    def finish(self) -> index.Image:
        """The archive has ended. The same image for later calls."""
        if self._image is None:
            self._stream.close()
            self._image = self._tree.pack()
        return self._image

    def publish(self, path: str, tar_fd: int) -> None:
        """Writes the index of the complete tar that is open as `tar_fd`, in one step. Raises OSError."""
        index.publish(path, self.finish().parts(index.TarId.of(tar_fd)))


def build(
    stream: Readable,
    out: Writable | None = None,
    hashers: Iterable[Hasher] = (),
    *,
    title: str = "tar archive",
) -> IndexBuilder:
    """Reads `stream` to its end, and copies and hashes it on the way; returns the finished builder."""
    builder = IndexBuilder(title)
    hashers = tuple(hashers)
    while chunk := stream.read(CHUNK):
        for hasher in hashers:
            hasher.update(chunk)
        if out is not None:
            out.write(chunk)
        builder.feed(chunk)
    builder.finish()
    return builder


def build_from_file(fd: int, title: str) -> list[bytes | bytearray]:
    """The parts of the index of the tar open as `fd`; data of large files are not read."""
    before = index.TarId.of(fd)
    builder = IndexBuilder(title)
    at = 0
    while at < before.size:
        if (skippable := min(builder.skippable, before.size - at)) > CHUNK:
            builder.skip(skippable)
            at += skippable
            continue
        chunk = os.pread(fd, CHUNK, at)
        if not chunk:
            break
        builder.feed(chunk)
        at += len(chunk)
    image = builder.finish()
    if index.TarId.of(fd) != before:
        raise LayerError(f"{title} changed while it was read", hint="try again when it is complete")
    return image.parts(before)
