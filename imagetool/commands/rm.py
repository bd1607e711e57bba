"""`rm`, `container rm`: containers and their changes."""

from __future__ import annotations

import click

from imagetool.commands.context import Context, container_argument, each
from imagetool.errors import NotFound


@click.command("rm", epilog="\b\nExamples:\n  imagetool rm -v web\n  imagetool rm -f $(imagetool ps -aq)")
@container_argument("names", metavar="CONTAINER...", nargs=-1, required=True)
@click.option("-f", "--force", is_flag=True, help="Also one that runs, which is killed, or is not there.")
@click.option("-v", "--volumes", is_flag=True, help="Also the volumes without a name that were made for it.")
@click.pass_obj
def command(context: Context, names: tuple[str, ...], force: bool, volumes: bool) -> None:
    """Remove containers."""
    from imagetool.containers import folder, life

    context.become_root()  # in volumes there may be files of other ids

    def one(name: str) -> None:
        try:
            found = folder.find(context.store, name)
        except NotFound as error:
            if not force:
                raise
            click.echo(f"Error: {error}", err=True)
            return
        life.remove(context.store, found, force=force, volumes=volumes)
        click.echo(name)

    each(names, one)
