"""Rounds: every program does a workload once, then every program again, in an order that turns.

So what disturbs the machine disturbs all alike. The first round warms caches and is not counted.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from benchmarks.harness import Measured
from benchmarks.inputs import Inputs
from benchmarks.programs.commands import Program
from benchmarks.system import mounted, unmount

Figures = dict[str, float]
P = TypeVar("P", bound=Program)


class Case(NamedTuple, Generic[P]):
    """One program at one workload. `names`: image -> its name in the registry; `folder` is empty before."""

    program: P
    names: Mapping[str, str]
    inputs: Inputs
    folder: Path

    @property
    def image(self) -> str:
        """The first of the workload's."""
        return next(iter(self.names))

    @property
    def name(self) -> str:
        return self.names[self.image]


class Workload(NamedTuple, Generic[P]):
    """`prepare` is done once, or, if `fresh`, before each round with an empty store; `once` gives figures.

    `check` looks at the result, outside of all times; it gives what is wrong with it. `runs`: rounds at most;
    `slow` programs do one round, and do not warm up.
    """

    name: str
    title: str
    images: Sequence[str]
    can: Callable[[P], bool]
    once: Callable[[Case[P]], Figures]
    prepare: Callable[[Case[P]], None] = lambda case: None
    fresh: bool = False
    check: Callable[[Case[P]], str] = lambda case: ""
    runs: int | None = None
    slow: Sequence[str] = ()


def measure(
    workload: Workload[P], programs: Sequence[type[P]], names: Mapping[str, str], home: Path, inputs: Inputs, runs: int
) -> Measured:  # fmt: skip
    """Programs in turn, `runs` rounds, after one that is not counted. A program that fails is out."""
    result = Measured(workload.name, workload.title, "")
    cases = [
        Case(kind(home / kind.name.replace(":", "-")), names, inputs, home / "work")
        for kind in programs
        if workload.can(kind(home))
    ]
    with ExitStack() as stack:
        if not workload.fresh:
            for case in cases:
                with _guarded(result, case):
                    stack.enter_context(_ready(workload, case))
        for turn in range(-1, min(runs, workload.runs or runs)):
            offset = max(turn, 0) % max(len(cases), 1)
            for case in cases[offset:] + cases[:offset]:
                if case.program.name not in result.failed and _takes_part(workload, case, turn):
                    with _guarded(result, case):
                        _round(result, workload, case, turn)
    return result


def _takes_part(workload: Workload[P], case: Case[P], turn: int) -> bool:
    return turn == 0 if case.program.name in workload.slow else True


@contextmanager
def _guarded(result: Measured, case: Case[P]) -> Iterator[None]:
    """A program that fails must not end the whole run."""
    try:
        yield
    except Exception as error:
        result.failed[case.program.name] = str(error) or type(error).__name__
        print(f"{result.workload}: {case.program.name}: {error}", file=sys.stderr)


@contextmanager
def _ready(workload: Workload[P], case: Case[P]) -> Iterator[None]:
    """An empty store, and what the workload prepares in it."""
    case.program.home.mkdir()
    try:
        with case.program.running():
            workload.prepare(case)
            yield
    finally:
        clear(case.program.home)


def _round(result: Measured, workload: Workload[P], case: Case[P], turn: int) -> None:
    with ExitStack() as stack:
        if workload.fresh:
            stack.enter_context(_ready(workload, case))
        case.folder.mkdir()
        stack.callback(clear, case.folder)
        figures = workload.once(case)
        if (turn < 0 or case.program.name in workload.slow) and (wrong := workload.check(case)):
            result.wrong[case.program.name] = wrong
    if turn >= 0:
        result.add(case.program.name, figures)
    what = "  ".join(f"{value:.0f} {metric}" for metric, value in figures.items())
    print(f"{workload.name} {'warm-up' if turn < 0 else turn}: {case.program.name}: {what}", file=sys.stderr)


def clear(folder: Path) -> None:
    """Nothing is mounted below it, and it is gone: overlay mounts of stores outlive their programs."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines()[::-1]:
        place = Path(line.split()[4])
        if place.is_relative_to(folder) and mounted(place):
            unmount(place)
    shutil.rmtree(folder, ignore_errors=True)
