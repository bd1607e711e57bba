"""`inspect`, `image inspect`: all that is known of images."""

from __future__ import annotations

import click

from imagetool.commands.context import FAILED, Context, image_argument, platform_option
from imagetool.commands.output import show_documents
from imagetool.errors import ImageToolError
from imagetool.spec import Platform


@click.command(
    "inspect",
    epilog="""\b
Examples:
  imagetool inspect debian:12
  imagetool inspect --format '{{.Config.Entrypoint}}' debian:12
  imagetool inspect --format '{{json .RootFS.Layers}}' debian:12""",
)
@image_argument("names", metavar="IMAGE...", nargs=-1, required=True)
@click.option("-f", "--format", metavar="TEMPLATE", help="'json', or a Go template for each image.")
@platform_option
@click.pass_obj
def command(context: Context, names: tuple[str, ...], format: str | None, platform: Platform | None) -> None:
    """Show all that is known of images."""
    from imagetool.look import inspect

    found, errors = [], []
    for name in names:
        try:
            image = context.store.image(context.store.resolve(name, platform))
            found.append(inspect.document(context.store, image))
        except ImageToolError as error:
            errors.append(str(error))
    show_documents([inspect.for_template(each) for each in found] if format else found, format)
    for text in errors:
        click.echo(f"Error: {text}", err=True)
    if errors:
        raise click.exceptions.Exit(FAILED)
