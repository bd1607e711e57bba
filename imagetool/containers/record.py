"""What a container was made with: one frozen value, and its form in container.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from imagetool.errors import StoreError, UsageError
from imagetool.runtime.devices import Device
from imagetool.runtime.options import ImageDefaults, Mount, Resources, RunOptions
from imagetool.runtime.ports import Port
from imagetool.store import disk

FILE = "container.json"
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

    def to_json(self) -> bytes:
        return json.dumps(self._asdict(), indent=1).encode()


def parse(data: bytes) -> Record:
    """Raises ValueError, TypeError or KeyError for what is not a record."""
    fields: dict[str, Any] = json.loads(data)
    asked = dict(zip(RunOptions._fields, fields["options"], strict=True))
    asked = {key: tuple(value) if isinstance(value, list) else value for key, value in asked.items()}
    asked |= {
        "mounts": tuple(Mount(row[0], row[1], row[2], row[3], tuple(row[4])) for row in asked["mounts"]),
        "resources": Resources(*asked["resources"]),
        "ulimits": tuple((row[0], row[1], row[2]) for row in asked["ulimits"]),
        "sysctls": tuple((row[0], row[1]) for row in asked["sysctls"]),
        "devices": tuple(Device(*row) for row in asked["devices"]),
    }
    image: list[Any] = [tuple(value) if isinstance(value, list) else value for value in fields["defaults"]]
    return Record(
        **fields
        | {
            "options": RunOptions(**asked),
            "defaults": ImageDefaults(*image),
            "ports": tuple(Port(*row) for row in fields["ports"]),
            "exposed": tuple(fields["exposed"]),
            "restart": Restart(*fields["restart"]),
            "volumes": tuple(fields["volumes"]),
            "hosts": tuple((row[0], row[1]) for row in fields["hosts"]),
            "dns": tuple(fields["dns"]),
            "dns_search": tuple(fields["dns_search"]),
            "dns_options": tuple(fields["dns_options"]),
            "groups": tuple(fields["groups"]),
        }
    )


def load(directory: str) -> Record | None:
    """The record of a container's directory; None where there is none. StoreError for one that is damaged."""
    try:
        with open(f"{directory}/{FILE}", "rb") as file:
            return parse(file.read())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, TypeError, KeyError) as error:
        raise StoreError(f"{directory}/{FILE} is damaged: {error!r}", hint="remove the directory") from error


def save(directory: str, record: Record) -> None:
    """Durably, all or nothing. Only under the container's lock."""
    with disk.errors("cannot record the container"):
        temporary = f"{directory}/{FILE}.new"
        disk.unlink(temporary)
        disk.publish(record.to_json(), f"{directory}/{FILE}", temporary)
