"""Images between places without a registry or with one: the store, archives, OCI layouts, registries.

docker://NAME            a registry
oci:DIR[:TAG]            an OCI layout directory
oci-archive:FILE[:NAME]  the same in a tar
docker-archive:FILE[:NAME]  what `docker save` writes
NAME                     the store
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from imagetool import mediatypes, reference
from imagetool.archive import load, save
from imagetool.archive.save import Wanted
from imagetool.digest import Digest
from imagetool.errors import InvalidReference, NotFound, UsageError
from imagetool.progress import Progress
from imagetool.spec import Descriptor, Platform
from imagetool.store import disk, read
from imagetool.store.limits import LIMITS, Limits
from imagetool.store.store import Store
from unionfs.namedtuple import NamedTuple

TRANSPORTS = ("docker", "oci", "oci-archive", "docker-archive", "store")


class Place(NamedTuple):
    """One side of a copy. `path` is a file or directory, "" for a registry or the store; `name` may be ""."""

    transport: str
    path: str
    name: str


class Options(NamedTuple):
    """What a copy takes besides its two sides."""

    platform: Platform | None = None
    all_platforms: bool = False
    compression: str = ""
    insecure: bool = False
    limits: Limits = LIMITS


def wanted(store: Store, names: Sequence[str]) -> list[Wanted]:
    """The images that names mean, each once, with the tags that were given for it."""
    found: dict[Digest, tuple[Descriptor, list[str]]] = {}
    for name in names:
        ref, target = store.find(name)
        tags = found.setdefault(target.digest, (target, []))[1]
        if ref is not None and ref.tag and str(ref) not in tags:
            tags.append(str(ref))
    return [Wanted(target, tuple(tags)) for target, tags in found.values()]


def parse(text: str) -> Place:
    """PURE. UsageError for a transport that is not known, InvalidReference for a name that is none."""
    transport, colon, rest = text.partition(":")
    if transport == "docker" and rest.startswith("//"):
        return Place("docker", "", str(reference.parse(rest[2:]).tagged()))
    if colon and transport in ("oci", "oci-archive", "docker-archive"):
        path, _, name = rest.partition(":")
        if not path:
            raise UsageError(
                f"{text!r} names no file", hint=f"write {transport}:PATH or {transport}:PATH:NAME"
            )
        return Place(transport, path, name)
    try:
        reference.parse(text)
    except InvalidReference:
        if not reference.is_id(text):
            hint = "docker://NAME, oci:DIR:TAG, oci-archive:FILE, docker-archive:FILE, or a name in the store"
            raise UsageError(f"cannot copy {text!r}", hint=hint) from None
    return Place("store", "", text)


def copy(store: Store, source: Place, target: Place, options: Options, progress: Progress) -> Descriptor:
    """Does it, and gives what was copied. Between two places outside, the store keeps nothing."""
    if "store" in (source.transport, target.transport):
        return _through(store, source, target, options, progress)
    with _scratch(store) as passing:
        return _through(passing, source, target, options, progress)


def _through(store: Store, source: Place, target: Place, options: Options, progress: Progress) -> Descriptor:
    name, found = _bring(store, source, target, options, progress)
    _send(store, name, found, target, options, progress)
    return found


def _bring(
    store: Store, source: Place, target: Place, options: Options, progress: Progress
) -> tuple[str, Descriptor]:
    """The image in the store, and a name or ID for it there."""
    if source.transport == "store":
        return source.name, store.find(source.name)[1]
    if source.transport == "docker":
        from imagetool import api

        pulled = api.pull(
            source.name, store=store, platform=options.platform, all_platforms=options.all_platforms,
            limits=options.limits, insecure=options.insecure, progress=progress,
        )  # fmt: skip
        return source.name, pulled.target
    found = _loaded(store, source, options.limits)
    if target.transport == "store":
        store.publish([str(reference.parse(target.name).tagged())], found.target)
    return found.image_id, found.target


def _loaded(store: Store, source: Place, limits: Limits) -> load.Loaded:
    """The one image that is meant."""
    if source.transport == "oci":
        images = load.load_directory(store, source.path, source.name or None, limits)
    else:
        with disk.errors(f"cannot read {source.path}"), open(source.path, "rb") as file:
            images = load.load(store, file.read, source.path, limits)
        if source.name:
            full = str(reference.parse(source.name).tagged())
            images = [image for image in images if full in image.names]
    if len(images) != 1:
        text = (
            f"{source.path} has {len(images) or 'no'} images{' called ' + source.name if source.name else ''}"
        )
        raise NotFound(text, hint=f"name one: {source.transport}:{source.path}:NAME")
    return images[0]


def _send(
    store: Store, name: str, found: Descriptor, target: Place, options: Options, progress: Progress
) -> None:
    match target.transport:
        case "store":
            store.publish([str(reference.parse(target.name).tagged())], found)
        case "docker":
            from imagetool import api

            store.publish([target.name], found)
            api.push(
                target.name, store=store, platform=options.platform, all_platforms=options.all_platforms,
                compression=options.compression, insecure=options.insecure, progress=progress,
            )  # fmt: skip
        case "oci":
            save.save_directory(
                store, Wanted(_chosen(store, found, options)), target.path, target.name or None
            )
        case _:
            names = (str(reference.parse(target.name).tagged()),) if target.name else _tags(name)
            image = Wanted(_chosen(store, found, options), names)
            with disk.new_file(target.path) as file:
                write = save.save_oci if target.transport == "oci-archive" else save.save_docker
                write(store, [image], file.write)


def _chosen(store: Store, found: Descriptor, options: Options) -> Descriptor:
    """An index goes whole only where it is here whole; else the image for the platform."""
    if options.all_platforms or found.media_type not in mediatypes.INDEXES:
        return found
    return read.look_up(store.layout, found, options.platform)


def _tags(name: str) -> tuple[str, ...]:
    """The name that an image has had, if it is one by tag."""
    try:
        full = reference.parse(name).tagged()
    except InvalidReference:
        return ()
    return (str(full),) if full.tag and not full.digest else ()


@contextmanager
def _scratch(store: Store) -> Iterator[Store]:
    """A store that is gone afterwards."""
    with store.lease() as lease:
        yield Store.open(lease.temporary())
