"""Which containers use which volumes, and what may go therefore. The words are Docker's."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from imagetool.containers import folder, volumes
from imagetool.containers.volumes import Volume
from imagetool.errors import Conflict, UsageError
from imagetool.store.store import Store

KEYS = ("dangling", "driver", "label", "name")
_TRUTH = {"true": True, "1": True, "false": False, "0": False}

Filter = Callable[[Volume], bool]


def remove(store: Store, name: str, *, force: bool) -> None:
    """Conflict while a container has it. NotFound, unless forced, when it is not there."""
    with folder.naming(store):
        users = folder.volume_users(store).get(name)
        if users:
            raise Conflict(
                f"remove {name}: volume is in use - [{', '.join(users)}]",
                hint="remove these containers first",
            )
        if not force:
            volumes.find(store, name)
        volumes.remove(store, name)


def prune(store: Store, *, everything: bool, keeps: Filter) -> tuple[list[str], int]:
    """Removes unnamed volumes (or all) that no container has and the filter wants; their names and bytes."""
    gone, freed = [], 0
    for volume in volumes.listing(store):
        if (everything or volume.unnamed) and keeps(volume):
            size = volumes.size(volume)
            try:
                remove(store, volume.name, force=True)
            except Conflict:
                continue
            freed += size
            gone.append(volume.name)
    return gone, freed


def parse_filters(store: Store, texts: Iterable[str], keys: tuple[str, ...] = KEYS) -> Filter:
    """Of one kind any has to hold (of labels all), of several kinds each. UsageError."""
    wanted: dict[str, list[str]] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or key not in keys or (key == "dangling" and value not in _TRUTH):
            raise UsageError(
                f"invalid filter {text!r}", hint=f"write KEY=VALUE, KEY one of {', '.join(keys)}"
            )
        wanted.setdefault(key, []).append(value)
    used = folder.volume_users(store) if "dangling" in wanted else {}

    def holds(volume: Volume, key: str, value: str) -> bool:
        match key:
            case "dangling":
                return (volume.name not in used) == _TRUTH[value]
            case "driver":
                return value == "local"
            case "name":
                return value in volume.name
        name, equals, text = value.partition("=")
        return name in volume.labels and (not equals or volume.labels[name] == text)

    return lambda volume: all(
        (all if key == "label" else any)(holds(volume, key, value) for value in values)
        for key, values in wanted.items()
    )
