"""`start`: a container that was made, or has ended, runs (again)."""

from __future__ import annotations

import click

from imagetool.commands.context import Context, container_argument, each
from imagetool.errors import UsageError


@click.command("start", epilog="\b\nExamples:\n  imagetool start web\n  imagetool start -ai shell")
@container_argument("names", metavar="CONTAINER...", nargs=-1, required=True)
@click.option("-a", "--attach", "attached", is_flag=True, help="Show its output, and pass signals on.")
@click.option("-i", "--interactive", is_flag=True, help="Pass standard input on.")
@click.option("--detach-keys", default="ctrl-p,ctrl-q", metavar="KEYS", help="What leaves it alone again.")
@click.pass_obj
def command(
    context: Context, names: tuple[str, ...], attached: bool, interactive: bool, detach_keys: str
) -> None:
    """Start containers."""
    if attached or interactive:
        if len(names) != 1:
            raise UsageError("you cannot start and attach multiple containers at once")
        _in_front(context, names[0], interactive, detach_keys)
        return
    from imagetool.containers import folder, life

    def one(name: str) -> None:
        container = folder.find(context.store, name)
        if container.state.status not in ("running", "restarting"):
            connection, notes = life.start(context.store, container)
            connection.close()
            for note in notes:
                context.note(f"WARNING: {note}")
        click.echo(name)

    each(names, one)


def _in_front(context: Context, name: str, interactive: bool, keys: str) -> None:
    from imagetool.containers import attach, folder, life

    container = folder.find(context.store, name)
    connection, _ = life.start(context.store, container, attached=True)
    stdin = interactive and container.record.interactive
    code = attach.follow(connection, tty=container.record.options.tty, stdin=stdin, keys=keys)
    if code:
        raise click.exceptions.Exit(code)
