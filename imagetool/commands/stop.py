"""`stop`: ask containers to end, and end them."""

from __future__ import annotations

import click

from imagetool.commands.context import Context, container_argument, each


@click.command("stop", epilog="\b\nExamples:\n  imagetool stop web\n  imagetool stop -t 1 web")
@container_argument("names", metavar="CONTAINER...", nargs=-1, required=True)
@click.option("-t", "--time", "--timeout", "seconds", type=int, default=None, metavar="SECONDS",
              help="How long to wait before it is killed; -1: for ever; its --stop-timeout.")  # fmt: skip
@click.option("-s", "--signal", "text", metavar="SIGNAL", help="Instead of its stop signal.")
@click.pass_obj
def command(context: Context, names: tuple[str, ...], seconds: int | None, text: str | None) -> None:
    """Stop containers."""
    from imagetool.containers import folder, life
    from imagetool.runtime import signals

    number = signals.number(text) if text else None

    def one(name: str) -> None:
        container = folder.find(context.store, name)
        if container.state.running or container.watched:
            life.stop(container, seconds=life.patience(container, seconds), number=number)
        click.echo(name)

    each(names, one)
