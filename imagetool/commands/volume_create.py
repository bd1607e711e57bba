"""`volume create`: a directory for containers that outlives them."""

from __future__ import annotations

import click

from imagetool.commands import containing
from imagetool.commands.context import Context


@click.command(
    "create",
    epilog="\b\nExamples:\n  imagetool volume create data\n  imagetool volume create --label team=db data",
)
@click.argument("name", metavar="[NAME]", default="")
@click.option("-d", "--driver", type=click.Choice(["local"]), default="local", help="Only local ones exist.")
@click.option("--label", "labels", multiple=True, metavar="KEY[=VALUE]", help="A label.")
@click.pass_obj
def command(context: Context, name: str, driver: str, labels: tuple[str, ...]) -> None:
    """Make a volume; without a NAME one is made up. One that is there stays as it is."""
    from imagetool.containers import volumes

    chosen = name or volumes.new_name()
    volumes.create(context.store, chosen, containing.labels(labels))
    click.echo(chosen)
