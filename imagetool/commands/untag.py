"""`untag`: take names off images, which stay."""

from __future__ import annotations

import click

from imagetool.commands.context import Context, each, image_argument


@click.command("untag", epilog="\b\nExamples:\n  imagetool untag me/base:latest")
@image_argument("names", metavar="NAME[:TAG]...", nargs=-1, required=True)
@click.pass_obj
def command(context: Context, names: tuple[str, ...]) -> None:
    """Take names off images. An image without a name stays: see `image prune`."""
    from imagetool import reference

    each(names, lambda name: context.store.untag([str(reference.parse(name).tagged())]))
