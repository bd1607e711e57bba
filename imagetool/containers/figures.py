"""What a running container uses, as its cgroup and its network say; `stats` shows it.

Sources: Documentation/admin-guide/cgroup-v1/{memory,cpuacct}.rst, cgroup-v2.rst, proc(5) stat and net/dev. Memory is
shown without the page cache that is not in use, as Docker shows it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable

from imagetool.containers import life
from imagetool.containers.folder import Container
from imagetool.runtime import cgroups
from imagetool.units import binary_size_text, size_text
from unionfs.annotations import Any
from unionfs.namedtuple import NamedTuple

TITLES = {
    "Container": "CONTAINER", "ID": "CONTAINER ID", "Name": "NAME", "CPUPerc": "CPU %",
    "MemUsage": "MEM USAGE / LIMIT", "MemPerc": "MEM %", "NetIO": "NET I/O", "BlockIO": "BLOCK I/O", "PIDs": "PIDS",
}  # fmt: skip
COLUMNS = ("ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs")


class Figures(NamedTuple):
    """Totals since the start; sizes in bytes, `cpu` and `at` in nanoseconds. `limit` 0: the machine's memory."""

    at: int = 0
    cpu: int = 0
    memory: int = 0
    limit: int = 0
    received: int = 0
    sent: int = 0
    read: int = 0
    written: int = 0
    processes: int = 0


def take(container: Container) -> Figures:
    """Now; all zero for one that does not run."""
    if not container.state.running:
        return Figures(time.monotonic_ns())
    path = container.record.cgroup
    received, sent = traffic(_text(f"/proc/{container.state.pid}/net/dev"))
    kind = cgroups.version()
    found = (
        _version_2(path) if kind == 2 else _version_1(path) if kind else _processes(life.members(container))
    )
    return found._replace(at=time.monotonic_ns(), received=received, sent=sent)


def row(container: Container, before: Figures, now: Figures, *, full: bool) -> dict[str, Any]:
    """What a template can ask, from two looks at a container."""
    limit = min(now.limit or machine_memory(), machine_memory())
    share = max(0, now.cpu - before.cpu) / max(1, now.at - before.at)
    runs = container.state.running
    return {
        "Container": container.id if full else container.id[:12],
        "ID": container.id if full else container.id[:12],
        "Name": container.name,
        "CPUPerc": f"{100 * share:.2f}%" if runs else "--",
        "MemUsage": f"{binary_size_text(now.memory)} / {binary_size_text(limit)}" if runs else "-- / --",
        "MemPerc": f"{100 * now.memory / max(1, limit):.2f}%" if runs else "--",
        "NetIO": f"{size_text(now.received)} / {size_text(now.sent)}" if runs else "--",
        "BlockIO": f"{size_text(now.read)} / {size_text(now.written)}" if runs else "--",
        "PIDs": now.processes if runs else "--",
    }


def traffic(text: str) -> tuple[int, int]:
    """PURE: bytes received and sent by all links of a net/dev but the loopback."""
    received = sent = 0
    for line in text.splitlines()[2:]:
        name, _, numbers = line.partition(":")
        fields = numbers.split()
        if name.strip() != "lo" and len(fields) >= 9:
            received, sent = received + int(fields[0]), sent + int(fields[8])
    return received, sent


def machine_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _version_1(path: str) -> Figures:
    memory, pids = f"{cgroups.ROOT}/memory{path}", f"{cgroups.ROOT}/pids{path}"
    idle = _field(_text(f"{memory}/memory.stat"), "total_inactive_file")
    return Figures(
        cpu=_number(f"{cgroups.ROOT}/cpuacct{path}/cpuacct.usage"),
        memory=max(0, _number(f"{memory}/memory.usage_in_bytes") - idle),
        limit=_number(f"{memory}/memory.limit_in_bytes"),
        processes=_number(f"{pids}/pids.current"),
    )


def _version_2(path: str) -> Figures:
    directory = f"{cgroups.ROOT}{path}"
    moved = _text(f"{directory}/io.stat").split()
    return Figures(
        cpu=1000 * _field(_text(f"{directory}/cpu.stat"), "usage_usec"),
        memory=max(0, _number(f"{directory}/memory.current")
                   - _field(_text(f"{directory}/memory.stat"), "inactive_file")),
        limit=_number(f"{directory}/memory.max"),
        read=sum(int(word[7:]) for word in moved if word.startswith("rbytes=")),
        written=sum(int(word[7:]) for word in moved if word.startswith("wbytes=")),
        processes=_number(f"{directory}/pids.current"),
    )  # fmt: skip


def _processes(pids: Iterable[int]) -> Figures:
    """Without cgroups, what those that are there say, each for itself: memory that they share counts for each."""
    cpu = memory = tasks = 0
    for pid in pids:
        fields = _text(f"/proc/{pid}/stat").rpartition(")")[2].split()
        if len(fields) > 21:
            cpu += int(fields[11]) + int(fields[12])
            tasks += int(fields[17])
            memory += int(fields[21])
    tick = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    return Figures(cpu=cpu * tick, memory=memory * os.sysconf("SC_PAGE_SIZE"), processes=tasks)


def _field(text: str, name: str) -> int:
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        if key == name:
            return int(value)
    return 0


def _number(path: str) -> int:
    text = _text(path).strip()
    return int(text) if text.isdigit() else 0


def _text(path: str) -> str:
    try:
        with open(path) as file:
            return file.read()
    except OSError:  # it has just ended, or there is no such control here
        return ""
