"""The mounts that `run` and `create` ask for: -v, --mount, --tmpfs, --volumes-from, and the image's own volumes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence

from imagetool.errors import ImageToolError, UsageError
from unionfs.annotations import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from imagetool.runtime.options import Mount
    from imagetool.store.store import Store


def mounts(
    store: Store, given: Mapping[str, Any], image: Sequence[str]
) -> tuple[tuple[Mount, ...], tuple[str, ...]]:
    """All mounts, and the names of the volumes that were made up for them. What is given by name comes first."""
    from imagetool.containers import volumes
    from imagetool.runtime.options import Mount, parse_mount, parse_tmpfs, parse_volume

    asked = [_made(parse_volume(text)) for text in given["volumes"]]
    asked += [parse_mount(text) for text in given["mounts"]]
    asked += [parse_tmpfs(text) for text in given["tmpfs"]]
    asked += _others(asked, _from_containers(store, given["volumes_from"]))
    asked += _others(asked, [Mount("volume", "", path) for path in image])
    unnamed, found = [], []
    for mount in asked:
        if mount.kind == "volume" and not mount.source:
            mount = mount._replace(source=volumes.new_name())
            unnamed.append(mount.source)
        elif mount.kind == "volume":
            volumes.check(mount.source)
        found.append(mount._replace(source=os.path.abspath(mount.source)) if mount.kind == "bind" else mount)
    return tuple(found), tuple(unnamed)


def _others(asked: Sequence[Mount], more: Sequence[Mount]) -> list[Mount]:
    """Those of `more` for whose places nothing is asked; of several for one place the first."""
    taken = {mount.target.rstrip("/") for mount in asked}
    chosen = {mount.target.rstrip("/"): mount for mount in reversed(more)}
    return [mount for target, mount in reversed(chosen.items()) if target not in taken]


def _from_containers(store: Store, texts: Sequence[str]) -> list[Mount]:
    return [mount for text in texts for mount in _from_container(store, text)]


def _from_container(store: Store, text: str) -> Iterator[Mount]:
    """The binds and volumes of another container, as they are there or read-only."""
    from imagetool.containers import folder

    name, _, mode = text.partition(":")
    if mode not in ("", "ro", "rw", "z", "Z") or not name:
        raise UsageError(f"invalid --volumes-from {text!r}", hint="CONTAINER[:ro]")
    for mount in folder.find(store, name).record.options.mounts:
        if mount.kind != "tmpfs":
            yield mount._replace(readonly=mount.readonly or mode == "ro")


def _made(mount: Mount) -> Mount:
    """`-v` makes a directory that is not there, as Docker does; `--mount` refuses."""
    if mount.kind == "bind" and not os.path.lexists(mount.source):
        try:
            os.makedirs(mount.source)
        except OSError as error:
            raise ImageToolError(f"cannot make {mount.source}: {error.strerror}") from error
    return mount
