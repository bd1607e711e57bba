"""`run`: a new container, in front of the caller or behind."""

from __future__ import annotations

import os

import click

from imagetool.commands import containing, runflags
from imagetool.commands.context import Context
from imagetool.errors import ImageToolError, UsageError
from unionfs.annotations import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from imagetool.containers.record import Record
    from imagetool.runtime.network import Netlink


@click.command(
    "run",
    context_settings=runflags.SETTINGS,
    epilog="""\b
Examples:
  imagetool run -it --rm debian
  imagetool run -d --name web -p 8080:80 httpd:2.4
  imagetool run --rm -v $PWD:/src -w /src golang go build""",
)
@runflags.options
@click.option("-d", "--detach", is_flag=True, help="Leave it alone, and print its ID.")
@click.option("--detach-keys", default=None, metavar="KEYS", help="What leaves it alone; ctrl-p,ctrl-q.")
@click.option("--sig-proxy/--no-sig-proxy", default=True, help="Pass signals on.")
@click.pass_obj
def command(context: Context, /, detach: bool, detach_keys: str | None, sig_proxy: bool, **given: Any) -> int:
    """Run a command in a new container."""
    from imagetool.runtime import network, terminal

    keys = terminal.DEFAULT_DETACH if detach_keys is None else detach_keys
    terminal.parse_keys(keys)
    if given["tty"] and given["interactive"] and not detach and not os.isatty(0):
        raise UsageError("the input device is not a TTY", hint="leave out -t")
    helper = network.early(given["network"])
    record = containing.create(context, given, attached=not detach)
    try:
        code = _started(context, record, helper, detach=detach, keys=keys, proxy=sig_proxy)
    except ImageToolError:
        if record.remove:
            _forget(context, record)
        raise
    if code:
        raise click.exceptions.Exit(code)
    return 0


def _started(
    context: Context, record: Record, helper: Netlink | None, *, detach: bool, keys: str, proxy: bool
) -> int:
    from imagetool.containers import attach, launch

    connection, notes = launch.launch(context.store, record, attached=not detach, helper=helper)
    for note in notes:
        context.note(f"WARNING: {note}")
    if detach:
        connection.close()
        click.echo(record.id)
        return 0
    code = attach.follow(connection, tty=record.options.tty, stdin=record.interactive, proxy=proxy, keys=keys)
    return code or 0


def _forget(context: Context, record: Record) -> None:
    """What its monitor did not take away, as it never ran."""
    from imagetool.containers import folder, life

    left = folder.load(context.store, record.id)
    if left is not None:
        life.remove(context.store, left, force=True)
