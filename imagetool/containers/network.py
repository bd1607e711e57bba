"""The network of one start of a container: its place on the bridge, and its published ports."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Sequence
from contextlib import suppress

from imagetool.containers import remains, rootless
from imagetool.containers.descriptors import close_others
from imagetool.containers.record import Record
from imagetool.runtime import linux, usernet
from imagetool.runtime.errors import NetworkError
from imagetool.runtime.network import Bridge, Netlink, early
from imagetool.runtime.ports import Port
from unionfs.annotations import NoReturn

_PR_SET_PDEATHSIG = 1
_ALONE = "no network but the container's own loopback"


class Network:
    """Nothing at all unless the network is the bridge. `helper` is one that has been started early."""

    def __init__(self, record: Record, helper: Netlink | None = None) -> None:
        self._record = record
        self._bridged = record.options.network == "bridge"
        self._netlink = helper or early(record.options.network)
        self._forwarder: _Forwarder | None = None
        self._pid = 0  # whose lease there is
        self.address = ""
        self.ports: tuple[Port, ...] = ()
        self.notes: list[str] = []
        if self._netlink is not None:
            self._pid = os.getpid()
            self._bridge.reserve(self._netlink, record.id, self._pid, (record.name,))

    @property
    def _bridge(self) -> Bridge:
        return Bridge(remains.NETWORK_STATE)

    def connect(self, pid: int) -> None:
        """An address for the namespace of `pid`, and its ports. NetworkError: `disconnect` is to come all the same."""
        if not self._bridged:
            return
        assert self._netlink is not None
        forwarder = _Forwarder(self._record.ports) if self._record.ports else None
        try:
            name = self._record.name
            lease = self._bridge.connect(self._netlink, self._record.id, pid, (name,))
        except BaseException:
            if forwarder:
                forwarder.end()
            raise
        self._pid, self.address, self.notes = pid, lease.address, self._netlink.notes
        if forwarder:
            self._forwarder, self.ports = forwarder, forwarder.ports
            forwarder.serve(self.address)

    def rest(self) -> None:
        """The helper goes; another one comes when the container ends."""
        if self._netlink is not None:
            self._netlink.__exit__(None, None, None)
            self._netlink = None

    def disconnect(self) -> None:
        """The ports are free at once; nobody has to wait for the kernel to take the links away."""
        if self._forwarder:
            self._forwarder.end()
            self._forwarder = None
        if self._pid:
            helper, self._netlink = self._netlink or Netlink(), None
            self._bridge.leave(helper, self._record.id, self._pid)
            self._pid, self.address = 0, ""
        self.rest()


class UserNetwork(Network):
    """For who may not make links: pasta or slirp4netns, in user space; without them there is the loopback only."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._link: usernet.UserNet | None = None
        self._forwarder: _Forwarder | None = None
        self.address = ""
        self.ports: tuple[Port, ...] = ()
        self.notes: list[str] = []

    def connect(self, pid: int) -> None:
        if self._record.options.network != "bridge" or self._record.options.isolation == "chroot":
            return
        if not usernet.available() and not self._record.ports:
            self.notes = [f"{_ALONE}: neither pasta nor slirp4netns is installed ({usernet.HINT})"]
            return
        forwarder = _Forwarder(self._record.ports) if self._record.ports else None
        try:
            self._link = usernet.connect(pid)
        except NetworkError as error:
            if forwarder:
                forwarder.end()
                raise
            self.notes = [f"{_ALONE}: {error}"]
            return
        self.address = usernet.ADDRESS
        if forwarder:
            self._forwarder, self.ports = forwarder, forwarder.ports
            forwarder.serve(self.address, f"/proc/{pid}/ns/net")

    def rest(self) -> None:
        """There is no helper that could rest."""

    def disconnect(self) -> None:
        if self._forwarder:
            self._forwarder.end()
            self._forwarder = None
        if self._link:
            self._link.close()
            self._link = None
        self.address = ""


def network_of(record: Record, helper: Netlink | None = None) -> Network:
    """What this process can give to a container."""
    return UserNetwork(record) if rootless.active() else Network(record, helper)


class _Forwarder:
    """A process that listens on published ports; it ends with its parent. NetworkError: there is none."""

    def __init__(self, wanted: Sequence[Port]) -> None:
        ours, theirs = socket.socketpair()
        self._pid = os.fork()
        if self._pid == 0:
            ours.close()
            _forward(wanted, theirs)
        theirs.close()
        self._channel = ours.makefile("rw")
        ours.close()
        told = json.loads(self._channel.readline() or '{"error": "the port forwarder ended without a word"}')
        if "error" in told:
            self.end()
            raise NetworkError(told["error"])
        self.ports = tuple(Port(*row) for row in told["ports"])

    def serve(self, address: str, namespace: str = "") -> None:
        """Connections are made in the network `namespace`, "" being our own."""
        self._channel.write(f"{address} {namespace}\n")
        self._channel.flush()

    def end(self) -> None:
        with suppress(OSError):
            self._channel.close()
        with suppress(ProcessLookupError, ChildProcessError):
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)


def _forward(wanted: Sequence[Port], channel: socket.socket) -> NoReturn:
    """In the process: trio comes in here, and not into the monitor."""
    try:
        linux.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        close_others(channel.fileno())  # the container's lock, the clients, the way to the network helper
        import trio

        from imagetool.runtime import proxy

        with channel.makefile("rw") as talk:
            try:
                bound = proxy.bind(wanted)
                told: dict[str, object] = {"ports": [one.port for one in bound]}
            except NetworkError as error:
                told = {"error": str(error)}
            talk.write(json.dumps(told) + "\n")
            talk.flush()
            address, _, namespace = talk.readline().strip().partition(" ")
            if address:
                trio.run(proxy.serve, bound, address, proxy.Inside(namespace) if namespace else None)
    finally:
        os._exit(1)
