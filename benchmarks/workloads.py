"""The workloads: on which layers, with or without a top layer, what is done, and who takes part."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import system
from benchmarks.actions import Outcome
from benchmarks.inputs import PROJECT, Inputs, Layer
from benchmarks.peers import Mount, Peer, Place
from benchmarks.system import Failed

LIMIT = 600.0  # seconds after which a mount is given up


class Case(NamedTuple):
    """One peer doing one workload once."""

    peer: Peer
    place: Place
    inputs: Inputs
    layers: list[Layer]
    scratch: Path


class Workload(NamedTuple):
    name: str
    title: str
    layers: Callable[[Inputs], list[Layer]]
    run: Callable[[Case], Outcome]
    takes: Callable[[Peer], bool] = lambda peer: True
    units: str = "ms"


def action(name: str, *, writable: bool = True, **arguments: Any) -> Callable[[Case], Outcome]:
    """Mount, do one of benchmarks.actions in a process of its own, unmount."""

    def run(case: Case) -> Outcome:
        given = {key: value(case) if callable(value) else value for key, value in arguments.items()}
        with case.peer.mount(case.layers, case.place, writable=writable, limit=LIMIT) as mount:
            return act(name, mount, **given)

    return run


def act(name: str, mount: Mount, **arguments: Any) -> Outcome:
    given = {"mount": str(mount.path), "server": mount.pid, **arguments}
    argv = [sys.executable, "-m", "benchmarks.actions", name, json.dumps(given)]
    return Outcome(**json.loads(system.run(argv, timeout=LIMIT, cwd=PROJECT)))


def start(case: Case) -> Outcome:
    """From exec to an answer: the command has returned and the root has been listed."""
    place = case.place
    argv = case.peer.command(case.layers, place, writable=True, foreground=False)
    try:
        with system.watchdog(place.target, 120):
            begin = time.perf_counter_ns()
            with place.log.open("wb") as log:
                status = subprocess.run(
                    argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=100, check=False
                )
            shown = os.listdir(place.target)
            took = (time.perf_counter_ns() - begin) / 1e6
            if status.returncode or not system.mounted(place.target):
                raise Failed(f"{argv[0]} did not mount: {place.log.read_text(errors='replace').strip()}")
            return Outcome({"all": took}, {"root": len(shown)})
    finally:
        system.unmount(place.target)


def memory(case: Case) -> Outcome:
    """MiB of the server: at its peak, after a find over everything, and after the kernel forgot it."""
    with case.peer.mount(case.layers, case.place, writable=True, limit=LIMIT) as mount:
        assert mount.pid is not None
        outcome = act("find", mount, scratch=str(case.scratch), once=True)
        sizes = {
            "peak": system.status_field(mount.pid, "VmHWM"),
            "after": system.status_field(mount.pid, "VmRSS"),
        }
        for _ in range(3):
            system.drop_dentries()
            time.sleep(1)
        sizes["forgotten"] = system.status_field(mount.pid, "VmRSS")
    return Outcome(sizes, outcome.facts)


IDLE_SECONDS = 5


def idle(case: Case) -> Outcome:
    """A mount that nobody uses, after a find over it: CPU time and context switches in 5 s, and its memory
    before it was ever used and after."""
    with case.peer.mount(case.layers, case.place, writable=True, limit=LIMIT) as mount:
        assert mount.pid is not None
        os.stat(mount.path)
        fresh = system.status_field(mount.pid, "VmRSS")
        act("find", mount, scratch=str(case.scratch), once=True)
        time.sleep(2)
        cpu, switches = system.cpu_and_switches(mount.pid)
        time.sleep(IDLE_SECONDS)
        cpu_after, switches_after = system.cpu_and_switches(mount.pid)
        sizes = {"CPU ms": cpu_after - cpu, "switches": float(switches_after - switches),
                 "fresh MiB": fresh, "used MiB": system.status_field(mount.pid, "VmRSS")}  # fmt: skip
    return Outcome(sizes, {})


def _debian(inputs: Inputs) -> list[Layer]:
    return [inputs.debian()]


def _files(inputs: Inputs) -> list[Layer]:
    return [inputs.files()]


def _big(inputs: Inputs) -> list[Layer]:
    return [inputs.big()]


def _many(inputs: Inputs) -> list[Layer]:
    return [inputs.many()]


def _scratch(case: Case) -> str:
    return str(case.scratch)


def _served(peer: Peer) -> bool:
    return peer.in_user_space


def _not_bare(peer: Peer) -> bool:
    return peer.kind != "bare"


def _may_be_read_only(peer: Peer) -> bool:
    return "top=overlay" not in peer.options


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("find", "find, names and attributes", _debian, action("find", scratch=_scratch)),
        Workload("names", "find, names only", _debian, action("names", scratch=_scratch)),
        Workload("read", "read every file, read-only mount", _debian, action("read", writable=False),
                 _may_be_read_only),
        Workload("read-rw", "read every file, writable mount", _debian, action("read")),
        Workload("python", "chroot python3, 10 modules", _debian, action("python")),
        Workload("untar", "untar 8,000 files", _debian,
                 action("untar", archive=lambda case: str(case.inputs.files().tar))),
        Workload("remove", "rm -rf of a lower tree of 8,000 files", _files, action("remove")),
        Workload("write-read", "write, then read 1 GiB", _files,
                 action("write_read", size=lambda case: case.inputs.scale.big)),
        Workload("sqlite", "1,000 sqlite commits", _files, action("sqlite")),
        Workload("git", "git init, add, commit, status of 2,000 files", _files, action("git")),
        Workload("chmod", "chmod of a 1 GiB lower file", _big, action("chmod")),
        Workload("unlink", "unlink of a 1 GiB lower file", _big, action("unlink")),
        Workload("stall", "lookups during a copy-up of 1 GiB", _big, action("stall")),
        Workload("start", "exec to answer, Debian root", _debian, start, _not_bare),
        Workload("start-10", "exec to answer, 10 layers of 100,000 files", Inputs.stacked, start, _not_bare),
        Workload("memory", "memory, find over the Debian root", _debian, memory, _served, "MiB"),
        Workload("memory-1M", "memory, find over 1,000,000 files", _many, memory, _served, "MiB"),
        Workload("idle", "an idle mount", _debian, idle, _served, ""),
    )
}  # fmt: skip
