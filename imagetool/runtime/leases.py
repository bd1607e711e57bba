"""Who has which address on the bridge: one file under a lock, the choice itself pure.

A lease counts while its process lives: after a crash or a reboot the next user of the file drops it.
"""

from __future__ import annotations

import fcntl
import ipaddress
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from imagetool.runtime.errors import NetworkError


class Lease(NamedTuple):
    """One container's place on the bridge."""

    address: str
    pid: int
    started: str  # start time of `pid` and the boot: a reused process id is another process
    names: tuple[str, ...] = ()


Table = dict[str, Lease]  # container ID -> lease


def choose(subnet: str, taken: Mapping[str, Lease]) -> str:
    """PURE: the first free address after the gateway's, which is the first of all."""
    used = {lease.address for lease in taken.values()}
    hosts = ipaddress.ip_network(subnet).hosts()
    next(hosts)
    for address in hosts:
        if str(address) not in used:
            return str(address)
    raise NetworkError(f"no address is free in {subnet}", hint="remove containers that are not needed")


def gateway(subnet: str) -> str:
    return str(next(ipaddress.ip_network(subnet).hosts()))


def started(pid: int) -> str:
    """When the process began, unique over boots; "" if there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return f"{fields[19]}@{Path('/proc/sys/kernel/random/boot_id').read_text().strip()}"


@contextmanager
def locked(directory: Path) -> Iterator[Table]:
    """The live leases, for reading and changing; what is in the table at the end is kept."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = directory / "leases.json"
    with (directory / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        table = {
            name: lease for name, lease in _load(path).items() if started(lease.pid) == lease.started != ""
        }
        yield table
        _store(path, table)


def _load(path: Path) -> Table:
    try:
        rows = json.loads(path.read_bytes())
        return {name: Lease(r[0], r[1], r[2], tuple(r[3])) for name, r in rows.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, IndexError, TypeError, AttributeError):
        return {}  # a cache of what the kernel knows: links without a lease are found by their name


def _store(path: Path, table: Table) -> None:
    if not table:
        path.unlink(missing_ok=True)
        return
    temporary = path.with_suffix(f".{os.getpid()}")
    temporary.write_text(json.dumps(table))
    temporary.rename(path)
