"""Reading what the store has: blobs, manifests, images. Nothing here writes."""

from __future__ import annotations

import os
from collections.abc import Iterator

from imagetool import mediatypes
from imagetool.digest import Digest, Verifier
from imagetool.errors import LimitExceeded, Malformed, NotFound
from imagetool.spec import MAX_DOCUMENT, Config, Descriptor, Index, Manifest, Platform, parse_document
from imagetool.store import disk, layers
from imagetool.store.layout import Layout
from imagetool.store.summary import Facts
from unionfs.annotations import BinaryIO
from unionfs.namedtuple import NamedTuple


class Image(NamedTuple):
    """One image for one platform, parsed. `target` names its manifest."""

    target: Descriptor
    manifest: Manifest
    config: Config

    @property
    def id(self) -> Digest:
        """The image ID: the digest of the config."""
        return self.manifest.config.digest

    def layers(self) -> Iterator[tuple[Descriptor, Digest]]:
        """Each layer's blob with its diff ID, the lowest first."""
        return zip(self.manifest.layers, self.config.diff_ids, strict=True)


def open_blob(layout: Layout, digest: Digest) -> BinaryIO:
    """A blob to be read, unverified. NotFound."""
    try:
        return open(layout.blob(digest), "rb")
    except FileNotFoundError as error:
        raise NotFound(f"blob {digest} is not in the store", hint="see `imagetool system check`") from error


def read_blob(layout: Layout, digest: Digest, limit: int = MAX_DOCUMENT) -> bytes:
    """A small blob, verified. NotFound, Damaged; LimitExceeded above `limit` bytes."""
    with disk.errors("cannot read the store"), open_blob(layout, digest) as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise LimitExceeded(f"blob {digest} is larger than {limit} bytes")
    verifier = Verifier(digest)
    verifier.feed(data)
    verifier.finish()
    return data


def has_blob(layout: Layout, descriptor: Descriptor) -> bool:
    return disk.size_of(layout.blob(descriptor.digest)) == descriptor.size


def has_layer(layout: Layout, descriptor: Descriptor, diff_id: Digest) -> bool:
    return has_blob(layout, descriptor) and layers.is_complete(layout, diff_id)


def document(layout: Layout, target: Descriptor) -> Manifest | Index:
    return parse_document(read_blob(layout, target.digest), target.media_type)


def look_up(layout: Layout, target: Descriptor, platform: Platform | None) -> Descriptor:
    """`select`; where no platform is asked for and the host's is not here, the first that is."""
    found = next(manifests(layout, target), target) if platform is None else target
    try:
        chosen = select(layout, target, platform)
    except NotFound:
        if platform is not None or found == target:
            raise
        return found
    return chosen if platform is not None or has_blob(layout, chosen) else found


def select(layout: Layout, target: Descriptor, platform: Platform | None) -> Descriptor:
    """The manifest for a platform (the host's by default), through any indexes. NotFound names what there is."""
    for _ in range(4):  # indexes in indexes are allowed and unheard of
        if target.media_type not in mediatypes.INDEXES:
            return target
        index = document(layout, target)
        assert isinstance(index, Index)
        target = index.select(platform or Platform.host())
    raise Malformed(f"index {target.digest} has indexes in indexes in indexes")


def image(layout: Layout, target: Descriptor) -> Image:
    """A manifest with its config. Malformed when they do not fit together."""
    manifest = document(layout, target)
    if isinstance(manifest, Index):
        raise Malformed(f"{target.digest} is an index, not an image")
    config = Config.parse(read_blob(layout, manifest.config.digest))
    if len(config.diff_ids) != len(manifest.layers):
        text = f"image {target.digest} has {len(manifest.layers)} layers and {len(config.diff_ids)} diff IDs"
        raise Malformed(text)
    return Image(target, manifest, config)


def manifests(layout: Layout, target: Descriptor) -> Iterator[Descriptor]:
    """Every image manifest behind a reference that is here: itself, or an index's children."""
    if target.media_type not in mediatypes.INDEXES:
        yield target
        return
    index = document(layout, target)
    assert isinstance(index, Index)
    for child in index.manifests:
        if os.path.exists(layout.blob(child.digest)):
            yield from manifests(layout, child)


def missing(layout: Layout, target: Descriptor) -> Iterator[str]:
    """What a reference to `target` would lack, in words."""
    found = list(manifests(layout, target)) if has_blob(layout, target) else []
    if not found:
        yield f"manifest {target.digest}"
    for manifest in found:
        whole = image(layout, manifest)
        for blob, diff_id in whole.layers():
            mountable = blob.media_type in mediatypes.LAYER_COMPRESSION  # an attestation's layers are not
            if not (has_layer(layout, blob, diff_id) if mountable else has_blob(layout, blob)):
                yield f"layer {blob.digest}"


def shown(layout: Layout, target: Descriptor) -> Image:
    """The image that a list shows of a reference: the host's, else the first that is here."""
    return image(layout, look_up(layout, target, None))


def facts(layout: Layout, target: Descriptor) -> tuple[Facts, bool]:
    """What lists need of an image, and whether it is exact (False: a layer's index is missing)."""
    whole = shown(layout, target)
    size, exact = 0, True
    for blob, diff_id in whole.layers():
        try:
            size += layers.content_size(layout, diff_id)
        except NotFound:
            size, exact = size + blob.size, False
    config = whole.config
    platform = str(config.platform)
    return Facts(whole.id, config.created, size, platform, dict(config.run.labels)), exact
