"""What a push sends: which manifest of the store, with its layers compressed, and what they are shown as.

Nothing here reaches the network.
"""

from __future__ import annotations

from imagetool import digest as digests
from imagetool import mediatypes
from imagetool.digest import Digest
from imagetool.errors import ImageToolError, NotFound
from imagetool.reference import Reference
from imagetool.spec import Config, Descriptor, Index, Manifest, Platform, parse_document
from unionfs.annotations import TYPE_CHECKING
from unionfs.namedtuple import NamedTuple

if TYPE_CHECKING:
    from imagetool.store.lease import Lease
    from imagetool.store.store import Store

PARALLEL = 5  # blobs at once, as dockerd's max-concurrent-uploads
READ = 1 << 20
COMPRESSED = {mediatypes.OCI_LAYER: False, mediatypes.DOCKER_LAYER: True}
"""The types of uncompressed layers -> whether they are Docker's."""


class Options(NamedTuple):
    """What a push takes besides the name. `platform` None: this machine's. `compression` as for
    `compression.encoder`: "" leaves what was pulled as it is and compresses what was made here with gzip.
    `chunk`: bytes of a chunk of an upload, 0: whole blobs."""

    platform: Platform | None = None
    all_platforms: bool = False
    parallel: int = PARALLEL
    compression: str = ""
    chunk: int = 0


def find(store: Store, lease: Lease, reference: Reference, options: Options) -> Descriptor:
    """What to push: the manifest for the platform, or the whole index; with its layers compressed."""
    target, compression = choose(store, reference, options)
    return compress(store, lease, target, compression) if compression else target


def choose(store: Store, reference: Reference, options: Options) -> tuple[Descriptor, str]:
    """What to push as it lies in the store, and how its layers are to be compressed; "": not at all."""
    try:
        named = store.find(str(reference))[1]
    except NotFound as error:
        text = f"An image does not exist locally with the tag: {reference.familiar_repository}"
        raise NotFound(text, hint=error.hint) from error
    if options.all_platforms and named.media_type in mediatypes.INDEXES:
        _check_whole(store, named)
        return named, ""
    target = store.resolve(str(reference), options.platform)
    pulled = target.digest != named.digest or any(
        ref.target.digest == target.digest and "@" in (ref.name or "") for ref in store.references()
    )
    return target, options.compression or ("" if pulled else "gzip")


def _check_whole(store: Store, index: Descriptor) -> None:
    whole = document(store, index)
    for child in whole.manifests if isinstance(whole, Index) else ():
        if not store.has_blob(child):
            text = f"the image for {child.platform or child.digest} is not in the store"
            raise NotFound(text, hint="pull it with --all-platforms first")


def compressible(manifest: Manifest, compression: str) -> bool:
    """PURE: whether `compress` would make something else of it."""
    return compression not in ("", "none") and any(row.media_type in COMPRESSED for row in manifest.layers)


def compress(store: Store, lease: Lease, target: Descriptor, compression: str) -> Descriptor:
    """The image with every layer compressed; names of the image as it was mean it from now on."""
    manifest = store.image(target).manifest
    if not compressible(manifest, compression):
        return target
    layers = tuple(_compressed(store, lease, layer, compression) for layer in manifest.layers)
    data = manifest._replace(layers=layers).render()
    new = Descriptor(manifest.media_type, lease.put(data), len(data))
    names = [ref.name for ref in store.references() if ref.name and ref.target.digest == target.digest]
    store.publish([name for name in names if "@" not in name], new)
    return new


def _compressed(store: Store, lease: Lease, layer: Descriptor, compression: str) -> Descriptor:
    from imagetool.compression import encoder  # zstandard and isal take 10 ms, and most pushes need neither

    if layer.media_type not in COMPRESSED:
        return layer
    with store.open_blob(layer.digest) as file, lease.new_blob() as ingest:
        stream = encoder(compression, ingest.feed)
        while chunk := file.read(READ):
            stream.feed(chunk)
        stream.finish()
        blob = ingest.finish()
    kind = compression.partition(":")[0]
    media_type = mediatypes.layer_type(kind, docker=COMPRESSED[layer.media_type])
    return layer._replace(media_type=media_type, digest=blob.digest, size=blob.size)


def layer_names(store: Store, manifest: Manifest) -> dict[Digest, str]:
    """What layers are shown as: their short diff IDs, as Docker does; blob digests of what is no image."""
    try:
        diff_ids = Config.parse(store.read_blob(manifest.config.digest)).diff_ids
        rows = zip(manifest.layers, diff_ids, strict=True)
        return {layer.digest: digests.short(diff_id) for layer, diff_id in rows}
    except (ImageToolError, ValueError):
        return {layer.digest: digests.short(layer.digest) for layer in manifest.layers}


def document(store: Store, target: Descriptor) -> Manifest | Index:
    """A manifest or index of the store, parsed."""
    return parse_document(store.read_blob(target.digest), target.media_type)


def record(store: Store, reference: Reference, target: Descriptor) -> None:
    """Keep the digest under which the registry has it: what `images --digests` shows."""
    store.publish([f"{reference.repository}@{target.digest}"], target)
