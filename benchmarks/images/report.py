"""The figures to reach, and the tables, in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import NamedTuple

from benchmarks import system
from benchmarks.harness import Measured
from benchmarks.report import table

OURS = "imagetool"
UNPACKING = ("podman", "ctr", "docker", "umoci")


class Target(NamedTuple):
    """`metric` of `workload` is to be at most `times` the fastest of `of`, plus `plus`."""

    workload: str
    metric: str
    text: str
    times: float = 0.0
    of: Sequence[str] = ()
    plus: float = 0.0


TARGETS = (
    Target("pull-debian", "ms", "0.4 x the fastest that unpacks", 0.4, UNPACKING),
    Target("pull-nine", "ms", "0.4 x the fastest that unpacks", 0.4, UNPACKING),
    Target("pull-many", "ms", "0.2 x the fastest that unpacks", 0.2, UNPACKING),
    Target("push", "empty ms", "1.2 x skopeo", 1.2, ("skopeo",)),
    Target("push", "again ms", "2 x skopeo", 2.0, ("skopeo",)),
    Target("mount", "ms", "150 ms", plus=150.0),
    Target("images", "ms", "300 ms", plus=300.0),
    *(Target(name, "peak MiB", "150 MiB", plus=150.0) for name in ("pull-debian", "pull-nine", "pull-many", "push")),
)  # fmt: skip


def report(facts: Mapping[str, str], measured: Sequence[Measured], runs: int) -> str:
    machine = ", ".join(f"{name} {value}" for name, value in facts.items())
    parts = [f"Medians of {runs} rounds, programs in turn. Machine: {machine}."]
    if judged := _judged(measured):
        parts.append(table(["workload", "figure", "at most", "that is", "measured", "reached"], judged))
    parts.append(_figures(measured))
    for what, rows in (("wrong", "wrong"), ("failed", "failed")):
        lines = [
            f"- {one.title}, {name}: {why}" for one in measured for name, why in getattr(one, rows).items()
        ]
        parts += ["\n".join([f"What {what}:\n", *lines])] * bool(lines)
    return "\n\n".join(parts)


def _judged(measured: Sequence[Measured]) -> list[list[str]]:
    rows = []
    for target in TARGETS:
        for one in measured:
            samples = one.samples.get(target.metric, {})
            others = [median(samples[name]) for name in target.of if name in samples]
            if one.workload == target.workload and OURS in samples and (others or not target.of):
                limit = target.times * min(others, default=0.0) + target.plus
                value = median(samples[OURS])
                reached = "yes" if value <= limit else "**no**"
                rows.append(
                    [one.title, target.metric, target.text, f"{limit:,.0f}", f"{value:,.0f}", reached]
                )
    return rows


def _figures(measured: Sequence[Measured]) -> str:
    """A row for each metric, a column for each program: the median, and how it compares with ours."""
    names = list(dict.fromkeys(name for one in measured for row in one.samples.values() for name in row))
    rows = []
    for one in measured:
        for metric, samples in one.samples.items():
            ours = median(samples[OURS]) if OURS in samples else 0.0
            rows.append([one.title, metric, *(_cell(samples.get(name), ours, name) for name in names)])
    return "In brackets: times imagetool's.\n\n" + table(["workload", "figure", *names], rows)


def _cell(samples: Sequence[float] | None, ours: float, name: str) -> str:
    if not samples:
        return ""
    value = median(samples)
    return f"{value:,.0f}" if name == OURS or not ours else f"{value:,.0f} ({value / ours:.1f})"


_PACKAGES = ("podman", "skopeo", "umoci", "containerd", "docker.io", "docker-registry")


def machine() -> dict[str, str]:
    """What the figures depend on."""
    facts = {key: value for key, value in system.machine().items() if "fs" not in key}
    return facts | {package: system.version(package) for package in _PACKAGES}
