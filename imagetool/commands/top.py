"""`top`: the processes of a container."""

from __future__ import annotations

import subprocess

import click

from imagetool.commands.context import Context, container_argument
from imagetool.commands.runflags import SETTINGS
from imagetool.errors import Conflict, ImageToolError, UsageError


@click.command(
    "top",
    context_settings=SETTINGS,
    epilog="\b\nExamples:\n  imagetool top web\n  imagetool top web -o pid,rss,comm",
)
@container_argument()
@click.argument("arguments", metavar="[PS OPTIONS]", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def command(context: Context, name: str, arguments: tuple[str, ...]) -> None:
    """Show the processes of a running container, by their ids on this machine."""
    from imagetool.containers import folder, life

    container = folder.find(context.store, name)
    if not container.state.running:
        raise Conflict(f"container {container.id} is not running")
    chosen = {str(pid) for pid in life.members(container)}
    for line in _rows(_ps(arguments or ("-ef",)), chosen):
        click.echo(line)


def _ps(options: tuple[str, ...]) -> list[str]:
    try:
        done = subprocess.run(["ps", *options], capture_output=True, text=True)
    except FileNotFoundError as error:
        raise ImageToolError("ps(1) is not installed", hint="install procps") from error
    if done.returncode and done.stderr:
        raise UsageError(f"ps {' '.join(options)}: {done.stderr.strip().splitlines()[0]}")
    return done.stdout.splitlines()


def _rows(lines: list[str], pids: set[str]) -> list[str]:
    """PURE: the head, and what has one of these ids in the column PID."""
    words = lines[0].split() if lines else []
    if "PID" not in words:
        raise UsageError("these options of ps show no PID", hint="add pid: -o pid,comm")
    place = words.index("PID")
    return [
        lines[0],
        *(line for line in lines[1:] if line.split()[place : place + 1] and line.split()[place] in pids),
    ]
