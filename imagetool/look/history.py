"""The steps that made an image, each with the size of the layer it made."""

from __future__ import annotations

from imagetool import mutate
from imagetool.digest import Digest
from imagetool.errors import NotFound
from imagetool.store import layers
from imagetool.store.read import Image
from imagetool.store.store import Store
from unionfs.namedtuple import NamedTuple


class Step(NamedTuple):
    """One step; `diff_id` is None where it made no layer. `size`: bytes of the layer's regular files."""

    created: str
    created_by: str
    comment: str
    size: int
    diff_id: Digest | None


def steps(store: Store, image: Image) -> list[Step]:
    """In the order in which they were done."""
    left = list(image.layers())
    found = []
    for each in mutate.complete_history(image.config):
        if each.empty_layer or not left:
            found.append(Step(each.created, each.created_by, each.comment, 0, None))
            continue
        blob, diff_id = left.pop(0)
        size = layer_size(store, diff_id, blob.size)
        found.append(Step(each.created, each.created_by, each.comment, size, diff_id))
    return found


def layer_size(store: Store, diff_id: Digest, otherwise: int) -> int:
    """Bytes of the regular files of a layer; without its index, the size of its blob."""
    try:
        return layers.content_size(store.layout, diff_id)
    except NotFound:
        return otherwise
