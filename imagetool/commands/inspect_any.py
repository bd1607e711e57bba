"""`inspect`: all that is known of containers and images, whichever the names mean."""

from __future__ import annotations

import click

from imagetool.commands.context import FAILED, Context, complete_both, image_argument, platform_option
from imagetool.commands.output import show_documents
from imagetool.errors import ImageToolError, NotFound
from imagetool.spec import Platform
from unionfs.annotations import Any


@click.command(
    "inspect",
    epilog="""\b
Examples:
  imagetool inspect debian:12
  imagetool inspect --format '{{.State.Status}}' web
  imagetool inspect --type image --format '{{json .RootFS.Layers}}' debian:12""",
)
@image_argument("names", metavar="NAME...", nargs=-1, required=True, shell_complete=complete_both)
@click.option("-f", "--format", metavar="TEMPLATE", help="'json', or a Go template for each.")
@click.option("--type", "kind", type=click.Choice(["container", "image"]), help="What the names mean.")
@click.option("-s", "--size", is_flag=True, help="Also the sizes of containers.")
@platform_option
@click.pass_obj
def command(
    context: Context, names: tuple[str, ...], format: str | None, kind: str | None, size: bool,
    platform: Platform | None,
) -> None:  # fmt: skip
    """Show all that is known of containers and images."""
    found, errors = [], []
    for name in names:
        try:
            found.append(_document(context, name, kind, platform, size=size, template=bool(format)))
        except ImageToolError as error:
            errors.append(str(error))
    show_documents(found, format)
    for text in errors:
        click.echo(f"Error: {text}", err=True)
    if errors:
        raise click.exceptions.Exit(FAILED)


def _document(
    context: Context, name: str, kind: str | None, platform: Platform | None, *, size: bool, template: bool
) -> Any:
    """A container of that name comes before an image."""
    if kind != "image":
        from imagetool.containers import folder
        from imagetool.containers import inspect as containers

        try:
            return containers.document(context.store, folder.find(context.store, name), size=size)
        except NotFound:
            if kind == "container":
                raise
    from imagetool.look import inspect

    try:
        target = context.store.resolve(name, platform)
    except NotFound as error:
        raise error if kind else NotFound(f"No such object: {name}", hint=error.hint) from None
    image = inspect.document(context.store, context.store.image(target))
    return inspect.for_template(image) if template else image
