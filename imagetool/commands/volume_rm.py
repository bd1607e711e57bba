"""`volume rm`: volumes and what is in them."""

from __future__ import annotations

import click

from imagetool.commands.context import Context, each


@click.command("rm", epilog="\b\nExamples:\n  imagetool volume rm data\n  imagetool volume rm -f data cache")
@click.argument("names", metavar="VOLUME...", nargs=-1, required=True)
@click.option("-f", "--force", is_flag=True, help="One that is not there is no error.")
@click.pass_obj
def command(context: Context, names: tuple[str, ...], force: bool) -> None:
    """Remove volumes that no container has."""
    from imagetool.containers import volumeuse

    context.become_root()  # there may be files of other ids

    def one(name: str) -> None:
        volumeuse.remove(context.store, name, force=force)
        click.echo(name)

    each(names, one)
