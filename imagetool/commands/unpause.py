"""`unpause`: paused containers go on."""

from __future__ import annotations

import click

from imagetool.commands.context import Context, container_argument, each


@click.command("unpause", epilog="\b\nExamples:\n  imagetool unpause web")
@container_argument("names", metavar="CONTAINER...", nargs=-1, required=True)
@click.pass_obj
def command(context: Context, names: tuple[str, ...]) -> None:
    """Let the processes of paused containers go on."""
    from imagetool.containers import folder, life

    def one(name: str) -> None:
        life.pause(folder.find(context.store, name), paused=False)
        click.echo(name)

    each(names, one)
