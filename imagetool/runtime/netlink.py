"""The program that makes and removes links; run by `network` for as long as one request takes.

It is a process of its own because the netlink library is large: a container's monitor need not carry it. It
reads one JSON request a line and answers one line: {}, {"note": …} or {"error": …}.
"""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from imagetool.runtime import linux


def _without_contents(name: str) -> None:
    """The package, with its modules still to be imported: its own __init__ imports all there are, for half a second."""
    spec = find_spec(name)
    if name not in sys.modules and spec is not None and spec.submodule_search_locations is not None:
        sys.modules[name] = module = ModuleType(name)
        module.__path__ = list(spec.submodule_search_locations)


for _package in ("pyroute2", "pyroute2.iproute"):
    _without_contents(_package)

from pyroute2.iproute.linux import IPRoute  # type: ignore[import-untyped]  # noqa: E402
from pyroute2.netlink.exceptions import NetlinkError  # type: ignore[import-untyped]  # noqa: E402


def main() -> None:
    """Serve requests until the input ends."""
    for line in sys.stdin:
        try:
            request = json.loads(line)
            note = _OPERATIONS[request.pop("operation")](**request)
            answer = {"note": note} if note else {}
        except (OSError, NetlinkError, subprocess.CalledProcessError) as error:
            answer = {"error": _reason(error)}
        print(json.dumps(answer), flush=True)


def connect(bridge: str, gateway: str, subnet: str, address: str, link: str, pid: int) -> str:
    """A veth from the bridge to eth0 of the process's network; on failure no link is left.

    Answers what the container will miss, or "".
    """
    prefix = int(subnet.partition("/")[2])
    with IPRoute() as ip:
        at, note = _bridge(ip, bridge, gateway, prefix, subnet)
        ip.link("add", ifname=link, kind="veth", peer={"ifname": "eth0", "net_ns_fd": f"/proc/{pid}/ns/net"})
        try:
            outer = ip.link_lookup(ifname=link)[0]
            ip.link("set", index=outer, master=at, state="up")
            _inside(pid, address, prefix, gateway)
        except BaseException:
            ip.link("del", ifname=link)
            raise
    return note


def disconnect(link: str, bridge: str, last: bool) -> None:
    """Remove the link, and after the last one the bridge and its rules; each may be gone already."""
    with IPRoute() as ip:
        for name in (link, bridge) if last else (link,):
            _delete(ip, name)
    if last:
        _nft(_without(bridge))


def sweep(prefix: str, keep: list[str]) -> None:
    """Remove links of containers that are no more."""
    with IPRoute() as ip:
        for row in ip.get_links():
            name = row.get("ifname")
            if name.startswith(prefix) and name not in keep:
                _delete(ip, name)


def _bridge(ip: Any, name: str, gateway: str, prefix: int, subnet: str) -> tuple[int, str]:
    found: list[int] = ip.link_lookup(ifname=name)
    note = ""
    if not found:
        ip.link("add", ifname=name, kind="bridge")
        found = ip.link_lookup(ifname=name)
        ip.addr("add", index=found[0], address=gateway, prefixlen=prefix)
        ip.link("set", index=found[0], state="up")
        note = _forward(name, subnet)
    return found[0], note


def _forward(bridge: str, subnet: str) -> str:
    """The way out: addresses are translated where nftables is there; without it containers reach each other.

    Forwarding is the machine's and stays on, as Docker leaves it: others may have come to depend on it.
    """
    rules = (
        f"table ip {bridge} {{ chain out {{ type nat hook postrouting priority srcnat; "
        f'ip saddr {subnet} oifname != "{bridge}" masquerade; }}; }}\n'
    )
    failed = _nft(_without(bridge) + rules)
    if failed:
        return f"containers on {bridge} reach each other and the host only: {failed}"
    with open("/proc/sys/net/ipv4/ip_forward", "w") as file:
        file.write("1")
    return ""


def _without(table: str) -> str:
    """Rules that remove the table whether or not it is there; `destroy` needs nft 1.0.7."""
    return f"add table ip {table}\ndelete table ip {table}\n"


def _nft(rules: str) -> str:
    """Why the rules are not in force; "" if they are."""
    try:
        done = subprocess.run(["nft", "-f", "-"], input=rules, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "nft is not installed"
    return done.stderr.strip().partition("\n")[0] or "nft failed" if done.returncode else ""


def _inside(pid: int, address: str, prefix: int, gateway: str) -> None:
    own = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    other = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    linux.setns(other, linux.CLONE_NEWNET)
    try:
        with IPRoute() as ip:
            at = ip.link_lookup(ifname="eth0")[0]
            ip.addr("add", index=at, address=address, prefixlen=prefix)
            ip.link("set", index=at, state="up")
            ip.route("add", dst="default", gateway=gateway)
    finally:
        linux.setns(own, linux.CLONE_NEWNET)
        os.close(own)
        os.close(other)


def _delete(ip: Any, name: str) -> None:
    try:
        ip.link("del", ifname=name)
    except NetlinkError as error:
        if error.code != errno.ENODEV:
            raise


def _reason(error: Exception) -> str:
    code = getattr(error, "code", None)
    return os.strerror(code) if isinstance(code, int) else str(error)


_OPERATIONS: dict[str, Callable[..., str | None]] = {
    "connect": connect,
    "disconnect": disconnect,
    "sweep": sweep,
}

if __name__ == "__main__":
    main()
