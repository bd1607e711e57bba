"""A container's RW layer as the top layer of a new image. Reads that layer only, never the image's files."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from imagetool import mediatypes, mutate, reference
from imagetool.archive import pack
from imagetool.archive.rootimport import publish_draft
from imagetool.containers import rootfs
from imagetool.containers.folder import Container
from imagetool.errors import ImageToolError
from imagetool.spec import Descriptor, History, RunConfig
from imagetool.store import disk
from imagetool.store.read import Image
from imagetool.store.store import Store
from imagetool.units import time_text
from unionfs.annotations import TYPE_CHECKING
from unionfs.errors import LayerError
from unionfs.layers.base import Layer
from unionfs.layers.tarball import open_tar_layer
from unionfs.override import CONTAINERS

if TYPE_CHECKING:
    from imagetool.runtime.cgroups import Cgroup


def commit(
    store: Store,
    container: Container,
    name: str | None,
    *,
    author: str = "",
    message: str = "",
    change: Callable[[RunConfig], RunConfig] = lambda run: run,
    pause: bool = True,
) -> str:
    """The ID of the new image; `name` is a full one, or None. ImageToolError: there is no new image."""
    record = container.record
    image = store.image(rootfs.manifest_of(record))
    epoch = pack.epoch_from_environment()
    created = time_text(time.time() if epoch is None else epoch)
    with store.lease() as lease:
        lease.pin(image.target.digest)
        with lease.new_layer() as ingest, _still(container, pause=pause):
            with disk.errors("cannot read the container's files"):
                rootfs.sync(container.directory)
                upper = f"{container.directory}/top/upper"
                pack.pack(upper, ingest.feed, _lowers(store, image), _reading(container, epoch))
            blob = ingest.finish()
        assert blob.diff_id is not None
        layer = Descriptor(mediatypes.layer_type(blob.compression), blob.digest, blob.size)
        step = History(created, " ".join(record.command), author, message)
        draft = mutate.append(mutate.draft(image.manifest, image.config), layer, blob.diff_id, step)
        draft = mutate.with_run(draft, lambda run: change(_with_options(run, container)))
        rendered = publish_draft(lease, mutate.stamped(draft, created, author or None))
        store.publish([name] if name else [], rendered.target)
    return rendered.image_id


def _reading(container: Container, epoch: int | None) -> pack.Options:
    mine = container.record.rootless
    return pack.Options(userxattr=mine, override=CONTAINERS if mine else b"", epoch=epoch)


def full_name(text: str) -> str:
    """`REPOSITORY[:TAG]` as the store records it."""
    return str(reference.parse(text).tagged())


def _with_options(run: RunConfig, container: Container) -> RunConfig:
    """The image's settings with what the container was made with over them."""
    asked = container.record.options
    rows = dict(row.partition("=")[::2] for row in (*run.env, *asked.env))
    volumes = {mount.target for mount in asked.mounts if mount.kind == "volume"}
    changed = run._replace(
        env=tuple(f"{key}={value}" for key, value in rows.items()),
        user=asked.user or run.user,
        working_dir=asked.workdir or run.working_dir,
        labels={**run.labels, **container.record.labels},
        volumes=tuple(sorted({*run.volumes, *volumes})),
        stop_signal=container.record.stop_signal or run.stop_signal,
    )
    if asked.entrypoint is not None:
        changed = changed._replace(entrypoint=asked.entrypoint, cmd=None)
    return changed._replace(cmd=asked.command) if asked.command else changed


def _lowers(store: Store, image: Image) -> list[Layer]:
    """For what was moved or changed without its data. They are opened, not read."""
    found: list[Layer] = []
    try:
        store.ensure_layers(image)
        for path in store.layer_tars(image):
            found.append(open_tar_layer(path))
    except LayerError as error:
        for layer in found:
            layer.close()
        raise ImageToolError(str(error)) from error
    return found


@contextmanager
def _still(container: Container, *, pause: bool) -> Iterator[None]:
    """Nothing in the container runs meanwhile."""
    group = _freezable(container) if pause else None
    if group is None:
        yield
        return
    group.freeze(True)
    try:
        yield
    finally:
        group.freeze(False)


def _freezable(container: Container) -> Cgroup | None:
    if not container.state.running or container.state.paused:
        return None
    from imagetool.runtime import cgroups

    return cgroups.Cgroup(container.record.cgroup) if cgroups.version() else None
