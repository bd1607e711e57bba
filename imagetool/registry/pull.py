"""Pull: manifest -> platform -> config -> layers, each in one pass into the store; the references last.

Blobs and layers that the store has are not fetched. Two pulls at once, in whatever processes, share: a layer
that somebody else is fetching is waited for. What came before a cut or a kill is kept and resumed from.
"""

from __future__ import annotations

import logging

import trio

from imagetool import digest as digests
from imagetool import mediatypes
from imagetool.digest import Digest
from imagetool.errors import Damaged, Malformed, RegistryError
from imagetool.progress import Progress
from imagetool.reference import Reference
from imagetool.registry.remote import Remote
from imagetool.registry.repository import Document, Repository
from imagetool.registry.transfer import fetch, small_blob, tasks
from imagetool.spec import Config, Descriptor, Index, Manifest, Platform, parse_document
from imagetool.store.limits import LIMITS, Limits
from unionfs.annotations import TYPE_CHECKING
from unionfs.namedtuple import NamedTuple

if TYPE_CHECKING:
    from imagetool.store.ingest import Ingest
    from imagetool.store.lease import Lease
    from imagetool.store.store import Store

PARALLEL = 3  # layers at once, as dockerd's max-concurrent-downloads
NESTED = 4  # indexes in indexes; one level is what there is
SHARED_WAIT = 0.05  # seconds between two looks at a layer that somebody else is fetching
SILENT = Progress()

log = logging.getLogger(__name__)


class Options(NamedTuple):
    """What a pull takes besides the name. `platform` None: this machine's."""

    platform: Platform | None = None
    all_platforms: bool = False
    parallel: int = PARALLEL
    limits: Limits = LIMITS


DEFAULTS = Options()


class Pulled(NamedTuple):
    """What a pull brought: what the name means now (an index or a manifest), the manifest for the platform
    (None after a pull of all), and whether anything is new."""

    target: Descriptor
    manifest: Descriptor | None
    changed: bool


async def pull(
    store: Store,
    reference: Reference,
    remote: Remote,
    options: Options = DEFAULTS,
    progress: Progress = SILENT,
) -> Pulled:
    """Have the image, complete and verified, in the store under its name; `progress` must be entered.

    RegistryError (Missing, Unauthorized, Denied, RateLimited, TransportError), Malformed, Damaged,
    LimitExceeded, NoSpace or NotFound (no such platform): no reference was changed then.
    """
    reference = reference.tagged()
    wanted = reference.digest or reference.tag or ""
    progress.line(f"{wanted}: Pulling from {reference.path}")
    with store.lease() as lease:
        known = await trio.to_thread.run_sync(_known, store, str(reference))
        places = remote.repositories(reference)
        jobs = [Job(store, lease, place, options, progress) for place in places]
        target, manifest = await _first_of(jobs, wanted, known)
        names = [f"{reference.repository}@{target.digest}"]
        if not reference.digest:
            names.insert(0, str(reference))
        changed = await trio.to_thread.run_sync(_publish, store, names, target)
        fetched = any(job.fetched for job in jobs)
    progress.line(f"Digest: {target.digest}")
    what = "Downloaded newer image" if changed or fetched else "Image is up to date"
    progress.line(f"Status: {what} for {reference.familiar()}")
    return Pulled(target, manifest, changed or fetched)


def _publish(store: Store, names: list[str], target: Descriptor) -> bool:
    """Whether a name means something else than before."""
    before = {ref.name: ref.target.digest for ref in store.references()}
    if all(before.get(name) == target.digest for name in names):
        return False
    store.publish(names, target)
    return True


def _known(store: Store, name: str) -> Document | None:
    """What the name means here up to now."""
    for ref in store.references():
        if ref.name == name and store.has_blob(ref.target):
            return Document(ref.target, store.read_blob(ref.target.digest))
    return None


async def _first_of(
    jobs: list[Job], wanted: str, known: Document | None
) -> tuple[Descriptor, Descriptor | None]:
    """From the first place that has all of it. When none has, the error of the last: the registry itself.

    A mirror may lack a layer, or break: what came from it stays, and the next place brings the rest.
    """
    for job in jobs[:-1]:
        try:
            return await job.run(await _current(job.repository, wanted, known))
        except (RegistryError, Damaged, Malformed) as error:
            log.info("%s: going on without the mirror %s", error, job.repository)
    return await jobs[-1].run(await _current(jobs[-1].repository, wanted, known))


async def _current(repository: Repository, wanted: str, known: Document | None) -> Document:
    """The manifest. Where one is known, HEAD tells whether it still is the one: registries that limit pulls
    count GET requests of manifests."""
    if known and await repository.head(wanted) == known.descriptor.digest:
        return known
    return await repository.manifest(wanted)


class Job:
    """One pull from one repository. `fetched`: whether any layer or manifest came over the network."""

    def __init__(
        self, store: Store, lease: Lease, repository: Repository, options: Options, progress: Progress
    ) -> None:
        self._store = store
        self._lease = lease
        self.repository = repository
        self._options = options
        self._progress = progress
        self._slots = trio.CapacityLimiter(options.parallel)
        self.fetched = False

    async def run(self, document: Document) -> tuple[Descriptor, Descriptor | None]:
        """Everything below the document; the descriptors of it and of the chosen manifest."""
        parsed, target = _typed(document)
        await self._keep(document.data, target.digest)
        if isinstance(parsed, Index) and self._options.all_platforms:
            await self._all(parsed, 1)
            return target, None
        found, manifest = await self._choose(parsed, target, 1)
        await self._image(manifest, explicit=isinstance(parsed, Manifest))
        return target, found

    async def _choose(
        self, parsed: Manifest | Index, descriptor: Descriptor, depth: int
    ) -> tuple[Descriptor, Manifest]:
        if isinstance(parsed, Manifest):
            return descriptor, parsed
        if depth > NESTED:
            raise Malformed(f"index {descriptor.digest} has indexes {NESTED} deep")
        child = parsed.select(self._options.platform or Platform.host())
        return await self._choose(await self._document(child), child, depth + 1)

    async def _all(self, index: Index, depth: int) -> None:
        if depth > NESTED:
            raise Malformed(f"an index has indexes {NESTED} deep")
        for child in index.manifests:
            parsed = await self._document(child)
            if isinstance(parsed, Index):
                await self._all(parsed, depth + 1)
            elif _is_image(parsed):
                await self._image(parsed, explicit=False)
            else:
                await self._artifact(parsed)

    async def _document(self, child: Descriptor) -> Manifest | Index:
        """A manifest that an index names: from the store if it is there."""
        if await self._blob_there(child):
            data = await trio.to_thread.run_sync(self._store.read_blob, child.digest)
            return parse_document(data, child.media_type)
        document = await self.repository.manifest(child.digest, child)
        parsed = parse_document(document.data, child.media_type)
        await self._keep(document.data, child.digest)
        return parsed

    async def _image(self, manifest: Manifest, *, explicit: bool) -> None:
        """The config and all layers. `explicit`: no index chose this manifest, so its platform is checked."""
        if not _is_image(manifest):
            hint = f"its config is {manifest.config.media_type}"
            raise Malformed(f"{self.repository.name} is an artifact, not an image", hint=hint)
        config = Config.parse(await self._config(manifest.config))
        if explicit and self._options.platform and not _runs_on(config.platform, self._options.platform):
            text = f"the image is for {config.platform}, not for {self._options.platform}"
            raise RegistryError(text, hint="there is no other: leave --platform out")
        if len(config.diff_ids) != len(manifest.layers):
            raise Malformed(
                f"the manifest has {len(manifest.layers)} layers and the config {len(config.diff_ids)}"
            )
        rows: dict[Digest, tuple[Descriptor, Digest]] = {}
        for layer, diff_id in zip(manifest.layers, config.diff_ids, strict=True):
            if layer.media_type not in mediatypes.LAYER_COMPRESSION:
                raise Malformed(f"layer {layer.digest} is of an unknown type: {layer.media_type}")
            if rows.setdefault(layer.digest, (layer, diff_id))[1] != diff_id:
                raise Malformed(f"layer {layer.digest} is said to have two different contents")
        await self._layers(list(rows.values()))

    async def _artifact(self, manifest: Manifest) -> None:
        """Attestations and the like, of a pull of all platforms: kept as they are."""
        await self._config(manifest.config)
        for layer in manifest.layers:
            if not await self._blob_there(layer):
                await self._layer(layer, None)

    async def _layers(self, rows: list[tuple[Descriptor, Digest]]) -> None:
        todo = []
        for layer, diff_id in rows:
            await trio.to_thread.run_sync(self._lease.pin, layer.digest, diff_id)
            there = await self._layer_there(layer, diff_id)
            self._progress.state(
                digests.short(layer.digest), "Already exists" if there else "Pulling fs layer"
            )
            if not there:
                todo.append((layer, diff_id))
        async with tasks() as nursery:
            for layer, diff_id in todo:
                nursery.start_soon(self._layer, layer, diff_id)

    async def _layer(self, layer: Descriptor, diff_id: Digest | None) -> None:
        """Have one layer that was pinned and is missing; without a diff ID, a blob that is kept as it is."""
        short = digests.short(layer.digest)
        waiting = False
        async with self._slots:
            while not await self._bring(layer, diff_id):
                if not waiting:
                    self._progress.state(short, "Waiting")
                waiting = True
                await trio.sleep(SHARED_WAIT)
                if await self._layer_there(layer, diff_id):
                    break
        self._progress.state(short, "Pull complete")

    async def _bring(self, layer: Descriptor, diff_id: Digest | None) -> bool:
        """One try to have the layer; False while somebody else is bringing it in."""
        blob_there = await trio.to_thread.run_sync(self._store.has_blob, layer)
        if diff_id and blob_there:
            build, limits = self._store.build_layer, self._options.limits
            await trio.to_thread.run_sync(build, self._lease, layer, diff_id, limits)
            return True
        ingest = self._lease.claim(layer, diff_id, self._options.limits)
        if ingest is None:
            return False
        # Between the look and the claim somebody else may have been done with it.
        if await trio.to_thread.run_sync(self._store.has_blob, layer):
            await trio.to_thread.run_sync(ingest.discard)
            return await self._layer_there(layer, diff_id) or await self._bring(layer, diff_id)
        resumed = ingest.offset > 0
        try:
            await self._download(layer, ingest)
        except Damaged:
            if not resumed:
                raise
            return await self._bring(layer, diff_id)  # what an earlier try left was damaged, and is forgotten
        return True

    async def _download(self, layer: Descriptor, ingest: Ingest) -> None:
        short = digests.short(layer.digest)
        progress = self._progress
        progress.state(short, "Downloading", layer.size)
        progress.advance(short, ingest.offset)
        try:
            await fetch(
                self.repository, layer, ingest.offset, ingest, lambda count: progress.advance(short, count)
            )
            progress.state(short, "Download complete")
            await trio.to_thread.run_sync(ingest.finish)
            self.fetched = True
        finally:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(ingest.close)

    async def _config(self, descriptor: Descriptor) -> bytes:
        if await self._blob_there(descriptor):
            return await trio.to_thread.run_sync(self._store.read_blob, descriptor.digest)
        data = await small_blob(self.repository, descriptor)
        await self._keep(data, descriptor.digest)
        return data

    async def _keep(self, data: bytes, digest: Digest) -> None:
        await trio.to_thread.run_sync(self._lease.put, data, digest)

    async def _blob_there(self, descriptor: Descriptor) -> bool:
        await trio.to_thread.run_sync(self._lease.pin, descriptor.digest)
        return await trio.to_thread.run_sync(self._store.has_blob, descriptor)

    async def _layer_there(self, layer: Descriptor, diff_id: Digest | None) -> bool:
        if diff_id is None:
            return await trio.to_thread.run_sync(self._store.has_blob, layer)
        return await trio.to_thread.run_sync(self._store.has_layer, layer, diff_id)


def _typed(document: Document) -> tuple[Manifest | Index, Descriptor]:
    """What came, and its descriptor with the type that it really has."""
    parsed = parse_document(document.data, document.descriptor.media_type or None)
    return parsed, document.descriptor._replace(media_type=parsed.media_type)


def _is_image(manifest: Manifest) -> bool:
    return manifest.config.media_type in mediatypes.CONFIGS and not any(
        layer.media_type not in mediatypes.LAYER_COMPRESSION for layer in manifest.layers
    )


def _runs_on(there: Platform, wanted: Platform) -> bool:
    one, other = there.normalized(), wanted.normalized()
    return (one.os, one.architecture) == (other.os, other.architecture)
