"""The figures to reach, and what is switched off to see what a technique brings."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

from benchmarks.harness import Measured

OURS = ("unionfs:dir", "unionfs:tar")


class Target(NamedTuple):
    """`metric` of `workload` at most: `times` what `of` takes, plus `plus` (in the workload's units)."""

    workload: str
    metric: str
    text: str
    times: float = 0.0
    of: str = ""
    plus: float = 0.0
    ours: Sequence[str] = OURS


TARGETS = (
    Target("find", "cold", "0.5 x fuse-overlayfs", 0.5, "fuse-overlayfs"),
    Target("find", "warm", "0.6 x fuse-overlayfs", 0.6, "fuse-overlayfs"),
    Target("find", "warm", "1.4 x overlayfs", 1.4, "overlayfs"),
    Target("read", "cold", "0.4 x fuse-overlayfs", 0.4, "fuse-overlayfs", ours=("unionfs:tar",)),
    Target("read", "warm", "1.15 x overlayfs", 1.15, "overlayfs"),
    Target("python", "warm", "1.1 x overlayfs", 1.1, "overlayfs"),
    Target("untar", "all", "0.6 x fuse-overlayfs", 0.6, "fuse-overlayfs"),
    Target("remove", "all", "0.6 x fuse-overlayfs", 0.6, "fuse-overlayfs"),
    Target("write-read", "both", "1.1 x overlayfs", 1.1, "overlayfs"),
    Target("sqlite", "all", "1.3 x overlayfs", 1.3, "overlayfs"),
    Target("git", "all", "0.8 x fuse-overlayfs", 0.8, "fuse-overlayfs"),
    Target("chmod", "all", "overlayfs (metacopy=on) + 5 ms", 1.0, "overlayfs:metacopy=on", 5.0),
    Target("unlink", "all", "overlayfs + 5 ms", 1.0, "overlayfs", 5.0),
    Target("start-10", "all", "200 ms", plus=200.0, ours=("unionfs:tar",)),
    Target("memory-1M", "peak", "250 MiB", plus=250.0, ours=("unionfs:tar",)),
    Target("memory-1M", "forgotten", "less than at the peak", 0.9, "unionfs:tar/peak", ours=("unionfs:tar",)),
    Target("idle", "CPU ms", "none at all"),
    Target("idle", "used MiB", "35 MiB", plus=35.0),
)

TECHNIQUES = {
    "": [],
    "no zero-message open": ["zero_open=off"],
    "no caching of names and attributes": ["timeout=0"],
    "no caching of absent names": ["negative=off"],
    "no writeback cache": ["writeback=off"],
    "writeback cache": ["writeback=on"],
    "read ahead across files": ["readahead=4194304"],
    "no attributes in listings": ["readdirplus=off"],
    "no polling": ["poll=0"],
    "processors may sleep": ["awake=off"],
    "no passthrough": ["io=cached"],
    "passthrough": ["io=passthrough"],
    "no worker threads": ["threads=off"],
    "no metadata-only copy-up": ["metacopy=off"],
    "pyfuse3 driver": ["driver=pyfuse3"],
}


class Verdict(NamedTuple):
    target: Target
    peer: str
    value: float
    limit: float

    @property
    def reached(self) -> bool:
        return self.value <= self.limit


def value_of(measured: Sequence[Measured], workload: str, metric: str, peer: str) -> float | None:
    """The median, or None if this was not measured."""
    for one in measured:
        if one.workload == workload and (samples := one.samples.get(metric, {}).get(peer)):
            return median(samples)
    return None


def verdicts(measured: Sequence[Measured]) -> list[Verdict]:
    """Every target of which both sides were measured."""
    found = []
    for target in TARGETS:
        of, _, of_metric = target.of.partition("/")
        base = value_of(measured, target.workload, of_metric or target.metric, of) if of else 0.0
        for peer in target.ours:
            value = value_of(measured, target.workload, target.metric, peer)
            if value is not None and base is not None:
                found.append(Verdict(target, peer, value, target.times * base + target.plus))
    return found
