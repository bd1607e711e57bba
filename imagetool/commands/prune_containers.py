"""`container prune`: remove containers that do not run."""

from __future__ import annotations

import time

import click

from imagetool.commands.context import Context, confirmed
from imagetool.errors import Conflict, UsageError
from imagetool.units import size_text


@click.command("prune", epilog="\b\nExamples:\n  imagetool container prune -f")
@click.option("-f", "--force", is_flag=True, help="Do not ask.")
@click.option(
    "--filter", "filters", multiple=True, metavar="KEY=VALUE", help="until=TIME, label=KEY[=VALUE]."
)
@click.pass_obj
def command(context: Context, force: bool, filters: tuple[str, ...]) -> None:
    """Remove all containers that do not run."""
    if confirmed("This will remove all stopped containers.", force=force):
        click.echo(f"Total reclaimed space: {size_text(prune(context, filters))}")


def prune(context: Context, filters: tuple[str, ...] = ()) -> int:
    """Does it, and says which; gives the bytes that their RW layers had."""
    from imagetool.containers import folder, life, listing, rootfs

    context.become_root()  # in volumes there may be files of other ids
    labels = [text for text in filters if text.startswith("label=")]
    keeps = listing.parse_filters(labels, float)
    before = min([_until(text) for text in filters if text not in labels], default=time.time())
    freed, gone = 0, []
    for one in folder.listing(context.store):
        if one.state.status in ("created", "exited") and one.record.created <= before and keeps(one):
            size = rootfs.size(one.directory)
            try:
                life.remove(context.store, one, force=False)
            except Conflict:  # somebody has just started it
                continue
            freed += size
            gone.append(one.id)
    if gone:
        click.echo("Deleted Containers:\n" + "\n".join(gone) + "\n")
    return freed


def _until(text: str) -> float:
    key, _, value = text.partition("=")
    if key != "until":
        raise UsageError(f"invalid filter {text!r}", hint="until=TIME or label=KEY[=VALUE]")
    from imagetool.look.filters import parse_moment

    return parse_moment(value)
