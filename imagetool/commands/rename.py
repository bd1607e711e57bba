"""`rename`: another name for a container."""

from __future__ import annotations

import click

from imagetool.commands.context import Context, container_argument


@click.command("rename", epilog="\b\nExamples:\n  imagetool rename brave_curie web")
@container_argument()
@click.argument("new", metavar="NAME")
@click.pass_obj
def command(context: Context, name: str, new: str) -> None:
    """Give a container another name."""
    from imagetool.containers import folder

    folder.rename(context.store, folder.find(context.store, name), new)
