"""The Python API: pull, push and mount, for plain programs and, with `_async`, for trio programs.

The plain functions run a trio loop of their own and must not be called inside of one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Literal

from imagetool.errors import NotFound, RegistryError
from imagetool.progress import Progress
from imagetool.spec import Descriptor, Platform
from imagetool.store.limits import LIMITS, Limits
from imagetool.store.store import Store

if TYPE_CHECKING:
    from imagetool.reference import Reference
    from imagetool.registry.config import Registries
    from imagetool.registry.pull import Pulled
    from imagetool.registry.remote import Remote

When = Literal["missing", "always", "never"]
"""When a mount pulls first."""

SILENT = Progress()


def pull(
    name: str,
    *,
    store: Store | None = None,
    platform: Platform | str | None = None,
    all_platforms: bool = False,
    limits: Limits = LIMITS,
    insecure: bool = False,
    progress: Progress = SILENT,
) -> Pulled:
    """Has the image, complete and verified, in the store (by default the user's) under its name.

    `platform` as in "linux/arm64", by default this machine's. `insecure` allows plain HTTP and unknown
    certificates. `progress` must be entered: see `imagetool.progress.show`. Raises ImageToolError.
    """
    import trio

    return trio.run(
        partial(
            pull_async,
            name,
            store=store,
            platform=platform,
            all_platforms=all_platforms,
            limits=limits,
            insecure=insecure,
            progress=progress,
        )
    )


async def pull_async(
    name: str,
    *,
    store: Store | None = None,
    platform: Platform | str | None = None,
    all_platforms: bool = False,
    limits: Limits = LIMITS,
    insecure: bool = False,
    progress: Progress = SILENT,
) -> Pulled:
    """`pull` for trio programs."""
    from imagetool.registry import pull as pulling
    from imagetool.registry.errors import Missing
    from imagetool.registry.remote import connect

    registries, reference = named(name, insecure=insecure)
    options = pulling.Options(_platform(platform), all_platforms, limits=limits)
    async with connect(registries=registries) as remote:
        try:
            return await pulling.pull(store or Store.open(), reference, remote, options, progress)
        except Missing as error:
            raise await _explained(error, remote, reference.tagged()) from error


def push(
    name: str,
    *,
    store: Store | None = None,
    platform: Platform | str | None = None,
    all_platforms: bool = False,
    compression: str = "",
    insecure: bool = False,
    progress: Progress = SILENT,
) -> Descriptor:
    """Has the image in the registry under its name; gives what the tag means there now.

    `compression`: `gzip`, `zstd` or `zstd:LEVEL` for layers that were made here. Raises ImageToolError.
    """
    from imagetool.registry import already
    from imagetool.registry.outgoing import Options

    found = store or Store.open()
    options = Options(_platform(platform), all_platforms, compression=compression)
    registries, reference = named(name, insecure=insecure)
    if (sent := already.push(found, reference.tagged(), registries, options, progress)) is not None:
        return sent
    import trio

    return trio.run(
        partial(
            push_async,
            name,
            store=found,
            platform=platform,
            all_platforms=all_platforms,
            compression=compression,
            insecure=insecure,
            progress=progress,
        )
    )


async def push_async(
    name: str,
    *,
    store: Store | None = None,
    platform: Platform | str | None = None,
    all_platforms: bool = False,
    compression: str = "",
    insecure: bool = False,
    progress: Progress = SILENT,
) -> Descriptor:
    """`push` for trio programs."""
    from imagetool.registry import push as pushing
    from imagetool.registry.outgoing import Options
    from imagetool.registry.remote import connect

    registries, reference = named(name, insecure=insecure)
    options = Options(_platform(platform), all_platforms, compression=compression)
    async with connect(registries=registries) as remote:
        return await pushing.push(store or Store.open(), reference, remote, options, progress)


@contextmanager
def mount(
    image: str,
    target: str | None = None,
    *,
    rw: bool = False,
    top: str | None = None,
    store: Store | None = None,
    platform: Platform | str | None = None,
    pull: When = "missing",
    **options: str | int | float | bool | None,
) -> Iterator[str]:
    """The files of an image in a directory, within the block: `with mount("debian:12") as path`.

    Without `target` the directory is a temporary one. Read-only, unless `rw` (changes go with the block) or `top`
    (a directory that takes them and keeps them). `options` are unionfs's. The mount ends with the program at the
    latest. Raises ImageToolError, or unionfs.SetupError where there can be no mount.
    """
    from imagetool import mounts

    found = store or Store.open()
    manifest = have(found, image, _platform(platform), pull)
    with mounts.temporary(found, manifest, target, rw=rw, top=top, options=options) as path:
        yield path


@asynccontextmanager
async def mount_async(
    image: str,
    target: str | None = None,
    *,
    rw: bool = False,
    top: str | None = None,
    store: Store | None = None,
    platform: Platform | str | None = None,
    pull: When = "missing",
    **options: str | int | float | bool | None,
) -> AsyncIterator[str]:
    """`mount` for trio programs: nothing of it blocks the loop."""
    import trio

    from imagetool import mounts

    found = Store.open() if store is None else store
    wanted = _platform(platform)
    manifest = None if pull == "always" else await trio.to_thread.run_sync(_there, found, image, wanted)
    if manifest is None:
        if pull == "never":
            raise NotFound(f"No such image: {image}")
        await pull_async(image, store=found, platform=wanted)
        manifest = await trio.to_thread.run_sync(found.resolve, image, wanted)
    context = mounts.temporary(found, manifest, target, rw=rw, top=top, options=options)
    path = await trio.to_thread.run_sync(context.__enter__)
    try:
        yield path
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(context.__exit__, None, None, None)


def have(
    store: Store,
    image: str,
    platform: Platform | None = None,
    pulling: When = "missing",
    progress: Callable[[], Progress] = Progress,
) -> Descriptor:
    """The manifest of an image, which is pulled if it has to be. `progress` makes one for a pull."""
    found = None if pulling == "always" else _there(store, image, platform)
    if found is not None:
        return found
    if pulling == "never":
        raise NotFound(f"No such image: {image}")
    with progress() as shown:
        if pulling == "missing":
            shown.line(f"Unable to find image '{named(image)[1].tagged().familiar()}' locally")
        pull(image, store=store, platform=platform, progress=shown)
    return store.resolve(image, platform)


async def _explained(error: RegistryError, remote: Remote, reference: Reference) -> RegistryError:
    """What is missing in the words of who asked for it, and the tag that may have been meant."""
    from imagetool.registry.errors import Missing

    if not reference.tag:
        return error
    try:
        tags = await remote.repositories(reference)[-1].tags()
    except RegistryError:
        text = f"{reference.familiar_repository} not found: no such repository, or it needs a login"
        return Missing(text, hint=error.hint or "is the name right?", status=error.status)
    if reference.tag in tags:
        return error
    import difflib

    close = difflib.get_close_matches(reference.tag, tags, n=1)
    hint = f"did you mean {reference.with_tag(close[0]).familiar()}?" if close else ""
    return Missing(f"manifest for {reference.familiar()} not found", hint=hint, status=error.status)


def _there(store: Store, image: str, platform: Platform | None) -> Descriptor | None:
    """None when it is not in the store, or not for this platform."""
    try:
        found = store.resolve(image, platform or Platform.host())
        return found if store.has_blob(found) else None
    except NotFound:
        return None


def named(name: str, *, insecure: bool = False) -> tuple[Registries, Reference]:
    """registries.conf, and the reference that a person's `name` is by its aliases."""
    from imagetool.registry import config

    registries = config.load()
    reference = registries.parse(name)
    return (registries.insecurely(reference.domain) if insecure else registries), reference


def _platform(given: Platform | str | None) -> Platform | None:
    return Platform.parse(given) if isinstance(given, str) else given
