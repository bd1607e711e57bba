"""What a container was made with: one frozen value, and its form in container.json."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from imagetool.errors import StoreError, UsageError
from imagetool.runtime.devices import Device
from imagetool.runtime.options import ImageDefaults, Mount, Resources, RunOptions
from imagetool.runtime.ports import Port
from imagetool.store import disk
from unionfs.annotations import Any
from unionfs.namedtuple import NamedTuple

FILE = "container.json"
HOST_GATEWAY = "host-gateway"  # Docker's word for the address of this machine
STOP_SECONDS = 10


class Restart(NamedTuple):
    """`--restart`: when, and how often at most (0: without end)."""

    when: str = "no"  # "no", "on-failure" or "always"
    most: int = 0

    @staticmethod
    def parse(text: str) -> Restart:
        when, colon, number = text.partition(":")
        when = "always" if when == "unless-stopped" else when
        if when not in ("no", "on-failure", "always") or (colon and when != "on-failure"):
            raise UsageError(f"invalid restart policy {text!r}", hint="no, on-failure[:N] or always")
        if colon and not (number.isascii() and number.isdigit()):
            raise UsageError(f"invalid restart policy {text!r}", hint="on-failure:3 tries three times")
        return Restart(when, int(number or 0))

    def wants(self, code: int, tries: int) -> bool:
        """Whether to start again after an end with `code`, having done so `tries` times."""
        if self.when == "on-failure":
            return code != 0 and (not self.most or tries < self.most)
        return self.when == "always"


class Record(NamedTuple):
    """A container. `image` is what was asked for; `options.hostname` and the like are "" where nobody chose."""

    id: str
    name: str
    image: str
    image_id: str
    manifest: str
    media_type: str
    size: int  # of the manifest
    created: float  # seconds since 1970
    options: RunOptions
    defaults: ImageDefaults
    ports: tuple[Port, ...] = ()
    exposed: tuple[str, ...] = ()
    labels: Mapping[str, str] = {}
    interactive: bool = False  # its standard input stays open
    once: bool = False  # ... until the first who typed has gone
    remove: bool = False
    restart: Restart = Restart()
    stop_signal: str = ""
    stop_timeout: int = STOP_SECONDS  # until SIGKILL; -1: never
    runtime: str = ""
    top: str = "auto"
    volumes: tuple[str, ...] = ()  # the unnamed ones that were made for it
    hosts: tuple[tuple[str, str], ...] = ()  # name, address: further lines of /etc/hosts
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()  # further ones, as they were given
    layer_size: int = 0  # bytes that the RW layer may take; 0: what there is
    rootless: bool = False  # made by a user: owners of its files are kept in attributes

    @property
    def cgroup(self) -> str:
        """Its path, below where controllers are mounted."""
        return f"/imagetool/{self.id}"

    @property
    def command(self) -> tuple[str, ...]:
        """What it executes."""
        asked, image = self.options, self.defaults
        entrypoint = image.entrypoint if asked.entrypoint is None else asked.entrypoint
        words = asked.command or (image.command if asked.entrypoint is None else ())
        return (*(entrypoint if entrypoint != ("",) else ()), *words)

    def to_json(self) -> bytes:
        return json.dumps(self._asdict() | {"options": self.options._asdict()}, indent=1).encode()


def parse(data: bytes) -> Record:
    """Another version's record too: a field that is missing has its default, one that is unknown is passed over.

    Raises ValueError, TypeError, KeyError, IndexError or AttributeError for what is not a record.
    """
    fields = _known(json.loads(data), Record)
    fields["options"] = _options(_known(fields["options"], RunOptions))
    fields["defaults"] = ImageDefaults(*map(_frozen, fields["defaults"]))
    for name, make in _MAKERS.items():
        if name in fields:
            fields[name] = make(fields[name])
    return Record(**fields)


def _known(fields: dict[str, Any], kind: type[Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name in kind._fields}


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def _options(fields: dict[str, Any]) -> RunOptions:
    asked = {name: _frozen(value) for name, value in fields.items()}
    for name, make in _OPTION_MAKERS.items():
        if name in asked:
            asked[name] = make(asked[name])
    return RunOptions(**asked)


_MAKERS: dict[str, Callable[[Any], Any]] = {
    "ports": lambda rows: tuple(Port(*row) for row in rows),
    "restart": lambda row: Restart(*row),
    **dict.fromkeys(("exposed", "volumes", "hosts", "dns", "dns_search", "dns_options", "groups"), _frozen),
}
_OPTION_MAKERS: dict[str, Callable[[Any], Any]] = {
    "mounts": lambda rows: tuple(Mount(*row) for row in rows),
    "resources": lambda row: Resources(*row),
    "devices": lambda rows: tuple(Device(*row) for row in rows),
}


def load(directory: str) -> Record | None:
    """The record of a container's directory; None where there is none. StoreError for one that is damaged."""
    try:
        with open(f"{directory}/{FILE}", "rb") as file:
            return parse(file.read())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise StoreError(f"{directory}/{FILE} is damaged: {error!r}", hint="remove the directory") from error


def save(directory: str, record: Record) -> None:
    """Durably, all or nothing. Only under the container's lock."""
    with disk.errors("cannot record the container"):
        temporary = f"{directory}/{FILE}.new"
        disk.unlink(temporary)
        disk.publish(record.to_json(), f"{directory}/{FILE}", temporary)
