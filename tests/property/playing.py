"""Playing random operations on mounts, and comparing what two mounts then show.

A stack for many examples has the layers many times, in directories 0, 1, …: so an example costs no mount.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.property.operations import Operation, Player, recent
from tests.support.mounts import Mounted
from tests.support.notation import Tree, below, directory
from tests.support.snapshot import Facts, differences, snapshot

COPIES = 60
Seen = dict[bytes, Facts]


def copies(layers: Sequence[Tree]) -> list[Tree]:
    """The layers with every tree repeated in directories 0, 1, …"""
    many: list[Tree] = []
    for layer in layers:
        tree: dict[str, object] = {}
        for i in range(COPIES):
            tree |= below(str(i), layer) | {str(i): directory()}
        many.append(tree)
    return many


def look(place: Path) -> Seen:
    """A snapshot in which times that an operation's clock set are all the same."""
    seen = snapshot(place, times=True)
    return {path: facts._replace(mtime=-1) if recent(facts.mtime) else facts for path, facts in seen.items()}


def play(
    mounted: Mounted, name: str, steps: Sequence[Operation]
) -> tuple[list[tuple[Operation, object]], Seen]:
    place = mounted.path / name
    return mounted.call(lambda: (Player(place).play(steps), look(place)))


def play_both(
    ours: Mounted, model: Mounted, name: str, steps: Sequence[Operation], times: bool = True
) -> Seen:
    """What both mounts show in the end, after the same answers to every step. The model chooses the paths."""
    played, wanted = play(model, name, steps)
    story = "\n".join(f"{step}: {answer!r}" for step, answer in played)
    again, seen = play(ours, name, [step for step, _ in played])
    for (step, answer), (_, result) in zip(played, again, strict=True):
        assert result == answer, f"{step}: {result!r}, overlayfs says {answer!r}, after\n{story}"
    if not times:
        seen, wanted = without_times(seen), without_times(wanted)
    assert differences(seen, wanted) == [], f"after\n{story}"
    return seen


def without_times(seen: Seen) -> Seen:
    return {path: facts._replace(mtime=0) for path, facts in seen.items()}


def without_counts(seen: Seen) -> Seen:
    return {path: facts._replace(nlink=0) for path, facts in seen.items()}
