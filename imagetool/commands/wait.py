"""`wait`: until containers have ended."""

from __future__ import annotations

import click

from imagetool.commands.context import Context, container_argument, each


@click.command("wait", epilog="\b\nExamples:\n  imagetool wait job")
@container_argument("names", metavar="CONTAINER...", nargs=-1, required=True)
@click.pass_obj
def command(context: Context, names: tuple[str, ...]) -> None:
    """Wait for containers to end, and print their exit codes.

    255 is that of an end which nobody saw: the monitor of the container had been killed, or the machine stopped.
    """
    from imagetool.containers import folder, life

    each(names, lambda name: click.echo(life.wait(folder.find(context.store, name))))
