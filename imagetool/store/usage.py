"""`system df` and `system prune`: what the store takes on disk, and what of it can go."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from contextlib import suppress

from imagetool.digest import Digest
from imagetool.errors import ImageToolError
from imagetool.store import disk, gc, read
from imagetool.store.layout import read_index
from imagetool.store.store import Store
from unionfs.namedtuple import NamedTuple


class Usage(NamedTuple):
    """One row of `system df`: how many there are, how many are in use, and bytes on disk."""

    kind: str
    total: int
    active: int
    size: int
    reclaimable: int


class Pruned(NamedTuple):
    """What a prune removed. `untagged` are full names, `deleted` image IDs; `size` in bytes on disk."""

    untagged: tuple[str, ...]
    deleted: tuple[Digest, ...]
    size: int


def usage(store: Store) -> list[Usage]:
    """Images, the ready layers made from them, and what came of broken downloads."""
    layout = store.layout
    active = _used(store)
    rows = {row.target: row for row in store.summaries()}
    used = {row.image_id for row in rows.values() if row.target in active}
    total = {row.image_id for row in rows.values()}
    with disk.errors("cannot read the store"):
        kept = gc.reachable(layout, containers_only=True)
        blobs = {digest: _size(path) for digest, path in gc.stored(f"{layout.root}/blobs")}
        layers = {digest: _size(path) for digest, path in gc.stored(f"{layout.root}/layers")}
        partial = [_size(entry.path) for entry in os.scandir(f"{layout.root}/partial")]
    return [
        _row("Images", len(total), len(used), blobs, kept.blobs),
        _row("Layers", len(layers), len(kept.layers & layers.keys()), layers, kept.layers),
        Usage("Downloads", len(partial), 0, sum(partial), sum(partial)),
    ]


def _row(kind: str, total: int, active: int, sizes: Mapping[Digest, int], kept: Collection[Digest]) -> Usage:
    idle = sum(size for digest, size in sizes.items() if digest not in kept)
    return Usage(kind, total, active, sum(sizes.values()), idle)


def prune(store: Store, *, everything: bool = False, keep: Collection[Digest] = ()) -> Pruned:
    """Removes images without a tag, or (`everything`) all that no container uses; then collects garbage.

    `keep` are manifests that stay whatever names them. Broken downloads go too.
    """
    layout = store.layout
    used = _used(store) | set(keep)
    rows = store.summaries()
    tagged = {row.target for row in rows if row.name and "@" not in row.name}
    gone = {row.target for row in rows if row.target not in used and (everything or row.target not in tagged)}
    if gone:
        store.remove(gone)
    left = {entry.digest for entry in read_index(layout).manifests}
    untagged = tuple(row.name for row in rows if row.name and row.target in gone)
    staying = {row.image_id for row in rows if row.target in left}
    deleted = dict.fromkeys(row.image_id for row in rows if row.target in gone)
    collected = gc.collect(layout, partial_age=0)
    return Pruned(untagged, tuple(each for each in deleted if each not in staying), collected.size)


def _used(store: Store) -> set[Digest]:
    """What containers and mounts were made from: manifests, and the indexes that hold them."""
    active = set(gc.container_roots(store.layout))
    for target in {ref.target.digest: ref.target for ref in store.references()}.values() if active else ():
        with suppress(ImageToolError):  # damaged: `system check` tells
            if any(child.digest in active for child in read.manifests(store.layout, target)):
                active.add(target.digest)
    return active


def _size(path: str) -> int:
    """Bytes on disk of a file, or of the files of a directory; a layer that is a link to its blob takes none."""
    if os.path.isdir(path):
        return sum(_size(entry.path) for entry in os.scandir(path))
    state = os.lstat(path)
    linked = state.st_nlink > 1 and path.endswith("/layer.tar")
    return 0 if linked else state.st_blocks * 512
