"""`run`: a new container, in front of the caller or behind."""

from __future__ import annotations

import os
from collections.abc import Sequence

import click

from imagetool.commands import containing, runflags
from imagetool.commands.context import Context
from imagetool.errors import ImageToolError, UsageError
from unionfs.annotations import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from imagetool.containers.record import Record
    from imagetool.runtime.network import Netlink

STREAMS = ("stdin", "stdout", "stderr")


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
@click.option(
    "-a",
    "--attach",
    "streams",
    multiple=True,
    type=click.Choice(STREAMS, case_sensitive=False),
    help="Only these of its streams; all.",
)
@click.option("--detach-keys", default=None, metavar="KEYS", help="What leaves it alone; ctrl-p,ctrl-q.")
@click.option("--sig-proxy/--no-sig-proxy", default=True, help="Pass signals on.")
@click.pass_obj
def command(
    context: Context,
    /,
    detach: bool,
    streams: tuple[str, ...],
    detach_keys: str | None,
    sig_proxy: bool,
    **given: Any,
) -> int:
    """Run a command in a new container."""
    from imagetool.runtime import network, terminal

    if detach and streams:
        raise UsageError("Conflicting options: --attach and --detach", hint="leave one of them out")
    keys = terminal.DEFAULT_DETACH if detach_keys is None else detach_keys
    terminal.parse_keys(keys)
    if given["tty"] and given["interactive"] and not detach and not os.isatty(0):
        raise UsageError("the input device is not a TTY", hint="leave out -t")
    helper = network.early(given["network"])
    record = containing.create(context, given, attached=not detach)
    try:
        shown = () if detach else streams or STREAMS
        code = _started(context, record, helper, shown, keys=keys, proxy=sig_proxy)
    except ImageToolError:
        if record.remove:
            _forget(context, record)
        raise
    if code:
        raise click.exceptions.Exit(code)
    return 0


def _started(
    context: Context, record: Record, helper: Netlink | None, shown: Sequence[str], *, keys: str, proxy: bool
) -> int:
    """`shown`: which of its streams are the caller's; none leave it alone. The exit code."""
    from imagetool.containers import attach, launch

    connection, notes = launch.launch(context.store, record, attached=bool(shown), helper=helper)
    for note in notes:
        context.note(f"WARNING: {note}")
    if not {"stdout", "stderr"} & set(shown):
        click.echo(record.id)
    if not shown:
        connection.close()
        return 0
    stdin = record.interactive and "stdin" in shown
    outputs = attach.outputs(shown)
    code = attach.follow(
        connection, tty=record.options.tty, stdin=stdin, outputs=outputs, proxy=proxy, keys=keys
    )
    return code or 0


def _forget(context: Context, record: Record) -> None:
    """What its monitor did not take away, as it never ran."""
    from imagetool.containers import folder, life

    left = folder.load(context.store, record.id)
    if left is not None:
        life.remove(context.store, left, force=True)
