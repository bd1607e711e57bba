"""What differs between the files of two images."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from itertools import zip_longest

from imagetool.archive.data import extents_of, pieces
from imagetool.archive.tree import Item, Tree, of_tars
from unionfs.layers.base import Source
from unionfs.namedtuple import NamedTuple


class Change(NamedTuple):
    """One name: `A`dded, `C`hanged or `D`eleted. Bytes; None where it is not. `path` has no leading slash."""

    kind: str
    path: bytes
    before: int | None
    after: int | None


def compare(old: Sequence[str], new: Sequence[str], *, times: bool = False) -> Iterator[Change]:
    """The changes between two stacks of layer tars, top first, in the order of their paths.

    Type, mode, owner, size, content, link target and attributes count; with `times`, times too.
    """
    with of_tars(old) as before, of_tars(new) as after:
        for one, other in _pairs(before.walk(), after.walk()):
            if one is None or other is None:
                item = one or other
                assert item is not None
                size = _size(item)
                kind, sizes = ("A", (None, size)) if one is None else ("D", (size, None))
                yield Change(kind, b"/".join(item.path), *sizes)
            elif not _same(before, one, after, other, times=times):
                yield Change("C", b"/".join(one.path), _size(one), _size(other))


def _pairs(left: Iterator[Item], right: Iterator[Item]) -> Iterator[tuple[Item | None, Item | None]]:
    """Both walks side by side: each is in the order of its paths."""
    one, other = next(left, None), next(right, None)
    while one is not None or other is not None:
        if other is None or (one is not None and one.path < other.path):
            yield one, None
            one = next(left, None)
        elif one is None or other.path < one.path:
            yield None, other
            other = next(right, None)
        else:
            yield one, other
            one, other = next(left, None), next(right, None)


def _size(item: Item) -> int:
    """Bytes of a regular file, counted with its first name."""
    return item.attr.size if stat.S_ISREG(item.attr.mode) and item.link is None else 0


def _same(before: Tree, one: Item, after: Tree, other: Item, *, times: bool) -> bool:
    a, b = one.attr, other.attr
    if (a.mode, a.uid, a.gid, a.rdev, one.link) != (b.mode, b.uid, b.gid, b.rdev, other.link):
        return False
    if times and (a.mtime, a.mtimensec) != (b.mtime, b.mtimensec):
        return False
    if before.xattrs(a.ino) != after.xattrs(b.ino):
        return False
    if stat.S_ISLNK(a.mode):
        return before.readlink(a.ino) == after.readlink(b.ino)
    if not stat.S_ISREG(a.mode) or one.link is not None:
        return True
    return a.size == b.size and _same_bytes(before.source(a.ino), after.source(b.ino))


def _same_bytes(one: Source, other: Source) -> bool:
    """Without reading, where both are the same part of the same tar."""
    if extents_of(one) == extents_of(other) and os.path.samestat(os.fstat(one.fd), os.fstat(other.fd)):
        return True
    both = zip_longest(pieces(one, 0, one.size), pieces(other, 0, other.size))
    return all(left == right for left, right in both)
