"""The figures as one picture: a panel for each figure, a bar for each peer. Plain SVG, no library."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from statistics import median

from benchmarks.harness import Measured

COLOURS = {
    "bare": "#9aa0a6",
    "overlayfs": "#5f6b7a",
    "fuse-overlayfs": "#d98c3f",
    "unionfs-fuse": "#c9a94f",
    "unionfs": "#2a7de1",
}
COLUMNS, WIDTH, ROW, GAP = 3, 400, 20, 26  # panels in a row; pixels of a panel, of a bar and between panels
LABEL, VALUE = 150, 62  # pixels for the peer's name and for its figure
HIDDEN = frozenset(
    {"median", "after", "switches", "server CPU", "init", "add", "commit", "status"}
)  # in the tables only


def draw(measured: Sequence[Measured]) -> str:
    panels = [
        (f"{one.title}: {metric} ({one.units})" if one.units else f"{one.title}: {metric}", samples)
        for one in measured
        for metric, samples in one.samples.items()
        if metric not in HIDDEN
    ]
    body: list[str] = []
    y = GAP
    for start in range(0, len(panels), COLUMNS):
        shown = panels[start : start + COLUMNS]
        for column, (title, samples) in enumerate(shown):
            body += _panel(GAP + column * (WIDTH + GAP), y, title, samples)
        y += ROW * (max(len(samples) for _, samples in shown) + 1) + GAP
    size = f'width="{COLUMNS * (WIDTH + GAP) + GAP}" height="{y}"'
    style = "text{font:12px sans-serif;fill:#222}.title{font-weight:bold}"
    return "\n".join(
        [f'<svg xmlns="http://www.w3.org/2000/svg" {size}>', f"<style>{style}</style>",
         '<rect width="100%" height="100%" fill="#fff"/>', *body, "</svg>\n"]
    )  # fmt: skip


def _panel(x: int, y: int, title: str, samples: dict[str, list[float]]) -> Iterator[str]:
    yield f'<text class="title" x="{x}" y="{y + 12}">{escape(title)}</text>'
    longest = max(median(values) for values in samples.values()) or 1.0
    for number, (peer, values) in enumerate(samples.items(), 1):
        top, value = y + number * ROW, median(values)
        length = max((WIDTH - LABEL - VALUE) * value / longest, 1)
        colour = COLOURS[peer.partition(":")[0]]
        name = peer if len(peer) < 24 else "…" + peer[-22:]
        yield f'<text x="{x + LABEL - 6}" y="{top + 13}" text-anchor="end">{escape(name)}</text>'
        yield f'<rect x="{x + LABEL}" y="{top + 2}" width="{length:.1f}" height="{ROW - 5}" fill="{colour}"/>'
        text = f"{value:,.0f}" if value >= 100 else f"{value:.1f}"
        yield f'<text x="{x + LABEL + length + 5:.1f}" y="{top + 13}">{text}</text>'
