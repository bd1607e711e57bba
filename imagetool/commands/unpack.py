"""`unpack`: an image's files as plain files in a directory."""

from __future__ import annotations

import click

from imagetool.commands.context import Context, image_argument, platform_option
from imagetool.spec import Platform


@click.command(
    "unpack",
    epilog="""\b
Examples:
  imagetool unpack debian:12 ./rootfs
Without root, owners and modes are kept in the attribute user.containers.override_stat.""",
)
@image_argument()
@click.argument("directory", type=click.Path())
@click.option("--rootless", is_flag=True, default=None, help="Keep owners in an attribute, also as root.")
@platform_option
@click.pass_obj
def command(
    context: Context, image: str, directory: str, rootless: bool | None, platform: Platform | None
) -> None:
    """Write an image's files into a new or empty directory."""
    from imagetool.archive.unpack import unpack

    store = context.store
    _, found = context.have(image, platform)
    store.ensure_layers(found)
    done = unpack(store.layer_tars(found), directory, rootless=rootless or None)
    for warning in done.warnings:
        context.note(f"Warning: {warning}")
