"""`volume inspect`: all that is known of volumes."""

from __future__ import annotations

import click

from imagetool.commands.context import Context, each
from imagetool.commands.output import show_documents
from unionfs.annotations import Any


@click.command(
    "inspect",
    epilog="\b\nExamples:\n  imagetool volume inspect data\n  imagetool volume inspect -f '{{.Mountpoint}}' data",
)
@click.argument("names", metavar="VOLUME...", nargs=-1, required=True)
@click.option("-f", "--format", metavar="TEMPLATE", help="'json', or a Go template for each volume.")
@click.pass_obj
def command(context: Context, names: tuple[str, ...], format: str | None) -> None:
    """Show all that is known of volumes."""
    from imagetool.containers import volumes
    from imagetool.units import time_text

    found: list[Any] = []

    def one(name: str) -> None:
        volume = volumes.find(context.store, name)
        found.append(
            {
                "CreatedAt": time_text(volume.created),
                "Driver": "local",
                "Labels": dict(volume.labels) or None,
                "Mountpoint": volume.path,
                "Name": volume.name,
                "Options": None,
                "Scope": "local",
            }
        )

    try:
        each(names, one)
    finally:
        show_documents(found, format)
