"""The bridge that containers share: an address, a link, names; and nothing of it after the last one.

Rights: CAP_NET_ADMIN in the network namespace of the bridge. A network for the unprivileged is in `usernet`.
"""

from __future__ import annotations

import json
import os
import subprocess
from contextlib import suppress
from types import TracebackType

from imagetool.runtime import leases
from imagetool.runtime.errors import NetworkError
from imagetool.runtime.leases import Lease
from unionfs import interpreter
from unionfs.annotations import IO, Any, cast

BRIDGE = "imagetool0"
SUBNET = "10.213.0.0/16"
_LINK_PREFIX = "it-"  # with eleven digits of the ID it fills IFNAMSIZ, 15


class Netlink:
    """The helper program. Start it early: its imports then overlap with the rest of a container's start."""

    def __init__(self) -> None:
        self.notes: list[str] = []  # what a container will miss, for its user
        self._begun: list[str] = []  # what nobody has heard the answer to
        self._start()

    def _start(self) -> None:
        self._process = subprocess.Popen(
            interpreter.command("imagetool.runtime.netlink"), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, env=interpreter.environment(),
        )  # fmt: skip
        self._in, self._out = cast("IO[str]", self._process.stdin), cast("IO[str]", self._process.stdout)
        self._errors = cast("IO[str]", self._process.stderr)

    def __enter__(self) -> Netlink:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        self._process.wait()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def descriptors(self) -> tuple[int, ...]:
        return tuple(end.fileno() for end in (self._in, self._out, self._errors))

    def close(self) -> None:
        """The helper is left to whoever has the same descriptors, else it goes."""
        for end in (self._in, self._out, self._errors):
            with suppress(BrokenPipeError):
                end.close()

    def begin(self, operation: str, **request: Any) -> None:
        """Asks, and leaves the answer to the next who does."""
        with suppress(BrokenPipeError):  # he will hear of it
            self._say(operation, request)
        self._begun.append(operation)

    def ask(self, operation: str, **request: Any) -> None:
        self.hear()
        self.begin(operation, **request)
        self.hear()

    def hear(self) -> None:
        """Waits for all that has begun. NetworkError."""
        while self._begun:
            self._hear(self._begun.pop(0))

    def _hear(self, operation: str) -> None:
        answer = self._out.readline()
        if not answer:
            last = (self._errors.read().strip().splitlines() or ["it ended without a word"])[-1]
            raise NetworkError(f"the network helper failed: {last}", hint="is pyroute2 installed?")
        told = json.loads(answer)
        text = told.get("error")
        self.notes += [told["note"]] if "note" in told else []
        if text:
            raise NetworkError(f"cannot {operation} the container's network: {text}")

    def leave(self, operation: str, **request: Any) -> None:
        """The last thing that is asked, without waiting: the helper goes on by itself, and then goes.

        One that was killed before is started anew.
        """
        try:
            self._say(operation, request)
        except BrokenPipeError:
            self.__exit__(None, None, None)
            self._start()
            self._say(operation, request)
        self.close()

    def _say(self, operation: str, request: dict[str, Any]) -> None:
        self._in.write(json.dumps({"operation": operation} | request) + "\n")
        self._in.flush()


def early(network: str) -> Netlink | None:
    """The helper, for a container that will want it: its imports then cost no time."""
    return Netlink() if network == "bridge" and os.geteuid() == 0 else None


class Bridge:
    """The bridge network; `state` is a directory that does not outlive a boot, such as /run/imagetool/network."""

    def __init__(self, state: str | os.PathLike[str], *, name: str = BRIDGE, subnet: str = SUBNET) -> None:
        self.state, self.name, self.subnet = os.fspath(state), name, subnet
        self._prefix = _LINK_PREFIX if name == BRIDGE else f"{name}-"

    def reserve(self, netlink: Netlink, container_id: str, pid: int, names: tuple[str, ...] = ()) -> None:
        """An address and the bridge, for as long as `pid` lives or until it leaves. `connect` waits for them."""
        netlink.begin(
            "prepare", state=self.state, container=container_id, pid=pid, names=names, bridge=self.name,
            subnet=self.subnet,
        )  # fmt: skip

    def connect(self, netlink: Netlink, container_id: str, pid: int, names: tuple[str, ...] = ()) -> Lease:
        """Give the network namespace of `pid` an address, the reserved one if there is one, and a way out.

        NetworkError leaves no trace but what was reserved.
        """
        netlink.hear()  # whoever prepares wants the lock
        with leases.locked(self.state) as table:
            netlink.ask("sweep", prefix=self._prefix, keep=[self._link(c) for c in table])
            reserved = table.get(container_id)
            address = reserved.address if reserved else leases.choose(self.subnet, table)
            lease = Lease(address, pid, leases.started(pid), names)
            netlink.ask(
                "connect", bridge=self.name, subnet=self.subnet, address=lease.address,
                link=self._link(container_id), pid=pid,
            )  # fmt: skip
            table[container_id] = lease
        return lease

    def disconnect(self, netlink: Netlink, container_id: str) -> None:
        """Take it away; a container that never was connected is no error."""
        netlink.ask("disconnect", **self._place(container_id, 0))

    def leave(self, netlink: Netlink, container_id: str, pid: int) -> None:
        """Take away what `connect` gave `pid`, some time soon: the kernel needs a while to remove a bridge."""
        netlink.leave("disconnect", **self._place(container_id, pid))

    def _place(self, container_id: str, pid: int) -> dict[str, Any]:
        link = self._link(container_id)
        return {
            "state": self.state, "container": container_id, "pid": pid, "link": link, "bridge": self.name
        }  # fmt: skip

    def names(self) -> dict[str, str]:
        """Name -> address of every container that is connected."""
        with leases.locked(self.state) as table:
            return {name: lease.address for lease in table.values() for name in lease.names}

    def _link(self, container_id: str) -> str:
        return (self._prefix + container_id)[:15]


def host_resolv_conf() -> str:
    """The host's list of name servers: systemd-resolved's own, where /etc has only its stub."""
    for path in ("/run/systemd/resolve/resolv.conf", "/etc/resolv.conf"):
        if os.path.exists(path):
            with open(path, errors="replace") as file:
                return file.read()
    return ""
