"""Stopping, killing and waiting for containers, with their monitor or, where that was killed, without it."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Mapping
from contextlib import suppress

from imagetool.containers import attach, folder, frames, launch, listing, remains
from imagetool.containers import record as records
from imagetool.containers import state as states
from imagetool.containers.attach import MonitorLost
from imagetool.containers.folder import Container
from imagetool.containers.launch import Connection
from imagetool.containers.record import STOP_SECONDS, Record, Restart
from imagetool.errors import Conflict, NotFound
from imagetool.runtime import cgroups, plan, signals
from imagetool.runtime.errors import SandboxError
from imagetool.store.store import Store
from unionfs.annotations import Any

_PATIENCE = 10.0  # seconds for a monitor to start or to see off its container


def start(store: Store, container: Container, *, attached: bool = False) -> tuple[Connection, list[str]]:
    """See `launch.launch`; what a killed monitor has left is cleared away first. Conflict when it runs."""
    found = _settled(store, container.id)
    if found is None:
        raise NotFound(f"No such container: {container.name}")
    if found.watched or _lives(found):
        raise Conflict(f"container {container.name} is running already")
    with folder.holding(container):
        remains.clear(store, container.record)
    return launch.launch(store, container.record, attached=attached)


def connect(container: Container) -> Connection | None:
    """The monitor's ear; None when there is none."""
    try:
        return Connection(frames.connect(container.directory))
    except OSError:
        return None


def stop(container: Container, *, seconds: float | None, number: int | None = None) -> None:
    """The stop signal, and SIGKILL after `seconds` (None: never); no restart follows. It is over when this returns."""
    chosen = number or signals.number(container.record.stop_signal or "SIGTERM")
    _thaw(container)
    connection = connect(container)
    if connection is None:
        _end_alone(container, chosen, seconds)
        return
    try:
        connection.send(frames.STOP, str(chosen).encode())
        if seconds is not None and not _hears(connection, seconds):
            connection.send(frames.STOP, str(int(signal.SIGKILL)).encode())
        attach.wait(connection)
    except MonitorLost:
        _end_alone(container, chosen, seconds)
    finally:
        connection.close()


def patience(container: Container, asked: int | None) -> float | None:
    """Seconds that `stop` waits: as it is asked to, else as the container was made to want; None: for ever."""
    seconds = container.record.stop_timeout if asked is None else asked
    return seconds if seconds >= 0 else None


def kill(container: Container, number: int) -> None:
    """Conflict unless it runs."""
    if not container.state.running:
        text = f"cannot kill container: {container.name}: container {container.id} is not running"
        raise Conflict(text)
    if number == signal.SIGKILL:
        _thaw(container)  # else it would die only then
    connection = connect(container)
    if connection is None:
        _signal_alone(container, number)
        return
    try:
        final = number == signal.SIGKILL
        connection.send(frames.STOP if final else frames.SIGNAL, str(number).encode())
        if final:
            attach.wait(connection)
    except MonitorLost:
        _end_alone(container, number, 0)
    finally:
        connection.close()


def pause(container: Container, *, paused: bool) -> None:
    """Conflict unless it runs and is not so already; SandboxError where there are no cgroups."""
    if not container.state.running:
        raise Conflict(f"container {container.id} is not running")
    if container.state.paused == paused:
        raise Conflict(f"container {container.id} is {'already' if paused else 'not'} paused")
    if not cgroups.version():
        raise SandboxError("no container can be paused: no cgroup may be made here")
    cgroups.Cgroup(container.record.cgroup).freeze(paused)


def update(store: Store, container: Container, limits: Mapping[str, Any], restart: Restart | None) -> None:
    """Other limits (fields of `Resources`), also of one that runs, and another restart policy. Conflict."""
    if restart is not None and restart.when != "no" and container.record.remove:
        raise Conflict("a container that is removed at its end cannot be restarted")
    resources = container.record.options.resources._replace(**limits)
    if limits and container.state.running and cgroups.version():
        cgroups.Cgroup(container.record.cgroup).change(plan.limits(resources))

    def edit(found: Record) -> Record:
        options = found.options._replace(resources=resources)
        return found._replace(options=options, restart=restart or found.restart)

    folder.change(store, container, edit)


def members(container: Container) -> list[int]:
    """The processes of a running container, by their ids on this machine."""
    if cgroups.version():
        return cgroups.Cgroup(container.record.cgroup).pids()
    if container.record.options.isolation == "chroot":  # they cannot be told from others
        return [container.state.pid]
    found = []
    with suppress(OSError):
        own = os.readlink(f"/proc/{container.state.pid}/ns/pid")
        for name in filter(str.isdigit, os.listdir("/proc")):
            with suppress(OSError):
                if os.readlink(f"/proc/{name}/ns/pid") == own:
                    found.append(int(name))
    return found


def wait(container: Container) -> int:
    """The exit code of its end, which may be past. NotFound: it has been removed, and nobody knows it any more."""
    connection = connect(container) if container.watched else None
    if connection is not None:
        try:
            return attach.wait(connection)
        except MonitorLost:  # one that was just leaving has written down the end
            pass
        finally:
            connection.close()
    while container.state.running and states.is_alive(container.state.pid, container.state.started):
        time.sleep(0.05)
    code = states.seen(container.directory, watched=False).exit_code
    if records.load(container.directory) is None:  # which goes first: the code may be that of no state
        raise NotFound(f"No such container: {container.name}", hint="it has just been removed")
    return code


def remove(store: Store, container: Container, *, force: bool, volumes: bool = False) -> None:
    """Conflict while it runs, unless forced. `volumes`: the unnamed ones go too, as at an end with --rm."""
    end = time.monotonic() + _PATIENCE
    while (found := _settled(store, container.id)) is not None and _lives(found):
        if not force or time.monotonic() > end:
            status = listing.state_word(found.state)
            text = f"cannot remove container {found.name}: container is {status}"
            raise Conflict(text, hint="stop it first, or use --force")
        stop(found, seconds=None, number=int(signal.SIGKILL))
    if found is None:
        return
    try:
        folder.remove(store, found, volumes=volumes or found.record.remove)
    except NotFound:  # somebody else was quicker
        if not force:
            raise


def _settled(store: Store, container_id: str) -> Container | None:
    """The container when it neither starts nor ends just now, or after some patience; None: it has gone."""
    end = time.monotonic() + _PATIENCE
    while (found := folder.load(store, container_id)) is not None:
        if _lives(found) or not found.watched or time.monotonic() > end:
            break
        time.sleep(0.01)
    return found


def _lives(container: Container) -> bool:
    """Whether it goes on if nobody stops it."""
    state = container.state
    return state.status == "restarting" or (state.running and states.is_alive(state.pid, state.started))


def _thaw(container: Container) -> None:
    if container.state.paused:
        with suppress(OSError):  # it has ended
            cgroups.Cgroup(container.record.cgroup).freeze(False)


def _hears(connection: Connection, seconds: float) -> bool:
    """Whether the end comes in time."""
    poller = select.poll()
    poller.register(connection.fileno(), select.POLLIN)
    return bool(poller.poll(seconds * 1000))


def _end_alone(container: Container, number: int, seconds: float | None) -> None:
    _signal_alone(container, number)
    end = time.monotonic() + (STOP_SECONDS if seconds is None else seconds)
    while states.is_alive(container.state.pid, container.state.started):
        if time.monotonic() > end:
            _signal_alone(container, signal.SIGKILL)
        time.sleep(0.01)
    if cgroups.version():
        cgroups.Cgroup(container.record.cgroup).kill()


def _signal_alone(container: Container, number: int) -> None:
    """To that very process: the descriptor is taken before it is looked at."""
    if not container.state.pid:
        return
    with suppress(ProcessLookupError):
        fd = os.pidfd_open(container.state.pid)
        try:
            if states.is_alive(container.state.pid, container.state.started):
                signal.pidfd_send_signal(fd, number)
        finally:
            os.close(fd)
