"""`kill`: a signal to containers."""

from __future__ import annotations

import click

from imagetool.commands.context import Context, container_argument, each


@click.command("kill", epilog="\b\nExamples:\n  imagetool kill web\n  imagetool kill -s HUP web")
@container_argument("names", metavar="CONTAINER...", nargs=-1, required=True)
@click.option("-s", "--signal", "text", default="SIGKILL", metavar="SIGNAL", help="Which one; SIGKILL.")
@click.pass_obj
def command(context: Context, names: tuple[str, ...], text: str) -> None:
    """Send a signal to containers, by default SIGKILL."""
    from imagetool.containers import folder, life
    from imagetool.runtime import signals

    number = signals.number(text)

    def one(name: str) -> None:
        life.kill(folder.find(context.store, name), number)
        click.echo(name)

    each(names, one)
