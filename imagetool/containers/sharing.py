"""`--network container:NAME` and `--pid container:NAME`: a container in namespaces of another one that runs."""

from __future__ import annotations

import os

from imagetool.containers import folder
from imagetool.containers.folder import Container
from imagetool.containers.record import Record
from imagetool.errors import Conflict, NotFound, UsageError
from imagetool.runtime.options import RunOptions
from imagetool.store.store import Store

PREFIX = "container:"


def resolved(store: Store, text: str) -> str:
    """The option with the other one's full ID for its name; what names no container stays. NotFound, UsageError."""
    if not text.startswith(PREFIX):
        return text
    if os.geteuid() != 0:  # each of a user's containers has a user namespace that the others may not enter
        raise UsageError(f"{text}: containers share namespaces for root only", hint="run both as root")
    return PREFIX + folder.find(store, text.removeprefix(PREFIX)).id


def network_of(store: Store, record: Record) -> Container | None:
    """Whose network a container is to be in; None: its own, or the host's. Conflict unless that one runs."""
    return _running(store, record.options.network, "network")


def joined(store: Store, record: Record) -> RunOptions:
    """The options of a start: paths of the namespaces, and the host name of whose network it is."""
    options = record.options
    other = network_of(store, record)
    if other is not None:
        hostname = other.record.options.hostname or other.id[:12]
        options = options._replace(network=f"/proc/{other.state.pid}/ns/net", hostname=hostname)
    other = _running(store, options.pid, "PID namespace")
    return options._replace(pid=f"/proc/{other.state.pid}/ns/pid") if other is not None else options


def _running(store: Store, text: str, what: str) -> Container | None:
    if not text.startswith(PREFIX):
        return None
    found = folder.load(store, text.removeprefix(PREFIX))
    if found is None:
        raise NotFound(f"cannot join the {what} of {text}: there is no such container any more")
    if not found.state.running:
        raise Conflict(
            f"cannot join the {what} of a container that does not run: {found.name}", hint="start it"
        )
    return found
