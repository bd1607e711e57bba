"""PURE: published ports (`-p`) and the files that tell a container its network: hosts and resolv.conf."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from imagetool.errors import UsageError
from unionfs.annotations import TYPE_CHECKING
from unionfs.namedtuple import NamedTuple

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address

PROTOCOLS = ("tcp", "udp")
_FALLBACK_SERVERS = ("8.8.8.8", "8.8.4.4")  # Docker's, where the host names only itself


class Port(NamedTuple):
    """One published port; host 0 lets the kernel choose."""

    ip: str  # the host's address to listen on
    host: int
    container: int
    protocol: str = "tcp"

    def __str__(self) -> str:
        return f"{self.ip}:{self.host}->{self.container}/{self.protocol}"


def parse(text: str) -> list[Port]:
    """`[IP:][HOST:]CONTAINER[/PROTOCOL]`; HOST and CONTAINER may be ranges of one length."""
    body, _, protocol = text.partition("/")
    protocol = protocol.lower() or "tcp"
    address, _, rest = body.rpartition("]:") if body.startswith("[") else ("", "", body)
    fields = rest.split(":")
    ip = address.removeprefix("[") or (fields.pop(0) if len(fields) == 3 else "")
    if not 1 <= len(fields) <= 2 or protocol not in PROTOCOLS:
        raise _invalid(text)
    inside = _range(fields[-1], text)
    outside = _range(fields[0], text) if len(fields) == 2 and fields[0] else [0] * len(inside)
    if len(inside) != len(outside) or 0 in inside:
        raise _invalid(text)
    return [Port(_address(ip, text), h, c, protocol) for h, c in zip(outside, inside, strict=True)]


def hosts_file(address: str, hostname: str, names: Mapping[str, str]) -> str:
    """/etc/hosts: localhost, the container itself, and others by name (name -> address)."""
    rows = ["127.0.0.1\tlocalhost", "::1\tlocalhost ip6-localhost ip6-loopback"]
    if address:
        rows.append(f"{address}\t{hostname}")
    return "".join(f"{row}\n" for row in [*rows, *(f"{a}\t{n}" for n, a in sorted(names.items()))])


def resolv_conf(
    host: str,
    *,
    own_network: bool,
    servers: Iterable[str] = (),
    search: Sequence[str] = (),
    options: Sequence[str] = (),
) -> str:
    """/etc/resolv.conf (resolv.conf(5)) from the host's, with what is given instead of what it has; search ".": none.

    In a network of its own, a server on the host's loopback is no use.
    """
    lines = [line for line in host.splitlines() if line.strip() and not line.lstrip().startswith(("#", ";"))]
    named = [line for line in lines if line.split()[0] == "nameserver"]
    replaced = ("nameserver", *(("search", "domain") if search else ()), *(("options",) if options else ()))
    rest = [line for line in lines if line.split()[0] not in replaced]
    rest += [f"search {' '.join(search)}"] if search and "." not in search else []
    rest += [f"options {' '.join(options)}"] if options else []
    kept = [f"nameserver {s}" for s in servers] or [n for n in named if not (own_network and _is_loopback(n))]
    if not kept and own_network:
        kept = [f"nameserver {s}" for s in _FALLBACK_SERVERS]
    return "".join(f"{row}\n" for row in [*rest, *kept])


def _is_loopback(line: str) -> bool:
    try:
        return _parsed(line.split()[1].partition("%")[0]).is_loopback
    except (IndexError, ValueError):
        return True


def _range(text: str, whole: str) -> list[int]:
    first, dash, last = text.partition("-")
    if not first.isdecimal() or (dash and not last.isdecimal()):
        raise _invalid(whole)
    low, high = int(first), int(last or first)
    if not 0 <= low <= high <= 65535:
        raise _invalid(whole)
    return list(range(low, high + 1))


def _address(ip: str, whole: str) -> str:
    try:
        return str(_parsed(ip)) if ip else "0.0.0.0"
    except ValueError:
        raise _invalid(whole) from None


def _parsed(address: str) -> IPv4Address | IPv6Address:
    from ipaddress import ip_address  # most containers have no ports

    return ip_address(address)


def _invalid(text: str) -> UsageError:
    return UsageError(f"invalid port {text!r}", hint="[IP:][HOST:]CONTAINER[/udp], such as 8080:80")
