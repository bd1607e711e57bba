"""`restart`: stop and start."""

from __future__ import annotations

import click

from imagetool.commands.context import Context, container_argument, each


@click.command("restart", epilog="\b\nExamples:\n  imagetool restart web")
@container_argument("names", metavar="CONTAINER...", nargs=-1, required=True)
@click.option("-t", "--time", "--timeout", "seconds", type=int, default=None, metavar="SECONDS",
              help="How long to wait before it is killed; -1: for ever; its --stop-timeout.")  # fmt: skip
@click.pass_obj
def command(context: Context, names: tuple[str, ...], seconds: int | None) -> None:
    """Stop containers that run, and start them."""
    from imagetool.containers import folder, life

    def one(name: str) -> None:
        container = folder.find(context.store, name)
        if container.state.running or container.watched:
            life.stop(container, seconds=life.patience(container, seconds))
        connection, _ = life.start(context.store, folder.find(context.store, container.id))
        connection.close()
        click.echo(name)

    each(names, one)
