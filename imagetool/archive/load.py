"""Loading images into the store: from `docker save`, from OCI archives, from OCI layout directories.

A docker-archive has `manifest.json`; an OCI layout has `index.json`, and wins where an archive is both, because
it keeps the digests. References are set last, all at once for each image.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

from imagetool import compression, mediatypes, mutate, reference
from imagetool import digest as digests
from imagetool.archive.members import Members
from imagetool.archive.pool import DirectoryPool, Pool, StreamPool
from imagetool.digest import Digest
from imagetool.errors import Damaged, InvalidReference, Malformed, NotFound
from imagetool.spec import Config, Descriptor, Index, Manifest, parse_document
from imagetool.spec.fields import Fields
from imagetool.store.lease import Lease
from imagetool.store.limits import LIMITS, Limits
from imagetool.store.refs import REF_NAME
from imagetool.store.store import Store
from unionfs.namedtuple import NamedTuple

CONTAINERD_NAME = "io.containerd.image.name"
"""The full name of an image, where `ref.name` is a tag alone (containerd, Docker)."""


class Loaded(NamedTuple):
    """One image that is in the store now. `names` are full names; without any it has only its ID."""

    names: tuple[str, ...]
    image_id: Digest
    target: Descriptor


def load(store: Store, read: Callable[[int], bytes], title: str, limits: Limits = LIMITS) -> list[Loaded]:
    """All images of an archive, compressed or not, that `read(size)` gives to its end.

    Malformed, Damaged, LimitExceeded, NoSpace: then no reference was set by the image that failed.
    """
    with store.lease() as lease:
        members = Members(compression.decoded(read, title), title)
        pool = StreamPool(lease, members, limits)
        return _publish(store, _images(lease, pool, title, None))


def load_directory(
    store: Store, directory: str, tag: str | None = None, limits: Limits = LIMITS
) -> list[Loaded]:
    """The images of an OCI layout directory; with `tag`, the one of that name in it, as it is called there."""
    with store.lease() as lease:
        return _publish(store, _images(lease, DirectoryPool(lease, directory, limits), directory, tag))


def _publish(store: Store, images: Iterator[Loaded]) -> list[Loaded]:
    done = []
    for image in images:
        store.publish(image.names, image.target)
        done.append(image)
    return done


def _images(lease: Lease, pool: Pool, title: str, tag: str | None) -> Iterator[Loaded]:
    if pool.has("index.json") and pool.has("oci-layout"):
        return _from_layout(lease, pool, title, tag)
    if pool.has("manifest.json"):
        return _from_docker(lease, pool, title)
    raise Malformed(f"{title} is no archive of images", hint="expected manifest.json or index.json in it")


# --- OCI layout


def _from_layout(lease: Lease, pool: Pool, title: str, tag: str | None) -> Iterator[Loaded]:
    index = Index.parse(pool.document("index.json"))
    chosen = [entry for entry in index.manifests if tag is None or entry.annotations.get(REF_NAME) == tag]
    if not chosen:
        there = ", ".join(entry.annotations.get(REF_NAME, "") for entry in index.manifests)
        raise NotFound(f"{title} has no image {tag!r}", hint=f"there are: {there}")
    by_digest: dict[Digest, list[str]] = {}
    for entry in chosen:
        names = by_digest.setdefault(entry.digest, [])
        names += [] if tag is not None else _layout_names(pool, entry)
    targets = {entry.digest: entry for entry in chosen}
    for digest, names in by_digest.items():
        target = Descriptor(targets[digest].media_type, digest, targets[digest].size)
        yield Loaded(tuple(dict.fromkeys(names)), _bring_in(lease, pool, target, depth=0), target)


def _layout_names(pool: Pool, entry: Descriptor) -> list[str]:
    """From the annotations; else from the manifest.json that Docker puts beside the layout."""
    for name in (entry.annotations.get(CONTAINERD_NAME, ""), entry.annotations.get(REF_NAME, "")):
        if "/" in name or ":" in name:  # else it is a tag without a repository
            try:
                return [str(reference.parse(name).tagged())]
            except InvalidReference:
                continue
    if not pool.has("manifest.json") or entry.media_type in mediatypes.INDEXES:
        return []
    config = Manifest.parse(_blob(pool, entry)).config.digest
    return [name for item in _items(pool) if digests.encoded(config) in item.config for name in item.names]


def _bring_in(lease: Lease, pool: Pool, target: Descriptor, depth: int) -> Digest:
    """Stores a manifest with all it names; of an index, the children that are there. The (first) image ID."""
    data = _blob(pool, target)
    document = parse_document(data, target.media_type)
    if isinstance(document, Index):
        ids = [
            _bring_in(lease, pool, child, depth + 1)
            for child in document.manifests
            if depth < 3
            and pool.has(_path(child.digest))
            and child.media_type in mediatypes.MANIFESTS | mediatypes.INDEXES
        ]
        if not ids:
            raise Malformed(f"index {target.digest} has none of its images with it")
        lease.put(data, target.digest)
        return ids[0]
    config_data = _blob(pool, document.config)
    config = Config.parse(config_data)
    image = mutate.draft(document, config)
    for layer, diff_id in zip(image.layers, config.diff_ids, strict=True):
        _layer(pool, _path(layer.digest), diff_id, layer.digest)
    lease.put(config_data, document.config.digest)
    lease.put(data, target.digest)
    return document.config.digest


def _blob(pool: Pool, descriptor: Descriptor) -> bytes:
    data = pool.document(_path(descriptor.digest))
    verifier = digests.Verifier(descriptor.digest, descriptor.size)
    verifier.feed(data)
    verifier.finish()
    return data


def _path(digest: Digest) -> str:
    return f"blobs/{digests.algorithm(digest)}/{digests.encoded(digest)}"


# --- docker-archive


class _Item(NamedTuple):
    config: str
    names: tuple[str, ...]
    layers: tuple[str, ...]


def _items(pool: Pool) -> list[_Item]:
    try:
        document = json.loads(pool.document("manifest.json"))
    except (ValueError, RecursionError) as error:
        raise Malformed(f"manifest.json is not valid JSON: {error}") from error
    if not isinstance(document, list):
        raise Malformed("manifest.json is not a list")
    items = []
    for value in document:
        fields = Fields(value, "manifest.json")
        names = tuple(str(reference.parse(name).tagged()) for name in fields.texts("RepoTags") or ())
        items.append(_Item(fields.text("Config"), names, fields.texts("Layers") or ()))
    return items


def _from_docker(lease: Lease, pool: Pool, title: str) -> Iterator[Loaded]:
    items = _items(pool)
    if not items:
        raise Malformed(f"{title} has no image in it")
    for item in items:
        config_data = pool.document(item.config)
        config = Config.parse(config_data)
        if len(item.layers) != len(config.diff_ids):
            raise Malformed(
                f"{title}: {item.config} has {len(config.diff_ids)} diff IDs for {len(item.layers)} layers"
            )
        layers = []
        for path, diff_id in zip(item.layers, config.diff_ids, strict=True):
            layers.append(_layer(pool, path, diff_id, None))
        named = Descriptor(mediatypes.OCI_CONFIG, digests.of(config_data), len(config_data))
        manifest = Manifest(named, tuple(layers)).render()
        lease.put(config_data)
        target = Descriptor(mediatypes.OCI_MANIFEST, lease.put(manifest), len(manifest))
        yield Loaded(item.names, named.digest, target)


def _layer(pool: Pool, path: str, diff_id: Digest, expected: Digest | None) -> Descriptor:
    """A layer of the pool, verified against what the image says of it."""
    blob = pool.layer(path)
    if blob.diff_id != diff_id:
        raise Damaged(f"layer {path} has the diff ID {blob.diff_id}, and the image says {diff_id}")
    if expected is not None and blob.digest != expected:
        raise Damaged(f"layer {path} has the digest {blob.digest}")
    return Descriptor(mediatypes.layer_type(blob.compression), blob.digest, blob.size)
