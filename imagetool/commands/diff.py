"""`image diff`: which files two images do not have in common."""

from __future__ import annotations

from collections import Counter

import click

from imagetool.commands.context import Context, image_argument, platform_option
from imagetool.commands.output import format_option, printable, show_rows
from imagetool.spec import Platform

TITLES = {"Kind": "KIND", "Path": "PATH", "Before": "BEFORE", "After": "AFTER"}
_WORDS = {"A": "added", "C": "changed", "D": "deleted"}


@click.command(
    "diff",
    epilog="""\b
Examples:
  imagetool image diff debian:12.1 debian:12.2
  imagetool image diff --format json app:1 app:2
A is added, C is changed, D is deleted; sizes are in bytes before and after.""",
)
@image_argument("old", metavar="OLD")
@image_argument("new", metavar="NEW")
@click.option("--times", is_flag=True, help="Names whose time alone differs are changed as well.")
@format_option
@platform_option
@click.pass_obj
def command(
    context: Context, old: str, new: str, times: bool, format: str | None, platform: Platform | None
) -> None:
    """Show what differs between the files of two images."""
    from imagetool.look.diff import Change, compare

    store = context.store
    stacks = []
    for name in (old, new):
        image = store.image(store.resolve(name, platform))
        store.ensure_layers(image)
        stacks.append(store.layer_tars(image))
    counts: Counter[str] = Counter()
    sizes: Counter[str] = Counter()

    def row(change: Change) -> dict[str, object]:
        counts[change.kind] += 1
        sizes[change.kind] += (change.after or 0) - (change.before or 0)
        path = "/" + printable(change.path)
        return {"Kind": change.kind, "Path": path, "Before": change.before, "After": change.after}

    rows = [row(change) for change in compare(*stacks, times=times)]
    if format is not None:
        show_rows(rows, list(TITLES), TITLES, format)
        return
    for each in rows:
        click.echo(f"{each['Kind']} {each['Path']}{_sizes(each['Before'], each['After'])}")
    parts = [
        f"{counts[kind]} {word} ({_signed(sizes[kind])})" for kind, word in _WORDS.items() if counts[kind]
    ]
    context.note(", ".join(parts) or "no differences")


def _sizes(before: object, after: object) -> str:
    from imagetool.units import size_text

    shown = [size_text(size) for size in (before, after) if isinstance(size, int) and (before or after)]
    return "  " + " -> ".join(dict.fromkeys(shown)) if shown else ""


def _signed(size: int) -> str:
    from imagetool.units import size_text

    return ("-" if size < 0 else "+") + size_text(abs(size))
