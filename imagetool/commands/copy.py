"""`copy`: an image from one kind of place to another."""

from __future__ import annotations

import click

from imagetool.commands.context import Context, image_argument, insecure_option, limit_option, platform_option
from imagetool.spec import Platform


@click.command(
    "copy",
    epilog="""\b
Places:
  docker://NAME                a registry
  oci:DIR:TAG                  an OCI layout directory
  oci-archive:FILE[:NAME]      the same in a tar
  docker-archive:FILE[:NAME]   what `docker save` writes
  NAME                         the store
\b
Examples:
  imagetool copy docker://debian:12 docker://registry.example/debian:12
  imagetool copy debian:12 oci:./layout:12
  imagetool copy docker-archive:debian.tar debian:12""",
)
@image_argument("source", metavar="SOURCE")
@click.argument("target", metavar="TARGET")
@click.option("--all-platforms", is_flag=True, help="The images for all platforms.")
@platform_option
@click.option("--compression", metavar="KIND", default="", help="For a registry: as in `push`.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
@limit_option
@insecure_option
@click.pass_obj
def command(
    context: Context, source: str, target: str, all_platforms: bool, platform: Platform | None,
    compression: str, quiet: bool, max_layer_size: int | None, insecure: bool,
) -> None:  # fmt: skip
    """Copy an image between registries, archives, directories and the store."""
    from imagetool import moving
    from imagetool.store.limits import LIMITS

    places = moving.parse(source), moving.parse(target)
    limits = LIMITS._replace(layer_size=max_layer_size)
    options = moving.Options(platform, all_platforms, compression, insecure, limits)
    with context.progress(quiet=quiet) as progress:
        moving.copy(context.store, *places, options, progress)
