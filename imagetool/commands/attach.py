"""`attach`: in front of a container that runs."""

from __future__ import annotations

import json

import click

from imagetool.commands.context import Context, container_argument
from imagetool.errors import Conflict


@click.command(
    "attach", epilog="\b\nExamples:\n  imagetool attach shell        ctrl-p ctrl-q leaves it alone"
)
@container_argument()
@click.option("--no-stdin", is_flag=True, help="Do not pass standard input on.")
@click.option("--sig-proxy/--no-sig-proxy", default=True, help="Pass signals on.")
@click.option("--detach-keys", default="ctrl-p,ctrl-q", metavar="KEYS", help="What leaves it alone again.")
@click.pass_obj
def command(context: Context, name: str, no_stdin: bool, sig_proxy: bool, detach_keys: str) -> None:
    """Show a running container's output, and type to it."""
    from imagetool.containers import attach, folder, frames, life

    container = folder.find(context.store, name)
    connection = life.connect(container) if container.state.running else None
    if connection is None:
        raise Conflict("You cannot attach to a stopped container, start it first")
    stdin = container.record.interactive and not no_stdin
    connection.send(frames.HELLO, json.dumps({"output": True, "input": stdin}).encode())
    tty = container.record.options.tty
    code = attach.follow(connection, tty=tty, stdin=stdin, proxy=sig_proxy, keys=detach_keys)
    if code:
        raise click.exceptions.Exit(code)
