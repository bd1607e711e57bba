"""`container inspect`: all that is known of containers."""

from __future__ import annotations

import click

from imagetool.commands.context import Context, container_argument, each
from imagetool.commands.output import show_documents
from unionfs.annotations import Any


@click.command(
    "inspect",
    epilog="\b\nExamples:\n  imagetool container inspect --format '{{.State.Status}}' web",
)
@container_argument("names", metavar="CONTAINER...", nargs=-1, required=True)
@click.option("-f", "--format", metavar="TEMPLATE", help="'json', or a Go template for each container.")
@click.option("-s", "--size", is_flag=True, help="Also their sizes.")
@click.pass_obj
def command(context: Context, names: tuple[str, ...], format: str | None, size: bool) -> None:
    """Show all that is known of containers."""
    from imagetool.containers import folder, inspect

    found: list[Any] = []
    try:
        each(
            names,
            lambda name: found.append(
                inspect.document(context.store, folder.find(context.store, name), size=size)
            ),
        )
    finally:
        show_documents(found, format)
