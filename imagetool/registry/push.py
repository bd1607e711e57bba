"""Push: the blobs that the registry lacks, in parallel; then the manifests; an index last.

What was pulled goes out byte for byte. Layers that were made here may lie uncompressed in the store: they
are compressed once, reproducibly, and the image keeps that form, so that the next push sends nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import trio

from imagetool import mediatypes
from imagetool.digest import Digest
from imagetool.errors import ImageToolError
from imagetool.progress import Progress
from imagetool.reference import Reference
from imagetool.registry import outgoing
from imagetool.registry.outgoing import Options
from imagetool.registry.remote import Remote
from imagetool.registry.repository import Repository
from imagetool.registry.transfer import tasks
from imagetool.registry.upload import Source, Uploader
from imagetool.spec import Descriptor, Index, Manifest, parse_document
from unionfs.annotations import TYPE_CHECKING

if TYPE_CHECKING:
    from imagetool.store.store import Store

SILENT = Progress()
DEFAULTS = Options()


async def push(
    store: Store,
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
        target = await trio.to_thread.run_sync(outgoing.find, store, lease, reference, options)
        repository = remote.repositories(reference, push=True)[0]
        job = Job(store, repository, reference, options, progress)
        size = await job.run(target, reference.tag or target.digest)
        await trio.to_thread.run_sync(outgoing.record, store, reference, target)
    progress.line(f"{reference.tag or target.digest}: digest: {target.digest} size: {size}")
    return target


class Job:
    """One push to one repository."""

    def __init__(
        self, store: Store, to: Repository, reference: Reference, options: Options, progress: Progress
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
        names = await trio.to_thread.run_sync(outgoing.layer_names, self._store, manifest)
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


def _origins(store: Store, to: Reference) -> dict[Digest, str]:
    """Layer -> a repository of the same registry from which, or to which, it was transferred before."""
    found: dict[Digest, str] = {}
    prefix = f"{to.domain}/"
    for ref in store.references():
        name = (ref.name or "").partition("@")[0]
        if "@" in (ref.name or "") and name.startswith(prefix) and name != to.repository:
            for layer in _all_layers(store, ref.target):
                found.setdefault(layer.digest, name.removeprefix(prefix))
    return found


def _all_layers(store: Store, target: Descriptor) -> Iterator[Descriptor]:
    try:
        document = outgoing.document(store, target)
    except ImageToolError:
        return  # not here, or damaged: then it is no help
    if isinstance(document, Index):
        for child in document.manifests:
            yield from _all_layers(store, child)
    else:
        yield from document.layers
