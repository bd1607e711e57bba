"""Rounds: every peer does a workload once, then every peer again, in an order that turns.

So what disturbs the machine disturbs all alike. The first round warms caches and is not counted. What the
first peer states as facts, the others must state too.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.actions import Outcome
from benchmarks.inputs import Inputs
from benchmarks.peers import Peer, Place
from benchmarks.system import tmpfs
from benchmarks.workloads import Case, Workload


@dataclass
class Measured:
    """All samples of one workload: metric -> peer -> one value a round.

    `failed`: peers that are out, with the reason. `wrong`: peers whose result is not the others'.
    """

    workload: str
    title: str
    units: str
    samples: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    wrong: dict[str, str] = field(default_factory=dict)

    def add(self, peer: str, times: dict[str, float]) -> None:
        for metric, value in times.items():
            self.samples.setdefault(metric, {}).setdefault(peer, []).append(value)


def measure(workload: Workload, peers: Sequence[Peer], inputs: Inputs, runs: int) -> Measured:
    """`runs` counted rounds. A peer that fails is out; one that is wrong goes on, and is marked."""
    result = Measured(workload.name, workload.title, workload.units)
    layers = workload.layers(inputs)
    active = [peer for peer in peers if workload.takes(peer) and peer.can_mount(layers)]
    expected: dict[str, Any] | None = None
    for turn in range(-1, runs):
        offset = max(turn, 0) % max(len(active), 1)
        for peer in active[offset:] + active[:offset]:
            if peer.name in result.failed:
                continue
            try:
                outcome = _once(workload, peer, inputs)
            except Exception as error:  # a peer that fails must not end the whole run
                result.failed[peer.name] = str(error) or type(error).__name__
                print(f"{workload.name}: {peer.name}: {result.failed[peer.name]}", file=sys.stderr)
                continue
            expected = expected or outcome.facts
            if odd := _odd(outcome.facts, expected):
                result.wrong[peer.name] = odd
            if turn >= 0:
                result.add(peer.name, outcome.times)
            _progress(workload, peer, turn, outcome)
    return result


def _once(workload: Workload, peer: Peer, inputs: Inputs) -> Outcome:
    """One workload by one peer, on a tmpfs of its own."""
    home = Path(tempfile.mkdtemp(prefix="unionfs-bench.", dir="/var/tmp"))
    try:
        with tmpfs(home / "top") as top:
            parts = {name: top / name for name in ("mnt", "upper", "work", "empty", "scratch")}
            for part in parts.values():
                part.mkdir()
            place = Place(parts["mnt"], parts["upper"], parts["work"], parts["empty"], top / "log")
            return workload.run(Case(peer, place, inputs, workload.layers(inputs), parts["scratch"]))
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _odd(facts: dict[str, Any], expected: dict[str, Any]) -> str:
    """Which facts are not as expected; empty if all are."""
    return ", ".join(
        f"{name} is {facts[name]}, not {expected[name]}" for name in facts if facts[name] != expected[name]
    )


def _progress(workload: Workload, peer: Peer, turn: int, outcome: Outcome) -> None:
    what = "  ".join(f"{metric} {value:.1f}" for metric, value in outcome.times.items())
    print(
        f"{workload.name} {turn if turn >= 0 else 'warm-up'}: {peer.name}: {what}",
        file=sys.stderr,
        flush=True,
    )
