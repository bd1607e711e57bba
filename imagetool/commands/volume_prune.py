"""`volume prune`: remove volumes that no container has."""

from __future__ import annotations

import click

from imagetool.commands.context import Context, confirmed
from imagetool.units import size_text


@click.command("prune", epilog="\b\nExamples:\n  imagetool volume prune\n  imagetool volume prune -a -f")
@click.option("-a", "--all", "everything", is_flag=True, help="Also those that somebody has given a name.")
@click.option("-f", "--force", is_flag=True, help="Do not ask.")
@click.option("--filter", "filters", multiple=True, metavar="KEY=VALUE", help="label=KEY[=VALUE].")
@click.pass_obj
def command(context: Context, everything: bool, force: bool, filters: tuple[str, ...]) -> None:
    """Remove volumes without a name that no container has; with -a, those with a name too."""
    which = "all volumes" if everything else "anonymous local volumes"
    if confirmed(f"This will remove {which} not used by at least one container.", force=force):
        freed = prune(context, everything=everything, filters=filters)
        click.echo(f"Total reclaimed space: {size_text(freed)}")


def prune(context: Context, *, everything: bool = False, filters: tuple[str, ...] = ()) -> int:
    """Does it, and says which; gives the bytes that they took."""
    from imagetool.containers import volumeuse

    context.become_root()  # there may be files of other ids
    keeps = volumeuse.parse_filters(context.store, filters, ("label",))
    gone, freed = volumeuse.prune(context.store, everything=everything, keeps=keeps)
    if gone:
        click.echo("Deleted Volumes:\n" + "\n".join(gone) + "\n")
    return freed
