"""`load`: images from an archive that `save`, Docker, podman or skopeo has written."""

from __future__ import annotations

import click

from imagetool.commands.context import Context, limit_option
from imagetool.commands.streams import reader, title


@click.command(
    "load",
    epilog="""\b
Examples:
  imagetool load -i debian.tar
  ssh other docker save debian:12 | imagetool load""",
)
@click.option(
    "-i", "--input", "path", metavar="FILE", type=click.Path(), help="Else it comes from standard input."
)
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
@limit_option
@click.pass_obj
def command(context: Context, path: str | None, quiet: bool, max_layer_size: int | None) -> None:
    """Load images from an archive, compressed or not."""
    from imagetool import reference
    from imagetool.archive.load import load
    from imagetool.store.limits import LIMITS

    with reader(path, "an archive") as read:
        images = load(context.store, read, title(path), LIMITS._replace(layer_size=max_layer_size))
    for image in () if quiet else images:
        for name in image.names:
            click.echo(f"Loaded image: {reference.parse(name).familiar()}")
        if not image.names:
            click.echo(f"Loaded image ID: {image.image_id}")
