"""Reading an archive of images member by member from any stream, seekable or not."""

from __future__ import annotations

import stat
from collections.abc import Iterator

from imagetool.errors import Malformed
from imagetool.store.layerwriter import malformed
from unionfs.errors import LayerError
from unionfs.layers.tarheader import HARDLINK, Member
from unionfs.layers.tarstream import TarStream
from unionfs.namedtuple import NamedTuple

BLOCK = 512
MEMBERS_MAX = 100_000


class Found(NamedTuple):
    """A member: its normalised path, and where it points if it is a link ("" for a file)."""

    path: str
    size: int
    link: str


class Members:
    """Iterate for the members; `body()` gives the bytes of the last one, which are skipped if nobody asks.

    `chunks` is the uncompressed archive. Malformed for what is no tar, for a truncated one, for paths that leave it.
    """

    def __init__(self, chunks: Iterator[bytes], title: str) -> None:
        self._chunks = chunks
        self.title = title
        self._new: list[Member] = []
        self._stream = TarStream(self._new.append, title)
        self._buffer = memoryview(b"")
        self._size = 0  # of the present member's bytes that have not been given out

    def __iter__(self) -> Iterator[Found]:
        count = 0
        while (member := self._next()) is not None:
            count += 1
            if count > MEMBERS_MAX:
                raise Malformed(f"{self.title} has more than {MEMBERS_MAX} members")
            if (found := self._found(member)) is not None:
                yield found

    def body(self) -> Iterator[bytes]:
        """The bytes of the present member, in pieces."""
        while self._size:
            if not self._fill():
                raise Malformed(f"{self.title} is truncated")
            piece = bytes(self._buffer[: self._size])
            self._pass(len(piece))
            self._size -= len(piece)
            yield piece

    def _next(self) -> Member | None:
        """Feeds headers a block at a time, until one is complete, and passes over what nobody read."""
        self._size = 0
        try:
            while not self._new:
                if not self._fill():
                    self._stream.close()
                    return None
                if self._stream.skippable:
                    self._pass(min(self._stream.skippable, len(self._buffer)))
                else:
                    self._stream.feed(self._buffer[:BLOCK])
                    self._buffer = self._buffer[BLOCK:]
        except LayerError as error:
            raise malformed(error) from error
        member = self._new.pop()
        self._size = member.size if member.kind == stat.S_IFREG else 0
        return member

    def _pass(self, count: int) -> None:
        self._stream.skip(count)
        self._buffer = self._buffer[count:]

    def _fill(self) -> bool:
        """There are bytes; False at the end."""
        while not self._buffer:
            chunk = next(self._chunks, None)
            if chunk is None:
                return False
            self._buffer = memoryview(chunk)
        return True

    def _found(self, member: Member) -> Found | None:
        path = _normal(member.name, b"")
        if member.kind == stat.S_IFREG:
            if member.more is not None and member.more.extents is not None:
                raise Malformed(f"{self.title}: {path!r} is a sparse file")
            return Found(path, member.size, "")
        if member.kind in (stat.S_IFLNK, HARDLINK):
            base = member.name.rpartition(b"/")[0] if member.kind == stat.S_IFLNK else b""
            return Found(path, 0, _normal(member.link, base))
        return None


def _normal(name: bytes, base: bytes) -> str:
    """A path from the archive's root. Only names in the archive are ever looked up with it, never files."""
    parts: list[str] = []
    whole = name if not base or name.startswith(b"/") else base + b"/" + name
    for part in whole.decode("utf-8", "surrogateescape").split("/"):
        if part == "..":
            if not parts:
                raise Malformed(f"the archive has a path that leaves it: {whole!r}")
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)
