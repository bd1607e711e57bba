"""Push: the blobs that the registry lacks, in parallel; then the manifests; an index last.

What was pulled goes out byte for byte. Layers that were made here may lie uncompressed in the store: they
are compressed once, reproducibly, and the image keeps that form, so that the next push sends nothing.
"""

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import trio

from imagetool import digest as digests
from imagetool import mediatypes
from imagetool.digest import Digest
from imagetool.errors import ImageToolError, NotFound
from imagetool.progress import Progress
from imagetool.reference import Reference
from imagetool.registry.remote import Remote
from imagetool.registry.repository import Repository
from imagetool.registry.transfer import tasks
from imagetool.registry.upload import Source, Uploader
from imagetool.spec import Descriptor, Index, Manifest, Platform, parse_document

if TYPE_CHECKING:
    from imagetool.store.lease import Lease
    from imagetool.store.store import Store

PARALLEL = 5  # blobs at once, as dockerd's max-concurrent-uploads
READ = 1 << 20
SILENT = Progress()
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


DEFAULTS = Options()


async def push(
    store: "Store",
    reference: Reference,
    remote: Remote,
    options: Options = DEFAULTS,
    progress: Progress = SILENT,
) -> Descriptor:
    """Have the image in the registry under its name; what the tag means there now. `progress` is entered.

    NotFound if it is not in the store; RegistryError and its kinds from the registry.
    """
    reference = reference.tagged()
    progress.line(f"The push refers to repository [{reference.repository}]")
    with store.lease() as lease:
        target = await trio.to_thread.run_sync(_find, store, lease, reference, options)
        repository = remote.repositories(reference, push=True)[0]
        job = Job(store, repository, reference, options, progress)
        size = await job.run(target, reference.tag or target.digest)
        await trio.to_thread.run_sync(_record, store, reference, target)
    progress.line(f"{reference.tag or target.digest}: digest: {target.digest} size: {size}")
    return target


class Job:
    """One push to one repository."""

    def __init__(
        self, store: "Store", to: Repository, reference: Reference, options: Options, progress: Progress
    ) -> None:
        self._store = store
        self._to = Uploader(to, options.chunk)
        self._progress = progress
        self._slots = trio.CapacityLimiter(options.parallel)
        self._reference = reference
        self._origins: dict[Digest, str] | None = None

    async def run(self, target: Descriptor, name: str) -> int:
        """Everything below `target`, then itself as `name`; the size of its document in bytes."""
        data = await trio.to_thread.run_sync(self._store.read_blob, target.digest)
        document = parse_document(data, target.media_type)
        if isinstance(document, Index):
            for child in document.manifests:
                await self.run(child, child.digest)
        else:
            await self._blobs(document)
        await self._to.manifest(name, data, target)
        return len(data)

    async def _blobs(self, manifest: Manifest) -> None:
        names = await trio.to_thread.run_sync(_layer_names, self._store, manifest)
        todo = {layer.digest: layer for layer in manifest.layers}
        for digest in todo:
            self._progress.state(names[digest], "Preparing")
        async with tasks() as nursery:
            nursery.start_soon(self._blob, manifest.config, "")
            for layer in todo.values():
                nursery.start_soon(self._blob, layer, names[layer.digest])

    async def _blob(self, blob: Descriptor, name: str) -> None:
        """`name` is what the blob is shown as; a config is not shown."""
        async with self._slots:
            state = await self._bring(blob, name)
        if name:
            self._progress.state(name, state)

    async def _bring(self, blob: Descriptor, name: str) -> str:
        if blob.media_type in mediatypes.FOREIGN:
            return "Skipped foreign layer"
        if await self._to.has(blob):
            return "Layer already exists"
        origin = await self._origin(blob.digest)
        session = await self._to.begin(blob, origin)
        if session is None:
            return f"Mounted from {origin}"
        if name:
            self._progress.state(name, "Pushing", blob.size)
        moved = partial(self._progress.advance, name) if name else _unseen
        await self._to.send(Source(blob, partial(self._store.open_blob, blob.digest)), session, moved)
        return "Pushed"

    async def _origin(self, digest: Digest) -> str:
        """Another repository of the same registry that is known to have had the blob."""
        if self._origins is None:
            self._origins = await trio.to_thread.run_sync(_origins, self._store, self._reference)
        return self._origins.get(digest, "")


def _unseen(count: int) -> None:
    """For blobs that have no row."""


def _find(store: "Store", lease: "Lease", reference: Reference, options: Options) -> Descriptor:
    """What to push: the manifest for the platform, or the whole index; with its layers compressed."""
    try:
        named = store.find(str(reference))[1]
    except NotFound as error:
        text = f"An image does not exist locally with the tag: {reference.familiar_repository}"
        raise NotFound(text, hint=error.hint) from error
    if options.all_platforms and named.media_type in mediatypes.INDEXES:
        _check_whole(store, named)
        return named
    target = store.resolve(str(reference), options.platform)
    pulled = target.digest != named.digest or any(
        ref.target.digest == target.digest and "@" in (ref.name or "") for ref in store.references()
    )
    if pulled and not options.compression:
        return target
    return compress(store, lease, target, options.compression or "gzip")


def _check_whole(store: "Store", index: Descriptor) -> None:
    document = _document(store, index)
    for child in document.manifests if isinstance(document, Index) else ():
        if not store.has_blob(child):
            text = f"the image for {child.platform or child.digest} is not in the store"
            raise NotFound(text, hint="pull it with --all-platforms first")


def compress(store: "Store", lease: "Lease", target: Descriptor, compression: str) -> Descriptor:
    """The image with every layer compressed; names of the image as it was mean it from now on."""
    if compression == "none":
        return target
    manifest = store.image(target).manifest
    layers = tuple(_compressed(store, lease, layer, compression) for layer in manifest.layers)
    if layers == manifest.layers:
        return target
    data = manifest._replace(layers=layers).render()
    new = Descriptor(manifest.media_type, lease.put(data), len(data))
    names = [ref.name for ref in store.references() if ref.name and ref.target.digest == target.digest]
    store.publish([name for name in names if "@" not in name], new)
    return new


def _compressed(store: "Store", lease: "Lease", layer: Descriptor, compression: str) -> Descriptor:
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


def _record(store: "Store", reference: Reference, target: Descriptor) -> None:
    """The digest under which the registry has it: what `images --digests` shows."""
    store.publish([f"{reference.repository}@{target.digest}"], target)


def _layer_names(store: "Store", manifest: Manifest) -> dict[Digest, str]:
    """What layers are shown as: their short diff IDs, as Docker does; blob digests of what is no image."""
    try:
        from imagetool.spec import Config

        diff_ids = Config.parse(store.read_blob(manifest.config.digest)).diff_ids
        rows = zip(manifest.layers, diff_ids, strict=True)
        return {layer.digest: digests.short(diff_id) for layer, diff_id in rows}
    except (ImageToolError, ValueError):
        return {layer.digest: digests.short(layer.digest) for layer in manifest.layers}


def _origins(store: "Store", to: Reference) -> dict[Digest, str]:
    """Layer -> a repository of the same registry from which, or to which, it was transferred before."""
    found: dict[Digest, str] = {}
    prefix = f"{to.domain}/"
    for ref in store.references():
        name = (ref.name or "").partition("@")[0]
        if "@" in (ref.name or "") and name.startswith(prefix) and name != to.repository:
            for layer in _all_layers(store, ref.target):
                found.setdefault(layer.digest, name.removeprefix(prefix))
    return found


def _all_layers(store: "Store", target: Descriptor) -> Iterator[Descriptor]:
    try:
        document = _document(store, target)
    except ImageToolError:
        return  # not here, or damaged: then it is no help
    if isinstance(document, Index):
        for child in document.manifests:
            yield from _all_layers(store, child)
    else:
        yield from document.layers


def _document(store: "Store", target: Descriptor) -> Manifest | Index:
    return parse_document(store.read_blob(target.digest), target.media_type)
