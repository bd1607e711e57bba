"""Garbage collection: removes every file that no reference, container, build step or living lease reaches.

It holds the `gc` lock alone from the first look to the last unlink. Everything that adds to the store pins first,
under the same lock shared, and then looks what is there: so nothing goes that somebody counts on. If any root
cannot be read, nothing is removed: what it needs is not known.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress

from imagetool import digest as digests
from imagetool import mediatypes, reference
from imagetool.digest import Digest
from imagetool.errors import ImageToolError, InvalidReference, Malformed
from imagetool.spec.descriptor import Descriptor
from imagetool.store import disk, lease, read, refs
from imagetool.store.layout import Layout, read_index
from imagetool.store.lock import locked, try_lock
from unionfs.namedtuple import NamedTuple

PARTIAL_AGE = 7 * 86400
"""Seconds after which a download that nobody goes on with is given up."""


STEP_ROOTS = "roots"
"""The key of a list of digests in a file of the build cache."""


class Kept(NamedTuple):
    """What is reachable."""

    blobs: set[Digest]
    layers: set[Digest]


class Collected(NamedTuple):
    """What a collection removed; `size` in bytes on disk."""

    blobs: tuple[Digest, ...]
    layers: tuple[Digest, ...]
    size: int


def collect(layout: Layout, *, partial_age: float = PARTIAL_AGE) -> Collected:
    """Removes what nothing reaches; waits while somebody pins or publishes, never for a whole pull.

    Raises Damaged, Malformed or NotFound, and removes nothing, when a reference cannot be followed.
    """
    with disk.errors("cannot collect garbage"), locked(layout.lock("gc")):
        lease.sweep(layout)
        kept = reachable(layout)
        blobs = [
            (digest, path) for digest, path in stored(f"{layout.root}/blobs") if digest not in kept.blobs
        ]
        layers = [
            (digest, path) for digest, path in stored(f"{layout.root}/layers") if digest not in kept.layers
        ]
        size = sum(_remove(path) for _, path in blobs + layers)
        size += sum(_remove(path) for path in _stale_partials(layout, partial_age))
    return Collected(tuple(digest for digest, _ in blobs), tuple(digest for digest, _ in layers), size)


def reachable(layout: Layout, *, containers_only: bool = False) -> Kept:
    """What references, containers and leases keep."""
    kept = Kept(set(), set())
    for root in container_roots(layout):
        _keep_digest(layout, root, kept)
    if containers_only:
        return kept
    for root in step_roots(layout):
        kept.blobs.add(root)
        kept.layers.add(root)
    references = refs.read(read_index(layout).manifests)
    for name in {ref.name for ref in references}:
        _keep_named(name, kept)
    for target in {ref.target.digest: ref.target for ref in references}.values():
        _keep_target(layout, target, kept)
    for name in lease.names(layout):
        for digest in lease.pinned(layout, name):
            _keep_digest(layout, digest, kept)
    return kept


def container_roots(layout: Layout) -> Iterator[Digest]:
    """The manifests that containers and mounts were made from, those of all."""
    for folder in (layout.containers, layout.mounts):
        for user in os.listdir(folder):
            yield from roots_of(f"{folder}/{user}")


def roots_of(directory: str) -> list[Digest]:
    """What the file `roots` of a container or mount keeps, one digest a line; nothing where there is none."""
    try:
        with open(f"{directory}/roots", "rb") as file:
            lines = file.read().decode("ascii", "replace").split()
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [digests.parse(line) for line in lines]


def step_roots(layout: Layout) -> Iterator[Digest]:
    """What the build cache keeps. A file that cannot be read is of no use to builds either."""
    for name in os.listdir(layout.steps):
        try:
            with open(f"{layout.steps}/{name}", "rb") as file:
                roots = [digests.parse(text) for text in json.load(file)[STEP_ROOTS]]
        except (OSError, ValueError, KeyError, TypeError, Malformed):
            continue
        yield from roots


def _keep_named(name: str | None, kept: Kept) -> None:
    """The index behind a name by digest: it is not needed to run the image, but it says where it came from."""
    if name and "@" in name:
        try:
            digest = reference.parse(name).digest
        except InvalidReference:
            return
        if digest:
            kept.blobs.add(digest)


def _keep_target(layout: Layout, target: Descriptor, kept: Kept) -> None:
    kept.blobs.add(target.digest)
    for manifest in read.manifests(layout, target):
        kept.blobs.add(manifest.digest)
        image = read.image(layout, manifest)
        kept.blobs.add(image.id)
        for blob, diff_id in image.layers():
            kept.blobs.add(blob.digest)
            kept.layers.add(diff_id)


def _keep_digest(layout: Layout, digest: Digest, kept: Kept) -> None:
    """A pin: of a blob, of a layer by diff ID, or of a manifest with all that it names."""
    kept.blobs.add(digest)
    kept.layers.add(digest)
    try:
        with open(layout.blob(digest), "rb") as file:
            if file.read(1) != b"{":
                return
        target = Descriptor(mediatypes.OCI_MANIFEST, digest, 0)
        document = read.document(layout, target)
    except (ImageToolError, FileNotFoundError):
        return
    _keep_target(layout, target._replace(media_type=document.media_type), kept)


def _stale_partials(layout: Layout, age: float) -> Iterator[str]:
    for name in os.listdir(f"{layout.root}/partial"):
        path = f"{layout.root}/partial/{name}"
        with suppress(FileNotFoundError):  # a pull may publish it at any time
            if time.time() - os.stat(path).st_mtime < age:
                continue
            if (fd := try_lock(path, create=False)) is not None:
                yield path
                os.close(fd)


def stored(top: str) -> Iterator[tuple[Digest, str]]:
    """What is filed by digest below `top`; other names are none of ours."""
    for algorithm in os.listdir(top):
        for name in _names(f"{top}/{algorithm}"):
            try:
                yield digests.parse(f"{algorithm}:{name}"), f"{top}/{algorithm}/{name}"
            except Malformed:
                continue


def _names(path: str) -> Iterable[str]:
    return os.listdir(path) if os.path.isdir(path) else ()


def _remove(path: str) -> int:
    """Removes a file or a layer's directory; its bytes on disk, those of a hard link counted with the last one."""
    if not os.path.isdir(path):
        size = _own_size(path)
        disk.unlink(path)
        return size
    size = sum(_own_size(entry.path) for entry in os.scandir(path))
    disk.remove_tree(path)
    return size


def _own_size(path: str) -> int:
    try:
        state = os.lstat(path)
    except FileNotFoundError:
        return 0
    return state.st_blocks * 512 if state.st_nlink == 1 else 0
