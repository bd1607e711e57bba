"""`pause`: containers whose processes wait."""

from __future__ import annotations

import click

from imagetool.commands.context import Context, container_argument, each


@click.command("pause", epilog="\b\nExamples:\n  imagetool pause web")
@container_argument("names", metavar="CONTAINER...", nargs=-1, required=True)
@click.pass_obj
def command(context: Context, names: tuple[str, ...]) -> None:
    """Let no process of containers go on, until `unpause`."""
    from imagetool.containers import folder, life

    def one(name: str) -> None:
        life.pause(folder.find(context.store, name), paused=True)
        click.echo(name)

    each(names, one)
