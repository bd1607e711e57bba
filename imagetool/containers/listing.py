"""PURE: the rows of `ps`, and its filters. The words and columns are Docker's."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from imagetool.containers.folder import Container
from imagetool.containers.state import State
from imagetool.errors import UsageError
from imagetool.units import age_text, size_text
from unionfs.annotations import Any

TITLES = {
    "ID": "CONTAINER ID", "Image": "IMAGE", "Command": "COMMAND", "CreatedAt": "CREATED AT",
    "RunningFor": "CREATED", "Status": "STATUS", "State": "STATE", "Ports": "PORTS", "Names": "NAMES",
    "Size": "SIZE", "Labels": "LABELS", "Networks": "NETWORKS", "Mounts": "MOUNTS",
}  # fmt: skip
COLUMNS = ("ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names")
_COMMAND_WIDTH = 20
_KEYS = ("id", "name", "label", "status", "exited", "ancestor", "network", "publish", "expose", "volume", "before",
           "since")  # fmt: skip
_STATES = ("created", "restarting", "running", "removing", "paused", "exited", "dead")

Filter = Callable[[Container], bool]


def status(container: Container, now: float) -> str:
    """`Up 4 minutes`, `Exited (0) 9 seconds ago`, `Created`."""
    state = container.state
    if state.status == "running":
        up = f"Up {age_text(max(0.0, now - state.started_at))}"
        return f"{up} (Paused)" if state.paused else up
    if state.status == "created":
        return "Created"
    since = f" {age_text(max(0.0, now - state.finished_at))} ago" if state.finished_at else ""
    if state.status == "restarting":
        return f"Restarting ({state.exit_code}){since}"
    return f"Exited ({state.exit_code}){since}"


def state_word(state: State) -> str:
    """`running`, `paused`, `exited`, …"""
    return "paused" if state.paused else state.status


def ports(container: Container) -> str:
    """`0.0.0.0:8080->80/tcp`; what is only exposed is named as well, while it runs."""
    if not container.state.running:
        return ""
    shown = [f"{ip}:{host}->{inside}/{kind}" for ip, host, inside, kind in container.state.ports]
    published = {f"{inside}/{kind}" for _, _, inside, kind in container.state.ports}
    return ", ".join([*shown, *(port for port in container.record.exposed if port not in published)])


def fields(
    container: Container, *, full: bool, now: float, image: str, sizes: tuple[int, int] | None = None
) -> dict[str, Any]:
    """What a template can ask of a row. `sizes`: of the RW layer, and of the image."""
    record = container.record
    text = " ".join(container.record.command)
    if not full and len(text) > _COMMAND_WIDTH:
        text = text[: _COMMAND_WIDTH - 1] + "…"
    local = time.localtime(record.created)
    return {
        "ID": record.id if full else record.id[:12],
        "Image": image,
        "Command": f'"{text}"',
        "CreatedAt": time.strftime("%Y-%m-%d %H:%M:%S %z %Z", local),
        "RunningFor": f"{age_text(max(0.0, now - record.created))} ago",
        "Status": status(container, now),
        "State": state_word(container.state),
        "Ports": ports(container),
        "Names": record.name,
        "Size": "" if sizes is None else f"{size_text(sizes[0])} (virtual {size_text(sum(sizes))})",
        "Labels": ",".join(f"{key}={value}" for key, value in record.labels.items()),
        "Networks": record.options.network,
        "Mounts": ",".join(m.source for m in record.options.mounts if m.kind != "tmpfs"),
    }


def parse_filters(texts: Iterable[str], created: Callable[[str], float]) -> Filter:
    """`created` tells when a container was made. Of one kind any has to hold (of labels all), of several kinds each."""
    wanted: dict[str, list[str]] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or key not in _KEYS:
            raise UsageError(
                f"invalid filter {text!r}", hint=f"write KEY=VALUE, KEY one of {', '.join(_KEYS)}"
            )
        wanted.setdefault(key, []).append(value)
    times = {value: created(value) for key in ("before", "since") for value in wanted.get(key, ())}
    if not all(value.isdigit() for value in wanted.get("exited", ())):
        raise UsageError("the filter exited= takes an exit code")
    if not all(value in _STATES for value in wanted.get("status", ())):
        raise UsageError("the filter status= takes a state", hint=", ".join(_STATES))
    meant = {value: _ports_of(value) for key in ("publish", "expose") for value in wanted.get(key, ())}

    def keeps(container: Container) -> bool:
        return all(
            (all if key == "label" else any)(_holds(container, key, value, times, meant) for value in values)
            for key, values in wanted.items()
        )

    return keeps


def _holds(
    container: Container, key: str, value: str, times: Mapping[str, float], ports: Mapping[str, set[str]]
) -> bool:
    record, state = container.record, container.state
    match key:
        case "id":
            return record.id.startswith(value)
        case "name":
            return _matches(value, record.name) or _matches(value, f"/{record.name}")
        case "status":
            return state_word(state) == value
        case "exited":
            return state.status == "exited" and state.exit_code == int(value)
        case "network":
            return record.options.network == value
        case "before":
            return record.created < times[value]
        case "since":
            return record.created > times[value]
        case "publish":
            return any(f"{port.container}/{port.protocol}" in ports[value] for port in record.ports)
        case "expose":
            return not ports[value].isdisjoint(record.exposed)
        case "volume":
            return any(value in (m.source, m.target) for m in record.options.mounts if m.kind != "tmpfs")
        case "label":
            name, equals, text = value.partition("=")
            return name in record.labels and (not equals or record.labels[name] == text)
    return value in (record.image, record.image_id, record.image.partition(":")[0]) or (
        len(value) >= 4 and record.image_id.removeprefix("sha256:").startswith(value)
    )


def _matches(pattern: str, name: str) -> bool:
    """Anywhere in it, as a regular expression where it is one."""
    try:
        return re.search(pattern, name) is not None
    except re.error:
        return pattern in name


def _ports_of(text: str) -> set[str]:
    """Ports of containers, as in 80, 53/udp or 8000-8080. UsageError."""
    from imagetool.runtime import ports

    return {f"{port.container}/{port.protocol}" for port in ports.parse(text)}


def image_names(containers: Sequence[Container], current: Mapping[str, str | None]) -> dict[str, str]:
    """Container ID -> what its IMAGE column shows: the name it was made with while that still is its image.

    `current`: asked name -> image ID that it means now.
    """
    return {
        one.id: one.record.image
        if current.get(one.record.image) == one.record.image_id
        else one.record.image_id.removeprefix("sha256:")[:12]
        for one in containers
    }
