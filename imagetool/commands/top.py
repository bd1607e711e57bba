"""`top`: the processes of a container."""

from __future__ import annotations

import subprocess

import click

from imagetool.commands.context import Context
from imagetool.errors import Conflict, ImageToolError


@click.command("top", epilog="\b\nExamples:\n  imagetool top web")
@click.argument("name", metavar="CONTAINER")
@click.pass_obj
def command(context: Context, name: str) -> None:
    """Show the processes of a running container, by their ids on this machine."""
    from imagetool.containers import folder, remains
    from imagetool.runtime import cgroups

    container = folder.find(context.store, name)
    if not container.state.running:
        raise Conflict(f"container {container.id} is not running")
    pids = cgroups.Cgroup(remains.cgroup_path(container.id)).pids() if cgroups.version() else []
    chosen = ",".join(map(str, pids or [container.state.pid]))
    try:
        done = subprocess.run(["ps", "-f", "-p", chosen], capture_output=True, text=True)
    except FileNotFoundError as error:
        raise ImageToolError("ps(1) is not installed", hint="install procps") from error
    click.echo(done.stdout, nl=False)
