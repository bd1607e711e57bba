"""`rmi`, `image rm`: remove images, or names of them."""

from __future__ import annotations

import click

from imagetool.commands.context import Context, each, image_argument


@click.command(
    "rmi",
    epilog="""\b
Examples:
  imagetool rmi debian:12            of several names only this one goes
  imagetool rmi -f 97bed23a3497      the image, whatever its names""",
)
@image_argument("names", metavar="IMAGE...", nargs=-1, required=True)
@click.option(
    "-f", "--force", is_flag=True, help="Also by ID with several names, or with stopped containers."
)
@click.option("--no-prune", is_flag=True, help="Leave the files until the next `system prune`.")
@click.pass_obj
def command(context: Context, names: tuple[str, ...], force: bool, no_prune: bool) -> None:
    """Remove images: a name, and with the last one the image."""
    from imagetool.removing import remove

    def one(name: str) -> None:
        for line in remove(context.store, name, force=force, prune=not no_prune):
            click.echo(line)

    each(names, one)
