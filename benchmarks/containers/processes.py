"""The memory of what runs for a container, and a place where nobody else starts processes."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from benchmarks.system import run
from imagetool.runtime import linux

CONTROLLERS = Path("/sys/fs/cgroup/unified/cgroup.controllers")


class Memory(NamedTuple):
    """MiB, summed over processes; PSS (proc(5)) shares out what several have in common, RSS counts it for each."""

    pss: float
    rss: float


def move_apart() -> None:
    """Mounts, a network and /run of our own, so that nothing is met there, and nothing is left.

    crun refuses version 1 cgroups beside a version 2 hierarchy that has controllers: they are hidden.
    """
    linux.unshare(linux.CLONE_NEWNS | linux.CLONE_NEWNET)
    run(["mount", "--make-rprivate", "/"])
    run(["mount", "-t", "tmpfs", "-o", "mode=755", "run", "/run"])
    run(["ip", "link", "set", "lo", "up"])
    if CONTROLLERS.exists():
        run(["mount", "--bind", "/dev/null", CONTROLLERS])


def snapshot() -> frozenset[int]:
    """The ids of all processes with our mounts, and of those that descend from them."""
    parents, found = {}, set()
    ours = os.stat("/proc/self/ns/mnt").st_ino
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):  # it has ended meanwhile
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                if os.stat(entry / "ns/mnt").st_ino == ours:
                    found.add(int(entry.name))
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return frozenset(found)


def memory_of(pids: Iterable[int]) -> Memory:
    """Of those that are still there."""
    sums = {"Pss": 0, "Rss": 0}
    for pid in pids:
        with suppress(OSError):
            rows = Path(f"/proc/{pid}/smaps_rollup").read_text()
            for name, size in re.findall(r"^(Pss|Rss):\s+(\d+) kB$", rows, re.MULTILINE):
                sums[name] += int(size)
    return Memory(sums["Pss"] / 1024, sums["Rss"] / 1024)
