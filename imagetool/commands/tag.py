"""`tag`: another name for an image. A tag that another image had moves to this one."""

from __future__ import annotations

import click

from imagetool.commands.context import Context, image_argument


@click.command(
    "tag", epilog="\b\nExamples:\n  imagetool tag debian:12 me/base\n  imagetool tag 07c2a81dfe22 demo:1.0"
)
@image_argument("source", metavar="SOURCE")
@click.argument("target", metavar="NAME[:TAG]")
@click.pass_obj
def command(context: Context, source: str, target: str) -> None:
    """Give an image, by name or ID, another name."""
    context.store.tag(source, target)
