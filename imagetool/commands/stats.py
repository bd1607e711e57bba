"""`stats`: what running containers use."""

from __future__ import annotations

import sys
import time

import click

from imagetool.commands.context import Context, container_argument
from imagetool.commands.output import format_option, show_rows
from unionfs.annotations import TYPE_CHECKING

if TYPE_CHECKING:
    from imagetool.containers.figures import Figures
    from imagetool.containers.folder import Container

_SECONDS = 1.0  # between two looks
_CLEAR = "\x1b[2J\x1b[H"


@click.command("stats", epilog="\b\nExamples:\n  imagetool stats --no-stream\n  imagetool stats web")
@container_argument("names", metavar="[CONTAINER...]", nargs=-1)
@click.option("-a", "--all", "everything", is_flag=True, help="Also those that do not run.")
@click.option("--no-stream", is_flag=True, help="One look only.")
@click.option("--no-trunc", is_flag=True, help="Show IDs in full.")
@format_option
@click.pass_obj
def command(
    context: Context, names: tuple[str, ...], everything: bool, no_stream: bool, no_trunc: bool, format: str | None
) -> None:  # fmt: skip
    """Show what running containers use, until Ctrl-C."""
    from imagetool.containers import figures

    before = _look(context, names, everything)
    while True:
        time.sleep(_SECONDS)
        now = _look(context, names, everything)
        rows = [
            figures.row(one, before.get(one.id, (one, taken))[1], taken, full=no_trunc)
            for one, taken in now.values()
        ]
        if sys.stdout.isatty() and not no_stream:
            click.echo(_CLEAR, nl=False)
        show_rows(rows, figures.COLUMNS, figures.TITLES, format)
        if no_stream:
            return
        sys.stdout.flush()
        before = now


def _look(context: Context, names: tuple[str, ...], everything: bool) -> dict[str, tuple[Container, Figures]]:
    from imagetool.containers import figures, folder

    chosen = [folder.find(context.store, name) for name in names] or [
        one for one in folder.listing(context.store) if everything or one.state.running
    ]
    return {one.id: (one, figures.take(one)) for one in chosen}
