"""A push parser of tar archives: bytes in by `feed`, members out to a sink, no I/O.

The caller may hash and copy the same bytes; file data cost nothing, whatever their size. An archive ends at
two zero blocks, and what follows is not looked at. One that stops at the end of a member, with one zero
block or none, is accepted: such archives are common, and nothing is lost; one that stops anywhere else is
truncated. A single zero block followed by more is damage, not an end.
"""

from __future__ import annotations

import stat
from collections.abc import Callable

from unionfs.errors import LayerError
from unionfs.layers import tarheader as header
from unionfs.layers import tarpax, tarsparse
from unionfs.layers.tarheader import BLOCK, HARDLINK, KINDS, ZEROS, Damaged, Member, More
from unionfs.layers.tarsparse import OldMap, PaxMap

EXTENDED_MAX = 1 << 20  # bytes of extended headers before one member
GLOBAL_MAX = 64  # records of global headers that matter: every one costs time at every member
LONG_NAME_MAX = 1 << 16  # deep trees have paths beyond PATH_MAX; this is far beyond any
NAME_SHOWN = 200  # bytes of a name in a message
_END = header.SIZE_LIMIT
_PLAIN = frozenset((b"0", b"\0", b"5", b"2", b"7"))
_PAYLOADS = {
    b"x": EXTENDED_MAX,
    b"X": EXTENDED_MAX,
    b"g": EXTENDED_MAX,
    b"L": LONG_NAME_MAX,
    b"K": LONG_NAME_MAX,
}
_COMPRESSED = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"BZh", b"\xfd7zXZ", b"\x04\x22\x4d\x18")

_unpack = header.HEADER.unpack
_new = tuple.__new__


class TarStream:
    """Calls `sink` with every Member, in order. Of no more use once `feed` or `close` has raised LayerError.

    The sink may raise Damaged: it becomes a LayerError that names `title`, the member and its offset.
    """

    # INVARIANT: _offset is the archive offset of the first byte of _tail, or of the next byte to come
    # INVARIANT: _skip is 0 while _tail is not empty

    def __init__(self, sink: Callable[[Member], None], title: str = "tar archive") -> None:
        self._sink = sink
        self._title = title
        self._state: Callable[[bytes, int], None] = self._header
        self._want = BLOCK
        self._skip = 0
        self._tail = bytearray()
        self._offset = 0
        self._at = 0
        self._name = b""
        self._global: dict[bytes, bytes] = {}
        self._local: dict[bytes, bytes] = {}
        self._extended = 0  # bytes of extended headers before the member to come
        self._pax = False
        self._payload_type = b""
        self._payload_length = 0
        self._ids: dict[bytes, int] = {}  # numeric fields that come again and again
        # While a member needs more than its header: itself, its data's stored length, and its sparse map.
        self._held: Member
        self._stored = 0
        self._pieces: OldMap | PaxMap

    @property
    def skippable(self) -> int:
        """How many of the next bytes will not be looked at: `skip` may be called instead of feeding them."""
        return self._skip

    @property
    def offset(self) -> int:
        """How many bytes of the archive have been taken."""
        return self._offset + len(self._tail)

    def skip(self, count: int) -> None:
        """Passes over `count` bytes, at most `skippable`."""
        self._skip -= count
        self._offset += count

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        if len(data) <= self._skip:
            return self.skip(len(data))
        if self._tail:
            self._tail += data
            if len(self._tail) < self._want:
                return
            data, self._tail = self._tail, bytearray()
        try:
            self._run(bytes(data))
        except Damaged as error:
            raise self._error(str(error)) from None

    def close(self) -> None:
        """The archive has ended here: raises LayerError when it may not."""
        if self._state == self._end:
            return
        if self._tail or self._skip:
            raise self._error(f"the archive is truncated: it ends at byte {self.offset}")
        try:
            self._close()
        except Damaged as error:
            raise self._error(str(error)) from None

    def _close(self) -> None:
        if self._state == self._link_body:  # the size of the last hard link was only for show
            self._emit(self._held._replace(size=0), 0)
        elif self._state not in (self._header, self._second_zero) or self._local:
            raise Damaged(f"the archive is truncated: it ends at byte {self.offset}")

    def _run(self, data: bytes) -> None:
        at, end, base = 0, len(data), self._offset
        while True:
            if self._skip:
                at += self._skip
                if at >= end:
                    self._skip = at - end
                    self._offset = base + end
                    return
                self._skip = 0
            want = self._want
            if end - at < want:
                break
            self._state(data[at : at + want], base + at)
            at += want
        self._offset = base + at
        self._tail = bytearray(data[at:])

    def _header(self, block: bytes, at: int) -> None:
        if block == ZEROS:
            self._state = self._second_zero
            return
        name, mode, uid, gid, size, mtime, flag, link, magic, major, minor, prefix = _unpack(block)
        name = name.partition(b"\0")[0]
        self._at = at
        self._name = name
        if not header.is_header(block):
            raise Damaged("the header checksum is wrong" if at else _not_a_tar(block))
        length = header.checked_size(header.long_number(size))
        if flag in _PAYLOADS:
            return self._expect_payload(flag, length)
        if prefix[0] and magic[:6] == header.USTAR:
            name = prefix[: 131 if block[508:] == b"tar\0" else 155].partition(b"\0")[0] + b"/" + name
        ids = self._ids
        if mode not in ids or uid not in ids or gid not in ids:
            self._learn(mode, uid, gid)
        seconds = header.checked_time(header.long_number(mtime))
        kind = KINDS.get(flag, stat.S_IFREG)
        link = link.partition(b"\0")[0] if link[0] else b""
        mode, uid, gid = ids[mode] & 0o7777, ids[uid], ids[gid]
        fields = (at, name, kind, mode, uid, gid, length, seconds, 0, link, 0, at + BLOCK, None)
        member: Member = _new(Member, fields)
        if flag in _PLAIN and not self._local and not self._global:
            self._emit(member, length)
        else:
            self._special(member, flag, magic, major, minor, block)

    def _emit(self, member: Member, stored: int) -> None:
        """Hands on a complete member that has `stored` bytes of data from here on."""
        kind = member.kind
        if kind == stat.S_IFREG or kind == HARDLINK:
            self._skip = (stored + 511) & -512
            if member.name[-1:] == b"/" and kind:
                member = member._replace(kind=stat.S_IFDIR)  # how tar wrote directories before type 5
        self._extended = 0
        self._state = self._header
        self._sink(member)

    def _learn(self, *fields: bytes) -> None:
        if len(self._ids) > 10_000:
            self._ids.clear()
        for field in fields:
            self._ids[field] = header.identifier(field)

    def _expect_payload(self, flag: bytes, length: int) -> None:
        self._extended += length
        if length > _PAYLOADS[flag] or self._extended > EXTENDED_MAX:
            raise Damaged(f"its extended headers of {self._extended} bytes are too large")
        self._payload_type, self._payload_length = flag, length
        self._want = (length + 511) & -512
        self._state = self._payload
        if not length:
            self._payload(b"", 0)

    def _payload(self, padded: bytes, at: int) -> None:
        self._want = BLOCK
        self._state = self._header
        flag, body = self._payload_type, padded[: self._payload_length]
        if flag in b"LK":
            self._local[b"path" if flag == b"L" else b"linkpath"] = body.partition(b"\0")[0]
            return
        self._pax = True
        target = self._global if flag == b"g" else self._local
        tarpax.merge(target, body)
        if flag == b"g":
            self._extended = 0
            if len(self._global) > GLOBAL_MAX:
                raise Damaged(f"the global headers have more than {GLOBAL_MAX} records")

    def _special(
        self, member: Member, flag: bytes, magic: bytes, major: bytes, minor: bytes, block: bytes
    ) -> None:
        if flag in b"34":
            member = member._replace(rdev=header.device(major, minor))
        records = {**self._global, **self._local}
        if records:
            self._local = {}
            member = tarpax.apply(member, records)
            self._name = member.name
        if flag == b"V":  # a volume label: no file
            self._extended = 0
        elif flag == b"M":
            raise Damaged("it continues a file of another volume")
        elif flag == b"S":
            self._sparse(member, OldMap(block))
        elif member.kind == stat.S_IFREG and tarsparse.is_sparse(records):
            self._sparse(member, PaxMap(records))
        elif member.kind == HARDLINK and member.size:
            self._sized_link(member, magic)
        elif flag == b"D":  # a directory whose data list its files
            self._emit(member, 0)
            self._skip = (member.size + 511) & -512
        else:
            self._emit(member, member.size)

    def _sized_link(self, member: Member, magic: bytes) -> None:
        """A hard link with a size: data follow in PAX, none in old formats, and plain ustar does not say."""
        if self._pax and magic[:6] == header.USTAR:
            self._emit(member, member.size)
        elif magic[:6] == header.USTAR:
            self._held = member
            self._state = self._link_body
        else:
            self._emit(member._replace(size=0), 0)

    def _link_body(self, block: bytes, at: int) -> None:
        """The block after a hard link of unknown kind: a header, or the first block of its data."""
        if block == ZEROS or header.is_header(block):
            self._emit(self._held._replace(size=0), 0)
            self._header(block, at)
        else:
            self._emit(self._held, self._held.size)
            self._skip -= BLOCK

    def _sparse(self, member: Member, pieces: OldMap | PaxMap) -> None:
        self._held = member._replace(size=header.checked_size(pieces.size))
        self._stored = member.size
        self._pieces = pieces
        if pieces.complete:
            self._emit_sparse(member.data)
        else:
            self._state = self._sparse_block

    def _sparse_block(self, block: bytes, at: int) -> None:
        """A block of the map of a sparse member."""
        self._pieces.take(block)
        self._stored -= self._pieces.counted
        if self._stored < 0:
            raise Damaged("its sparse map is longer than its data")
        if self._pieces.complete:
            self._emit_sparse(at + BLOCK)

    def _emit_sparse(self, data: int) -> None:
        member = self._held
        extents = tarsparse.extents(self._pieces.pairs, data, self._stored, member.size)
        more = (member.more or More())._replace(extents=extents)
        self._emit(member._replace(data=data, more=more), self._stored)

    def _second_zero(self, block: bytes, at: int) -> None:
        if block != ZEROS:
            self._at, self._name = at, b""
            raise Damaged("a zero block is followed by more data")
        if self._local:
            raise Damaged("the archive ends after an extended header")
        self._state = self._end
        self._skip = _END

    def _end(self, block: bytes, at: int) -> None:
        """Never called: what follows the end is skipped. It is the mark of that state."""

    def _error(self, text: str) -> LayerError:
        name = self._name[-NAME_SHOWN:].decode("utf-8", "backslashreplace")
        hint = "give the uncompressed tar" if "compressed" in text else "fetch or make the archive again"
        where = f"member {name!r} at byte {self._at}" if name else f"at byte {self._at}"
        return LayerError(f"{self._title}: {where}: {text}", hint=hint)


def _not_a_tar(block: bytes) -> str:
    if block.startswith(_COMPRESSED):
        return "this is compressed data, not a tar archive"
    return "this is not a tar archive: the first header checksum is wrong"
