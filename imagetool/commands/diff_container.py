"""`container diff`: what a container has changed."""

from __future__ import annotations

import click

from imagetool.commands.context import Context, container_argument
from imagetool.commands.output import printable


@click.command("diff", epilog="\b\nExamples:\n  imagetool diff web        A added, C changed, D deleted")
@container_argument()
@click.pass_obj
def command(context: Context, name: str) -> None:
    """Show what a container has changed in its files."""
    from imagetool.containers import changes, folder

    for kind, path in changes.changes(context.store, folder.find(context.store, name)):
        click.echo(f"{kind} {printable(path)}")
