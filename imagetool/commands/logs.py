"""`logs`: what a container has printed."""

from __future__ import annotations

import os
import sys

import click

from imagetool.commands.context import Context, container_argument
from imagetool.errors import UsageError
from unionfs.annotations import TYPE_CHECKING

if TYPE_CHECKING:
    from imagetool.containers.log import Row


@click.command("logs", epilog="\b\nExamples:\n  imagetool logs web\n  imagetool logs -f --tail 10 -t web")
@container_argument()
@click.option("-f", "--follow", is_flag=True, help="Go on until the container ends.")
@click.option("-n", "--tail", default="all", metavar="N", help="The last N lines.")
@click.option("-t", "--timestamps", is_flag=True, help="Show times.")
@click.option("--since", metavar="TIME", help="From then on: 10m ago, or 2024-05-01T12:00:00Z.")
@click.option("--until", metavar="TIME", help="Until then.")
@click.pass_obj
def command(
    context: Context, name: str, follow: bool, tail: str, timestamps: bool, since: str | None, until: str | None
) -> None:  # fmt: skip
    """Show what a container has printed."""
    from imagetool.containers import folder, log

    if tail != "all" and not (tail.isascii() and tail.isdigit()):
        raise UsageError(f"invalid number of lines {tail!r}", hint="a number, or all")
    container = folder.find(context.store, name)
    most = None if tail == "all" else int(tail)

    def goes_on() -> bool:
        found = folder.load(context.store, container.id)
        return found is not None and (found.state.running or found.watched)

    rows = log.follow(container.directory, goes_on, tail=most) if follow else log.read(
        container.directory, tail=most
    )  # fmt: skip
    sys.stdout.flush()
    first, last = _moment(since), _moment(until)
    for row in rows:
        if first <= row.time and (not last or row.time <= last):
            _show(row, timestamps=timestamps)


def _moment(text: str | None) -> str:
    """As times are in the log, which sort as text; "" for none."""
    if text is None:
        return ""
    from imagetool.look.filters import parse_moment
    from imagetool.units import time_text

    return time_text(parse_moment(text))


def _show(row: Row, *, timestamps: bool) -> None:
    """Each stream on its own, as the container had it."""
    view = memoryview((f"{row.time} ".encode() if timestamps else b"") + row.data)
    while view:
        view = view[os.write(1 if row.stream == "stdout" else 2, view) :]
