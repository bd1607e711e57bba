"""Who decides a name: the rules of overlayfs.rst as pure functions over what each layer says.

Layers are numbered from the top, 0 first. Nothing here does I/O but through the `Layer`s it is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from unionfs import whiteout
from unionfs.layers.base import Entry, Handle, Layer
from unionfs.model import Mark, is_dir
from unionfs.namedtuple import NamedTuple

_new = tuple.__new__

Spot = tuple[int, Handle]
"""(layer, handle): one entry of one layer."""


class Found(NamedTuple):
    """What the read-only layers have under a name.

    `top` is the entry whose attributes are shown, the topmost that is not only implied; `layer` is where it is.
    For a directory `dirs` are all that merge in it, top first; for a file `data` is where its bytes are
    (elsewhere for a metadata-only copy).
    """

    layer: int
    top: Entry
    dirs: tuple[Spot, ...]
    data: Spot | None


class Removal(Enum):
    """How a name goes away."""

    REMOVE = "remove the upper entry"
    WHITEOUT = "add a whiteout"
    REPLACE = "put a whiteout in the place of the upper entry"


def removal(*, in_upper: bool, in_lower: bool) -> Removal:
    if not in_upper:
        return Removal.WHITEOUT
    return Removal.REPLACE if in_lower else Removal.REMOVE


def search(layers: Sequence[Layer], spots: Sequence[Spot], names: tuple[bytes, ...]) -> Found | None:
    """Looks `names` up from each directory in `spots`, top first, and merges what it finds.

    A whiteout ends the search, a file ends it (hidden when a directory was found above), an opaque
    directory ends it, a redirect, on the way or at the end, carries it on elsewhere in the layers below.
    """
    last = len(layers) - 1
    if len(spots) == 1 and len(names) == 1 and spots[0][0] == last:
        return alone(last, layers[last].lookup(spots[0][1], names[0]))
    top: Entry | None = None
    at = 0
    dirs: list[Spot] = []
    todo = list(spots)
    while todo:
        number, start = todo.pop(0)
        entry, stop, absolute, names = walk(layers[number], start, names)
        if absolute:
            todo = roots_below(layers, number)
        if entry is None or entry.mark & Mark.WHITEOUT:
            if stop or entry is not None:
                break
            continue
        directory = is_dir(entry.attr.mode)
        if top is not None and directory != is_dir(top.attr.mode):
            break
        if number != last:
            entry = layers[number].marks(entry)
        if top is None or (directory and top.mark & Mark.IMPLIED and not entry.mark & Mark.IMPLIED):
            top, at = entry, number
        if directory:
            dirs.append((number, entry.handle))
        elif not entry.mark & Mark.METACOPY:
            return Found(at, top, (), (number, entry.handle))
        if entry.mark & Mark.OPAQUE:
            break
        if entry.mark & Mark.REDIRECT:
            absolute, names = led_to(entry.redirect, names, 0)
            if absolute:
                todo, stop = roots_below(layers, number), False
        if stop:
            break
    return Found(at, top, tuple(dirs), None) if top is not None else None


def alone(number: int, entry: Entry | None) -> Found | None:
    """What a layer has under a name with nothing below it: no mark leads further."""
    if entry is None or entry.mark & Mark.WHITEOUT:
        return None
    spot = (number, entry.handle)
    directory = entry.attr.mode & 0o170000 == 0o040000
    return _new(Found, (number, entry, (spot,), None) if directory else (number, entry, (), spot))


def roots_below(layers: Sequence[Layer], number: int) -> list[Spot]:
    return [(n, layers[n].root.handle) for n in range(number + 1, len(layers))]


def led_to(redirect: bytes, names: tuple[bytes, ...], rest: int) -> tuple[bool, tuple[bytes, ...]]:
    """(whether from the layers' roots, path) in the layers below: of what is `rest` names behind a redirect."""
    parsed = whiteout.redirect_names(redirect)
    assert parsed is not None  # a layer reports no other
    absolute, target = parsed
    here = len(names) - rest
    return absolute, (() if absolute else names[: here - 1]) + target + names[here:]


def walk(
    layer: Layer, start: Handle, names: tuple[bytes, ...]
) -> tuple[Entry | None, bool, bool, tuple[bytes, ...]]:
    """What is at the end of `names` in one layer, and where the search goes on in the layers below.

    (entry, whether those are out of sight, whether from their roots, path): directories on the way may be opaque or
    moved. As `ovl_lookup_layer` and `ovl_check_redirect` (fs/overlayfs/namei.c) have it.
    """
    stop = absolute = False
    path = names
    entry: Entry | None = None
    for rest in range(len(names) - 1, -1, -1):
        entry = layer.lookup(start, names[-1 - rest])
        if entry is None:
            break
        if entry.mark & Mark.WHITEOUT:
            return entry, True, absolute, path
        if rest:
            if not is_dir(entry.attr.mode):
                return None, True, absolute, path
            entry = layer.marks(entry)
            if entry.mark & Mark.OPAQUE:
                stop = True
            elif entry.mark & Mark.REDIRECT:
                from_roots, path = led_to(entry.redirect, path, rest)
                if from_roots:
                    absolute, stop = True, False
            start = entry.handle
    return entry, stop, absolute, path


def merge_names(sources: Sequence[Sequence[bytes]]) -> list[tuple[int, bytes]]:
    """(position, name) of every name in `sources`: the directories that merge, the top layer's first.

    Positions count through the sources from the second on, then through the first: so those of a directory
    of one layer stay what they were when a top layer comes over it.
    """
    seen: set[bytes] = set()
    merged: list[tuple[int, bytes]] = []
    start = 0
    for names in [*sources[1:], *sources[:1]]:
        for position, name in enumerate(names, start):
            if name not in seen:
                seen.add(name)
                merged.append((position, name))
        start += len(names)
    return merged
