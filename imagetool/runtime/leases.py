"""Who has which address on the bridge: one file under a lock, the choice itself pure.

A lease counts while its process lives: after a crash or a reboot the next user of the file drops it.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from imagetool.runtime.errors import NetworkError
from unionfs.namedtuple import NamedTuple


class Lease(NamedTuple):
    """One container's place on the bridge."""

    address: str
    pid: int
    started: str  # start time of `pid` and the boot: a reused process id is another process
    names: tuple[str, ...] = ()


Table = dict[str, Lease]  # container ID -> lease


def choose(subnet: str, taken: Mapping[str, Lease]) -> str:
    """PURE: the first free address after the gateway's, which is the first of all."""
    used = {gateway(subnet), *(lease.address for lease in taken.values())}
    for address in _hosts(subnet):
        if address not in used:
            return address
    raise NetworkError(f"no address is free in {subnet}", hint="remove containers that are not needed")


def gateway(subnet: str) -> str:
    return next(_hosts(subnet))


def _hosts(subnet: str) -> Iterator[str]:
    from ipaddress import ip_network  # whoever only asks when a process began need not wait for it

    return map(str, ip_network(subnet).hosts())


def started(pid: int) -> str:
    """When the process began, unique over boots; "" if there is none."""
    try:
        with open(f"/proc/{pid}/stat", errors="replace") as stat:
            fields = stat.read().rpartition(")")[2].split()
    except OSError:
        return ""
    with open("/proc/sys/kernel/random/boot_id") as boot:
        return f"{fields[19]}@{boot.read().strip()}"


@contextmanager
def locked(directory: str | os.PathLike[str]) -> Iterator[Table]:
    """The live leases, for reading and changing; what is in the table at the end is kept."""
    os.makedirs(directory, mode=0o700, exist_ok=True)
    path = os.path.join(directory, "leases.json")
    with open(os.path.join(directory, "lock"), "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        table = {
            name: lease for name, lease in _load(path).items() if started(lease.pid) == lease.started != ""
        }
        yield table
        _store(path, table)


def _load(path: str) -> Table:
    try:
        with open(path, "rb") as file:
            rows = json.load(file)
        return {name: Lease(r[0], r[1], r[2], tuple(r[3])) for name, r in rows.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, IndexError, TypeError, AttributeError):
        return {}  # a cache of what the kernel knows: links without a lease are found by their name


def _store(path: str, table: Table) -> None:
    if not table:
        with suppress(FileNotFoundError):
            os.unlink(path)
        return
    temporary = f"{path}.{os.getpid()}"
    with open(temporary, "w") as file:
        json.dump(table, file)
    os.rename(temporary, path)
