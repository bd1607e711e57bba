"""The program that makes and removes links; run by `network` for as long as one request takes.

It is a process of its own because the netlink library is large: a container's monitor need not carry it. It
reads one JSON request a line and answers one line: {}, {"note": …} or {"error": …}.
"""

from __future__ import annotations

import errno
import gc
import json
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing, suppress
from importlib.util import find_spec
from types import ModuleType

from imagetool.runtime import leases, linux
from imagetool.runtime.errors import NetworkError
from unionfs.annotations import IO, Any, cast


def _without_contents(name: str) -> None:
    """The package, with its modules still to be imported: its own __init__ imports all there are, for half a second."""
    spec = find_spec(name)
    if name not in sys.modules and spec is not None and spec.submodule_search_locations is not None:
        sys.modules[name] = module = ModuleType(name)
        module.__path__ = list(spec.submodule_search_locations)


_without_contents("pyroute2")
gc.disable()  # what is imported stays, and what is done here is soon over

# The messages alone: the library's sockets bring asyncio, which takes longer than all that is done here.
from pyroute2.netlink import (  # type: ignore[import-untyped]  # noqa: E402
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REQUEST,
    NLMSG_ERROR,
)
from pyroute2.netlink.rtnl import (  # type: ignore[import-untyped]  # noqa: E402
    RTM_DELLINK,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWROUTE,
)
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg  # type: ignore[import-untyped]  # noqa: E402
from pyroute2.netlink.rtnl.ifinfmsg import IFF_UP, ifinfmsg  # type: ignore[import-untyped]  # noqa: E402
from pyroute2.netlink.rtnl.rtmsg import rtmsg  # type: ignore[import-untyped]  # noqa: E402

_NEW = NLM_F_CREATE | NLM_F_EXCL
_UP = {"flags": IFF_UP, "change": IFF_UP}
_RT_TABLE_MAIN, _RTPROT_BOOT, _RTN_UNICAST = 254, 3, 1  # linux/rtnetlink.h
_ANSWER = struct.Struct("=IHHIIi")  # struct nlmsghdr, and the negative error that struct nlmsgerr begins with
_ANSWER_MAX = 4096


def main() -> None:
    """Serve requests until the input ends. Who asked need not wait for the answer."""
    for line in sys.stdin:
        try:
            request = json.loads(line)
            note = _OPERATIONS[request.pop("operation")](**request)
            answer = {"note": note} if note else {}
        except OSError as error:
            answer = {"error": error.strerror or str(error)}
        except NetworkError as error:
            answer = {"error": str(error)}
        with suppress(BrokenPipeError):
            print(json.dumps(answer), flush=True)
    os._exit(0)  # there is nothing to tidy up, and the library is large


def prepare(state: str, container: str, pid: int, names: list[str], bridge: str, subnet: str) -> str:
    """A lease for as long as `pid` lives, and the bridge; answers as `connect` does, which comes later."""
    with leases.locked(state) as table, closing(_Routing()) as routing:
        address = leases.choose(subnet, table)
        table[container] = leases.Lease(address, pid, leases.started(pid), tuple(names))
        way_out = _bridged(routing, bridge, subnet)
        return way_out.missing() if way_out else ""


def connect(bridge: str, subnet: str, address: str, link: str, pid: int) -> str:
    """A veth from the bridge to eth0 of the process's network; on failure no link is left.

    Answers what the container will miss, or "".
    """
    namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        with closing(_Routing()) as routing:
            way_out = _bridged(routing, bridge, subnet)
            routing.new_link(link, "veth", _peer("eth0", namespace), master=_index(bridge))
            try:
                _inside(namespace, address, subnet)
            except BaseException:
                routing.delete_link(link)
                raise
    finally:
        os.close(namespace)
    return way_out.missing() if way_out else ""


def _bridged(routing: _Routing, bridge: str, subnet: str) -> _WayOut | None:
    """Makes the bridge, with a way out of it, unless it is there."""
    if _index(bridge):
        return None
    way_out = _WayOut(bridge, subnet)
    routing.new_link(bridge, "bridge")
    routing.new_address(_index(bridge), leases.gateway(subnet), _prefix(subnet))
    return way_out


def _prefix(subnet: str) -> int:
    return int(subnet.partition("/")[2])


def disconnect(state: str, container: str, pid: int, link: str, bridge: str) -> None:
    """Give the lease back and remove the link, and after the last one the bridge and its rules.

    Each may be gone already. A lease of another process than `pid` is one of a new start, which keeps all it has;
    0 means whatever process there was.
    """
    with leases.locked(state) as table, closing(_Routing()) as routing:
        if container in table and pid in (0, table[container].pid):
            del table[container]
        rules = None if table else _Rules(_without(bridge))
        if container not in table:
            routing.delete_link(link)
        if rules:
            routing.delete_link(bridge)
            rules.refused()


def sweep(prefix: str, keep: list[str]) -> None:
    """Remove links of containers that are no more."""
    with closing(_Routing()) as routing:
        for _, name in socket.if_nameindex():
            if name.startswith(prefix) and name not in keep:
                routing.delete_link(name)


class _Routing:
    """A socket of NETLINK_ROUTE (rtnetlink(7)) in the present network namespace. A refusal is an OSError."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self.close = self._socket.close

    def new_link(self, name: str, kind: str, data: dict[str, Any] | None = None, *, master: int = 0) -> None:
        """It is up at once."""
        info: list[tuple[str, Any]] = [("IFLA_INFO_KIND", kind)]
        info += [("IFLA_INFO_DATA", data)] if data else []
        attributes: list[tuple[str, Any]] = [("IFLA_IFNAME", name), ("IFLA_LINKINFO", {"attrs": info})]
        attributes += [("IFLA_MASTER", master)] if master else []
        self._ask(ifinfmsg, RTM_NEWLINK, _NEW, _UP | {"attrs": attributes})

    def set_up(self, index: int) -> None:
        self._ask(ifinfmsg, RTM_NEWLINK, 0, _UP | {"index": index})

    def delete_link(self, name: str) -> None:
        """It may be gone already."""
        try:
            self._ask(ifinfmsg, RTM_DELLINK, 0, {"attrs": [("IFLA_IFNAME", name)]})
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise

    def new_address(self, index: int, address: str, prefix: int) -> None:
        attributes = [("IFA_LOCAL", address), ("IFA_ADDRESS", address)]
        fields = {"family": socket.AF_INET, "prefixlen": prefix, "index": index, "attrs": attributes}
        self._ask(ifaddrmsg, RTM_NEWADDR, _NEW, fields)

    def new_default_route(self, gateway: str) -> None:
        fields = {"family": socket.AF_INET, "attrs": [("RTA_GATEWAY", gateway)]}
        fields |= {"table": _RT_TABLE_MAIN, "proto": _RTPROT_BOOT, "type": _RTN_UNICAST}
        self._ask(rtmsg, RTM_NEWROUTE, _NEW, fields)

    def _ask(self, kind: type[Any], operation: int, flags: int, fields: dict[str, Any]) -> None:
        message = kind()
        for name, value in fields.items():
            message[name] = value
        message["header"]["type"] = operation
        message["header"]["flags"] = NLM_F_REQUEST | NLM_F_ACK | flags
        message.encode()
        self._socket.send(message.data)
        _, answer, _, _, _, failed = _ANSWER.unpack_from(self._socket.recv(_ANSWER_MAX))
        if answer != NLMSG_ERROR:
            failed = -errno.EPROTO
        if failed:
            raise OSError(-failed, os.strerror(-failed))


class _WayOut:
    """Addresses are translated where nftables is there; without it containers reach each other.

    Forwarding is the machine's and stays on, as Docker leaves it: others may have come to depend on it.
    """

    def __init__(self, bridge: str, subnet: str) -> None:
        self._bridge = bridge
        self._rules = _Rules(
            f"{_without(bridge)}"
            f"table ip {bridge} {{ chain out {{ type nat hook postrouting priority srcnat; "
            f'ip saddr {subnet} oifname != "{bridge}" masquerade; }}; }}\n'
        )

    def missing(self) -> str:
        """What containers will miss, or ""; there is a way out from now on."""
        failed = self._rules.refused()
        if failed:
            return f"containers on {self._bridge} reach each other and the host only: {failed}"
        with open("/proc/sys/net/ipv4/ip_forward", "w") as file:
            file.write("1")
        return ""


class _Rules:
    """Rules on their way into the kernel: nft takes as long as all the links, so it runs meanwhile."""

    def __init__(self, rules: str) -> None:
        self._nft: subprocess.Popen[str] | None = None
        with suppress(FileNotFoundError):
            pipe = subprocess.PIPE
            self._nft = subprocess.Popen(["nft", "-f", "-"], stdin=pipe, stdout=pipe, stderr=pipe, text=True)
            stdin = cast("IO[str]", self._nft.stdin)
            stdin.write(rules)
            stdin.close()

    def refused(self) -> str:
        """Why the rules are not in force; "" if they are."""
        if self._nft is None:
            return "nft is not installed (package nftables)"
        error = cast("IO[str]", self._nft.stderr).read().strip().partition("\n")[0]
        return error or "nft failed" if self._nft.wait() else ""


def _without(table: str) -> str:
    """Rules that remove the table whether or not it is there; `destroy` needs nft 1.0.7."""
    return f"add table ip {table}\ndelete table ip {table}\n"


def _index(name: str) -> int:
    """0: there is no such link."""
    with suppress(OSError):
        return socket.if_nametoindex(name)
    return 0


def _peer(name: str, namespace: int) -> dict[str, Any]:
    """The other end of a veth, in another network namespace. Made up at once it is refused, having no peer yet."""
    return {"attrs": [("VETH_INFO_PEER", {"attrs": [("IFLA_IFNAME", name), ("IFLA_NET_NS_FD", namespace)]})]}


def _inside(namespace: int, address: str, subnet: str) -> None:
    own = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    linux.setns(namespace, linux.CLONE_NEWNET)
    try:
        with closing(_Routing()) as routing:
            index = _index("eth0")
            routing.new_address(index, address, _prefix(subnet))
            routing.set_up(index)
            routing.new_default_route(leases.gateway(subnet))
    finally:
        linux.setns(own, linux.CLONE_NEWNET)
        os.close(own)


_OPERATIONS: dict[str, Callable[..., str | None]] = {
    "prepare": prepare,
    "connect": connect,
    "disconnect": disconnect,
    "sweep": sweep,
}

if __name__ == "__main__":
    main()
