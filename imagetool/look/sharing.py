"""How much of each image is in layers that others have too."""

from __future__ import annotations

from collections import Counter

from imagetool.digest import Digest
from imagetool.look import listing
from imagetool.look.history import layer_size
from imagetool.store import read
from imagetool.store.store import Store
from unionfs.namedtuple import NamedTuple


class Share(NamedTuple):
    """One name of an image. Bytes of regular files, those of `shared` layers are in other images as well."""

    repository: str
    tag: str
    image_id: Digest
    shared: int
    unique: int


def shares(store: Store) -> list[Share]:
    """One row a tag, the newest image first."""
    images = listing.images(store.summaries())
    layers = {image.facts.image_id: _layers(store, image.facts.target) for image in images}
    users = Counter(diff_id for sizes in layers.values() for diff_id in sizes)
    found = []
    for image in images:
        sizes = layers[image.facts.image_id]
        shared = sum(size for diff_id, size in sizes.items() if users[diff_id] > 1)
        for row in listing.rows(image, digests=False):
            names = (row.repository or listing.NONE, row.tag or listing.NONE)
            found.append(Share(*names, image.facts.image_id, shared, sum(sizes.values()) - shared))
    return found


def _layers(store: Store, target: Digest) -> dict[Digest, int]:
    """The layers of all platforms that are here."""
    ref = next((ref.target for ref in store.references() if ref.target.digest == target), None)
    if ref is None:  # removed a moment ago
        return {}
    manifests = read.manifests(store.layout, ref)
    pairs = [pair for manifest in manifests for pair in store.image(manifest).layers()]
    return {diff_id: layer_size(store, diff_id, blob.size) for blob, diff_id in pairs}
