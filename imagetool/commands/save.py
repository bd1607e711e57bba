"""`save`: images into an archive that `load` takes, here and in Docker, podman and skopeo."""

from __future__ import annotations

import click

from imagetool.commands.context import Context, image_argument
from imagetool.commands.streams import output


@click.command(
    "save",
    epilog="""\b
Examples:
  imagetool save -o debian.tar debian:12
  imagetool save debian:12 alpine | ssh other imagetool load
  imagetool save --format oci-archive -o debian.oci.tar debian:12""",
)
@image_argument("names", metavar="IMAGE...", nargs=-1, required=True)
@click.option(
    "-o", "--output", "path", metavar="FILE", type=click.Path(), help="Else it goes to standard output."
)
@click.option(
    "--format",
    type=click.Choice(["docker-archive", "oci-archive"]),
    default="docker-archive",
    help="docker-archive: what all tools read. oci-archive: byte for byte, all platforms.",
)
@click.pass_obj
def command(context: Context, names: tuple[str, ...], path: str | None, format: str) -> None:
    """Write images into an archive."""
    from imagetool.archive import save
    from imagetool.moving import wanted

    images = wanted(context.store, names)
    with output(path, "an archive") as sink:
        (save.save_docker if format == "docker-archive" else save.save_oci)(context.store, images, sink)
