"""`system check`: is every blob, diff ID, index and reference what it should be, and what mends it.

Everything is read and hashed. Problems are values; `repair` acts on them, and never removes a reference: what
is lost comes back by pulling the image again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from enum import Enum
from typing import NamedTuple

from imagetool.digest import Digest, Verifier
from imagetool.errors import Damaged, ImageToolError
from imagetool.spec.descriptor import Descriptor
from imagetool.store import disk, read
from imagetool.store.gc import stored
from imagetool.store.layout import Layout
from imagetool.store.lease import Lease
from imagetool.store.limits import LIMITS, Limits
from imagetool.store.read import Image
from imagetool.store.rebuild import build_layer
from imagetool.store.refs import Ref
from imagetool.store.store import Store
from unionfs.layers import index as fmt

READ = 1 << 20


class Remedy(Enum):
    """What helps. The texts are for people."""

    REBUILD = "rebuilt from its blob by --repair"
    REMOVE = "removed by --repair"
    PULL = "pull the image again"


class Problem(NamedTuple):
    """One thing that is wrong. `digest` is of the blob, or the diff ID of the layer; `images` are whom it hurts."""

    text: str
    remedy: Remedy
    images: tuple[str, ...] = ()
    digest: Digest | None = None
    blob: Descriptor | None = None  # with REBUILD: what the layer is built from


def check(store: Store) -> Iterator[Problem]:
    """Every problem of a store, as it is found. StoreError when index.json cannot be read at all."""
    layout = store.layout
    by_target: dict[Digest, list[Ref]] = {}
    for ref in store.references():
        by_target.setdefault(ref.target.digest, []).append(ref)
    seen: set[Digest] = set()
    for same in by_target.values():
        yield from _check_reference(layout, same[0].target, _names(same), seen)
    for digest, path in stored(f"{layout.root}/blobs"):
        if digest not in seen and (text := _blob_problem(path, digest, None)):
            yield Problem(f"{text}; nothing needs it", Remedy.REMOVE, (), digest)


def repair(store: Store, problems: list[Problem], limits: Limits = LIMITS) -> list[Problem]:
    """Mends what can be mended, and returns what is left: each says which images to pull again."""
    left = []
    with store.lease() as lease, disk.errors("cannot repair the store"):
        for problem in problems:
            try:
                if not _mend(lease, problem, limits):
                    left.append(problem)
            except ImageToolError as error:
                text = f"{problem.text}; it cannot be rebuilt: {error.text}"
                left.append(problem._replace(text=text, remedy=Remedy.PULL))
    return left


def _mend(lease: Lease, problem: Problem, limits: Limits) -> bool:
    layout, digest = lease.layout, problem.digest
    if digest is None:
        return False
    if problem.remedy is Remedy.REBUILD and problem.blob is not None:
        disk.remove_tree(layout.layer(digest))
        build_layer(lease, problem.blob, digest, limits)
        return True
    disk.unlink(layout.blob(digest))  # damaged: a pull would otherwise take it for present
    return problem.remedy is Remedy.REMOVE or _restored(layout, digest)


def _restored(layout: Layout, digest: Digest) -> bool:
    """An uncompressed blob can come back from the layer that was made of it."""
    if _tar_problem(layout, digest):
        return False
    os.link(layout.layer_tar(digest), layout.blob(digest))
    disk.sync_dir(os.path.dirname(layout.blob(digest)))
    return True


def _names(same: list[Ref]) -> tuple[str, ...]:
    return tuple(ref.name or f"<none> {ref.target.digest}" for ref in same)


def _check_reference(
    layout: Layout, target: Descriptor, names: tuple[str, ...], seen: set[Digest]
) -> Iterator[Problem]:
    """The whole tree below one reference. What is shared by images is checked once, with the first of them."""
    yield from _check_blob(layout, target, names, seen)
    try:
        found = list(read.manifests(layout, target))
    except ImageToolError as error:
        yield Problem(f"image {target.digest}: {error.text}", Remedy.PULL, names, target.digest)
        return
    for manifest in found:
        yield from _check_blob(layout, manifest, names, seen)
        try:
            image = read.image(layout, manifest)
        except ImageToolError as error:
            yield Problem(f"image {manifest.digest}: {error.text}", Remedy.PULL, names)
            continue
        yield from _check_image(layout, image, names, seen)


def _check_image(
    layout: Layout, image: Image, names: tuple[str, ...], seen: set[Digest]
) -> Iterator[Problem]:
    yield from _check_blob(layout, image.manifest.config, names, seen)
    for blob, diff_id in image.layers():
        yield from _check_blob(layout, blob, names, seen)
        yield from _check_layer(layout, blob, diff_id, names, seen)


def _check_blob(
    layout: Layout, descriptor: Descriptor, names: tuple[str, ...], seen: set[Digest]
) -> Iterator[Problem]:
    if descriptor.digest in seen:
        return
    seen.add(descriptor.digest)
    text = _blob_problem(layout.blob(descriptor.digest), descriptor.digest, descriptor.size)
    if text:
        yield Problem(text, Remedy.PULL, names, descriptor.digest)


def _blob_problem(path: str, digest: Digest, size: int | None) -> str:
    verifier = Verifier(digest, size)
    try:
        with open(path, "rb") as file:
            while chunk := file.read(READ):
                verifier.feed(chunk)
        verifier.finish()
    except FileNotFoundError:
        return f"blob {digest} is missing"
    except OSError as error:
        return f"blob {digest} cannot be read: {error.strerror}"
    except Damaged as error:
        return error.text
    return ""


def _check_layer(
    layout: Layout, blob: Descriptor, diff_id: Digest, names: tuple[str, ...], seen: set[Digest]
) -> Iterator[Problem]:
    """layer.tar has the diff ID, and layer.idx belongs to it."""
    key = Digest(f"layer {diff_id}")
    if key in seen:
        return
    seen.add(key)
    text = _tar_problem(layout, diff_id) or _index_problem(layout, diff_id)
    if text:
        yield Problem(text, Remedy.REBUILD, names, diff_id, blob)


def _tar_problem(layout: Layout, diff_id: Digest) -> str:
    text = _blob_problem(layout.layer_tar(diff_id), diff_id, None)
    return text.replace("blob ", "layer ", 1)


def _index_problem(layout: Layout, diff_id: Digest) -> str:
    try:
        with open(layout.layer_index(diff_id), "rb") as file, open(layout.layer_tar(diff_id), "rb") as tar:
            index = fmt.Index(file.fileno(), fmt.TarId.of(tar.fileno()), file.name)
            sound = index.verify()
            index.close()
    except OSError as error:
        return f"index of layer {diff_id}: {error.strerror}"
    except fmt.Unusable as error:
        return f"index of layer {diff_id}: {error}"
    return "" if sound else f"index of layer {diff_id} is damaged"
