"""`create`: a new container that does not run yet."""

from __future__ import annotations

import click

from imagetool.commands import containing, runflags
from imagetool.commands.context import Context
from unionfs.annotations import Any


@click.command(
    "create",
    context_settings=runflags.SETTINGS,
    epilog="\b\nExamples:\n  imagetool create --name web -p 8080:80 httpd:2.4\n  imagetool start web",
)
@runflags.options
@click.pass_obj
def command(context: Context, /, **given: Any) -> None:
    """Make a container, to be started later."""
    click.echo(containing.create(context, given, attached=True).id)
