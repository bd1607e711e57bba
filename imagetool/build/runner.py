"""Carrying out a RUN: its command as the first process of a container on a step's root.

The container is like one of `run`, but for three things: it has no cgroup, so its /dev takes no nodes besides those
that everybody has; its network is shared by the RUN steps of a stage; and it ends with the build.
"""

from __future__ import annotations

import json
import os
import platform
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from imagetool.build import owners
from imagetool.build.command import Command
from imagetool.build.usernetwork import network_of
from imagetool.containers import executors, prepare, rootless
from imagetool.errors import ImageToolError
from imagetool.runtime import capabilities, linux, plan, ports, seccomp, seccomp_default
from imagetool.runtime.base import Container, Stdio
from imagetool.runtime.network import host_resolv_conf
from imagetool.runtime.options import ImageDefaults, RunOptions
from imagetool.store.store import Store

HOSTNAME = "build"
"""Always the same: a name that changes would get into files."""

_CHUNK = 1 << 16

Sink = Callable[[bytes], None]


class Runner:
    """For the RUN steps of one stage. `directory` gives new empty directories."""

    def __init__(self, store: Store, directory: Callable[[], str]) -> None:
        self._directory = directory
        self._executor = executors.choose(store, "")
        self._network = network_of()
        self._lock = threading.Lock()
        self._running: Container | None = None
        self._killed = False
        self._notes: list[str] = []  # in the order in which they came, and as often
        self._said: set[str] = set()

    @staticmethod
    def new_name() -> str:
        """What a container is shown as."""
        return os.urandom(6).hex()

    def prepare_network(self) -> None:
        """Starts what takes time before a command with a network can."""
        self._network.prepare()

    def run(self, root: str, command: Command, sink: Sink) -> int:
        """The exit code, as a shell has it; output goes to `sink` as it comes. ImageToolError: it did not run."""
        reader, writer = os.pipe()
        try:
            container = self._create(root, command, Stdio(-1, writer, writer), terminal=False)
        except BaseException:
            os.close(reader)
            raise
        finally:
            os.close(writer)
        for note in self._new_notes():
            sink(f"WARNING: {note}\n".encode())
        with open(reader, "rb", buffering=0) as output:
            return self._follow(container, lambda: _drain(output.fileno(), sink))

    def shell(self, root: str, command: Command) -> int:
        """A shell instead, on the caller's terminal or with its standard streams."""
        terminal = os.isatty(0) and os.isatty(1)
        asked = command._replace(argv=("/bin/sh",))
        container = self._create(root, asked, Stdio(0, 1, 2), terminal=terminal)

        def talk() -> None:
            if container.console is not None:
                from imagetool.runtime.terminal import interact

                interact(container.console, 0, 1, "")
                os.close(container.console)
                container.console = None

        return self._follow(container, talk)

    def kill(self) -> None:
        """Ends what runs now, and whatever would be started. From any thread."""
        with self._lock:
            self._killed = True
            if self._running is not None:
                self._running.signal(9)

    def close(self) -> None:
        with suppress(ImageToolError, OSError):
            self._network.close()

    def _follow(self, container: Container, talk: Callable[[], None]) -> int:
        with self._lock:
            self._running = container
            killed = self._killed
        try:
            if killed:
                raise ImageToolError("the build was given up")
            container.start()
            talk()
            return container.wait()
        except BaseException:
            container.abandon()
            raise
        finally:
            with self._lock:
                self._running = None

    def _new_notes(self) -> list[str]:
        found = [note for note in dict.fromkeys(self._notes) if note not in self._said]
        self._said.update(found)
        return found

    def _create(self, root: str, command: Command, stdio: Stdio, *, terminal: bool) -> Container:
        directory = self._directory()
        network = self._network.path() if command.network == "default" else command.network
        address = self._network.address if command.network == "default" else ""
        servers = self._network.servers if command.network == "default" else ()
        _write_files(directory, address, servers, own=command.network != "host")
        spec, notes = _plan(root, command, network, directory, terminal=terminal)
        self._notes += [*self._network.notes, *notes]
        with open(f"{directory}/config.json", "w") as file:
            json.dump(spec, file)
        return self._executor.create(Path(directory), os.path.basename(directory), stdio)


def _plan(root: str, command: Command, network: str, directory: str, *, terminal: bool) -> plan.Plan:
    options = RunOptions(
        command=command.argv, entrypoint=(), env=tuple(f"{k}={v}" for k, v in command.env.items()),
        workdir=command.workdir, hostname=HOSTNAME, tty=terminal, privileged=command.insecure,
        mounts=command.mounts, network=network,
    )  # fmt: skip
    available = linux.bounding_set()
    granted = capabilities.granted((), (), privileged=command.insecure, available=available)
    host = plan.Host(
        HOSTNAME,
        rootless=rootless.active(),
        single_id=owners.are_noted(),
        capabilities=available,
        files={f"/etc/{name}": f"{directory}/{name}" for name in ("hosts", "hostname", "resolv.conf")},
        seccomp=seccomp_default.profile(granted, platform.machine()) if seccomp.available() else None,
    )
    user = prepare.user_of(command.user, root)
    spec, notes = plan.plan(options, ImageDefaults(), user, host, rootfs=root)
    spec["annotations"]["imagetool.ends-with"] = "caller"
    if not command.insecure:
        dev = next(mount for mount in spec["mounts"] if mount["destination"] == "/dev")
        dev["options"].append("nodev")  # its devices are mounts of their own
    return plan.Plan(spec, notes if host.rootless else ())


def _write_files(directory: str, address: str, servers: tuple[str, ...], *, own: bool) -> None:
    texts = {
        "hosts": ports.hosts_file(address, HOSTNAME, {}),
        "hostname": f"{HOSTNAME}\n",
        "resolv.conf": ports.resolv_conf(host_resolv_conf(), own_network=own, servers=servers),
    }
    for name, text in texts.items():
        with open(f"{directory}/{name}", "w") as file:
            os.fchmod(file.fileno(), 0o644)
            file.write(text)


def _drain(fd: int, sink: Sink) -> None:
    while data := os.read(fd, _CHUNK):
        sink(data)
