"""The figures to reach, and the tables, in Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from statistics import median
from typing import NamedTuple

from benchmarks import system
from benchmarks.harness import Measured
from benchmarks.report import table

OURS = "imagetool"


class Target(NamedTuple):
    """`metric` of `workload` is to be at most `times` the fastest of `of`, plus `plus`, for each of `ours`.

    `of` are programs, or PROGRAM/METRIC for another figure of the same workload.
    """

    workload: str
    metric: str
    text: str
    times: float = 0.0
    of: Sequence[str] = ()
    plus: float = 0.0
    ours: Sequence[str] = (OURS,)


class Verdict(NamedTuple):
    target: Target
    title: str
    program: str
    value: float
    limit: float

    @property
    def reached(self) -> bool:
        return self.value <= self.limit


def report(
    facts: Mapping[str, str], measured: Sequence[Measured], targets: Sequence[Target], runs: int
) -> str:
    machine = ", ".join(f"{name} {value}" for name, value in facts.items())
    parts = [f"Medians of {runs} rounds, programs in turn. Machine: {machine}."]
    if judged := list(verdicts(measured, targets)):
        parts.append(_judged(judged))
    parts.append(_figures(measured))
    for what in ("wrong", "failed"):
        lines = [
            f"- {one.title}, {name}: {why}" for one in measured for name, why in getattr(one, what).items()
        ]
        parts += ["\n".join([f"What {what}:\n", *lines])] * bool(lines)
    if lines := list(_shorter(measured, runs)):
        parts.append("Fewer rounds: " + "; ".join(lines) + ".")
    return "\n\n".join(parts)


def verdicts(measured: Sequence[Measured], targets: Sequence[Target]) -> Iterator[Verdict]:
    """Every target of which both sides were measured."""
    for target in targets:
        for one in measured:
            others = [value for name in target.of if (value := _value(one, target.metric, name)) is not None]
            if one.workload == target.workload and (others or not target.of):
                limit = target.times * min(others, default=0.0) + target.plus
                for program in target.ours:
                    if (value := _value(one, target.metric, program)) is not None:
                        yield Verdict(target, one.title, program, value, limit)


def _value(one: Measured, metric: str, name: str) -> float | None:
    """The median of PROGRAM or PROGRAM/METRIC."""
    program, _, other = name.partition("/")
    samples = one.samples.get(other or metric, {}).get(program)
    return median(samples) if samples else None


def _judged(judged: Sequence[Verdict]) -> str:
    rows = []
    for one in judged:
        variant = "" if one.program == OURS else f", {one.program}"
        figures = [one.target.text, f"{one.limit:,.0f}", f"{one.value:,.0f}"]
        rows.append([one.title, one.target.metric + variant, *figures, "yes" if one.reached else "**no**"])
    return table(["workload", "figure", "at most", "that is", "measured", "reached"], rows)


def _figures(measured: Sequence[Measured]) -> str:
    """A row for each metric, a column for each program: the median, and how it compares with ours."""
    names = list(dict.fromkeys(name for one in measured for row in one.samples.values() for name in row))
    rows = []
    for one in measured:
        for metric, samples in one.samples.items():
            ours = next((median(samples[name]) for name in names if name in samples and is_ours(name)), 0.0)
            rows.append([one.title, metric, *(_cell(samples.get(name), ours, name) for name in names)])
    note = "In brackets: times imagetool's, the first of them where there are several."
    return f"{note}\n\n" + table(["workload", "figure", *names], rows)


def is_ours(name: str) -> bool:
    return name.partition(":")[0] == OURS


def _cell(samples: Sequence[float] | None, ours: float, name: str) -> str:
    if not samples:
        return ""
    value = median(samples)
    return f"{value:,.0f}" if is_ours(name) or not ours else f"{value:,.0f} ({value / ours:.1f})"


def _shorter(measured: Sequence[Measured], runs: int) -> Iterator[str]:
    """Who had fewer rounds than the others."""
    for one in measured:
        rounds = {name: len(values) for row in one.samples.values() for name, values in row.items()}
        for count in sorted({count for count in rounds.values() if count < runs}):
            names = [name for name in rounds if rounds[name] == count]
            who = "" if len(names) == len(rounds) else ", " + " and ".join(names)
            yield f"{one.title}{who}: {count}"


def machine(packages: Sequence[str]) -> dict[str, str]:
    """What the figures depend on."""
    facts = {key: value for key, value in system.machine().items() if "fs" not in key}
    filtered = "yes" if any(map(find_spec, ("seccomp", "pyseccomp"))) else "no"
    facts |= {package: system.version(package) for package in packages}
    return facts | {"imagetool filters system calls:": filtered}
