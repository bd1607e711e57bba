"""PURE: the maps of sparse members: old GNU, and PAX 0.0, 0.1 and 1.0.

A map is pairs (offset in the file, length); the pieces lie end to end in the archive. Source: the GNU tar
manual, "Storing Sparse Files". What cannot be right raises Damaged.
"""

from __future__ import annotations

from collections.abc import Iterable

from unionfs.layers import tarpax
from unionfs.layers.tarheader import BLOCK, Damaged, number

PIECES_MAX = 1 << 18  # of one file: far above real ones, and below what hurts in memory
_OLD_PAIRS_AT, _OLD_MORE_AT, _OLD_SIZE_AT = 386, 482, 483
Pairs = list[tuple[int, int]]


class OldMap:
    """Four pairs in the header of an old GNU sparse member, and 21 in each block that follows."""

    counted = 0  # bytes of a block of the map that the member's size counts

    def __init__(self, header: bytes) -> None:
        self.size = number(header[_OLD_SIZE_AT : _OLD_SIZE_AT + 12])
        self.pairs = _old_pairs(header, _OLD_PAIRS_AT, 4)
        self.complete = not header[_OLD_MORE_AT]

    def take(self, block: bytes) -> None:
        self.pairs += _old_pairs(block, 0, 21)
        _check_count(len(self.pairs))
        self.complete = not block[504]


class PaxMap:
    """In the records (0.0, 0.1), or as decimal lines in the blocks before the data (1.0)."""

    counted = BLOCK

    def __init__(self, records: dict[bytes, bytes]) -> None:
        key = b"GNU.sparse.realsize" if b"GNU.sparse.realsize" in records else b"GNU.sparse.size"
        self.size = tarpax.number(key, records.get(key, b""))
        self.pairs: Pairs = []
        self.complete = b"GNU.sparse.map" in records
        if self.complete:
            text = records[b"GNU.sparse.map"]
            self.pairs = _pairs(text.split(b",") if text else [])
        elif (records.get(b"GNU.sparse.major"), records.get(b"GNU.sparse.minor")) != (b"1", b"0"):
            raise Damaged(f"its sparse format {records.get(b'GNU.sparse.major')!r} is not known")
        self._text = bytearray()
        self._lines = 0

    def take(self, block: bytes) -> None:
        self._text += block
        self._lines += block.count(b"\n")
        count = tarpax.number(b"length of its sparse map", bytes(self._text[:24]).partition(b"\n")[0])
        _check_count(count)
        if len(self._text) > 48 * (count + BLOCK):  # two numbers of 20 digits, and slack
            raise Damaged("its sparse map is too long")
        if self._lines > 2 * count:
            self.pairs = _pairs(bytes(self._text).split(b"\n")[1 : 2 * count + 1])
            self.complete = True


def is_sparse(records: dict[bytes, bytes]) -> bool:
    return b"GNU.sparse.map" in records or b"GNU.sparse.major" in records


def extents(
    pairs: Iterable[tuple[int, int]], data: int, stored: int, size: int
) -> tuple[tuple[int, int, int], ...]:
    """The extents (see `layers.base.Source`) of a file of `size` bytes with `stored` bytes from `data` on."""
    found: list[tuple[int, int, int]] = []
    end = used = 0
    for offset, length in pairs:
        if offset < end or length < 0 or offset + length > size or used + length > stored:
            raise Damaged(f"its sparse map is inconsistent at {offset}+{length}")
        if length and found and offset == end:
            first, where, before = found[-1]
            found[-1] = (first, where, before + length)
        elif length:
            found.append((offset, data + used, length))
        end, used = offset + length, used + length
    return tuple(found)


def _old_pairs(block: bytes, at: int, count: int) -> Pairs:
    pairs = []
    for start in range(at, at + 24 * count, 24):
        if block[start] == 0:
            break
        pairs.append((number(block[start : start + 12]), number(block[start + 12 : start + 24])))
    return pairs


def _pairs(values: list[bytes]) -> Pairs:
    if len(values) % 2:
        raise Damaged(f"its sparse map has {len(values)} numbers")
    _check_count(len(values) // 2)
    numbers = [tarpax.number(b"sparse map", value) for value in values]
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def _check_count(count: int) -> None:
    if count > PIECES_MAX:
        raise Damaged(f"its sparse map has more than {PIECES_MAX} pieces")
