"""The tables, in Markdown: the targets, then every figure with its ratios to the peers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median, mode

from benchmarks.harness import Measured
from benchmarks.targets import TECHNIQUES, Verdict, value_of, verdicts

RATIOS = ("overlayfs", "fuse-overlayfs")
MARK = "(!)"


def report(machine: Mapping[str, str], measured: Sequence[Measured]) -> str:
    facts = ", ".join(f"{name} {value}" for name, value in machine.items())
    parts = [f"Medians of {rounds(measured)}, peers in turn. Machine: {facts}."]
    if judged := verdicts(measured):
        parts.append(_targets(judged, measured))
    parts.append(_figures(measured))
    wrong = [f"- {one.title}, {peer}: {why}" for one in measured for peer, why in one.wrong.items()]
    failed = [f"- {one.title}, {peer}: {why}" for one in measured for peer, why in one.failed.items()]
    parts += ["\n".join([f"{MARK} The result was wrong:\n", *wrong])] * bool(wrong)
    parts += ["\n".join(["Failed:\n", *failed])] * bool(failed)
    return "\n\n".join(parts)


def rounds(measured: Sequence[Measured]) -> str:
    """How many there were: of most workloads, and of those that had others."""
    counts = {
        one.title: max(
            (len(values) for peers in one.samples.values() for values in peers.values()), default=0
        )
        for one in measured
    }
    usual = mode(counts.values()) if counts else 0
    others = [f"{count} of “{title}”" for title, count in counts.items() if count != usual]
    return f"{usual} rounds" + (f" ({', '.join(others)})" if others else "")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; every column but the first two is aligned right."""
    lines = [head, ["---" if column < 2 else "---:" for column in range(len(head))], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _targets(judged: Sequence[Verdict], measured: Sequence[Measured]) -> str:
    titles = {one.workload: one.title for one in measured}
    rows = [
        [
            titles[v.target.workload],
            f"{v.target.metric}, {v.peer}",
            v.target.text,
            *map(_number, (v.limit, v.value)),
            "yes" if v.reached else "**no**",
        ]
        for v in judged
    ]
    reached = sum(v.reached for v in judged)
    head = ["workload", "figure", "at most", "that is", "measured", "reached"]
    return f"Targets: {reached} of {len(judged)} reached.\n\n" + table(head, rows)


def _figures(measured: Sequence[Measured]) -> str:
    """A row for each metric, a column for each peer: the median, and for ours the ratios to RATIOS."""
    peers = list(dict.fromkeys(peer for one in measured for row in one.samples.values() for peer in row))
    rows = []
    for one in measured:
        for metric, samples in one.samples.items():
            cells = [_cell(measured, one, metric, peer) if peer in samples else "" for peer in peers]
            rows.append([one.title, f"{metric} {one.units}".strip(), *cells])
    head = ["workload", "figure", *(_technique(peer) or peer for peer in peers)]
    note = "In brackets: times overlayfs, times fuse-overlayfs.\n\n" if set(RATIOS) & set(peers) else ""
    return note + table(head, rows)


def _technique(peer: str) -> str:
    """What is switched off, or on, in this one of ours."""
    options = peer.partition(",")[2]
    return next((text for text, off in TECHNIQUES.items() if off and options == ",".join(off)), "")


def _cell(measured: Sequence[Measured], one: Measured, metric: str, peer: str) -> str:
    value = median(one.samples[metric][peer])
    mark = f" {MARK}" if peer in one.wrong else ""
    bases = [value_of(measured, one.workload, metric, base) for base in RATIOS]
    if not peer.startswith("unionfs:") or not any(bases):
        return _number(value) + mark
    ratios = [f"{value / base:.2f}" if base else "-" for base in bases]
    return f"{_number(value)} ({', '.join(ratios)}){mark}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"
