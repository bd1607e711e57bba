"""`image explore`: what each layer does, and what is wasted; in the terminal, or as a page."""

from __future__ import annotations

import click

from imagetool.commands.context import Context, image_argument, platform_option
from imagetool.commands.output import format_option, printable, show_rows
from imagetool.spec import Platform

TITLES = {
    "ID": "LAYER",
    "Size": "SIZE",
    "Added": "ADDED",
    "Changed": "CHANGED",
    "Deleted": "DELETED",
    "Wasted": "WASTED",
    "CreatedBy": "CREATED BY",
}
_WIDTH = 50  # characters of CREATED BY
_WASTE = 10  # hidden files that are named


@click.command(
    "explore",
    epilog="""\b
Examples:
  imagetool image explore debian:12
  imagetool image explore --html debian.html debian:12
ADDED, CHANGED and DELETED count files; WASTED are bytes that a later layer hides.""",
)
@image_argument()
@click.option(
    "--html", "page", metavar="FILE", type=click.Path(), help="Write a page with a treemap instead."
)
@click.option("--no-trunc", is_flag=True, help="Show steps in full, and all that is wasted.")
@format_option
@platform_option
@click.pass_obj
def command(
    context: Context,
    image: str,
    page: str | None,
    no_trunc: bool,
    format: str | None,
    platform: Platform | None,
) -> None:
    """Show what each layer of an image adds, changes, deletes and wastes."""
    from imagetool.look.explore import explore

    _, found = context.have(image, platform)
    explored = explore(context.store, found)
    if page is not None:
        from imagetool.look.page import render
        from imagetool.store import disk

        with disk.errors(f"cannot write {page}"), disk.new_file(page) as file:
            file.write(render(image, found.id, explored).encode())
        return
    _show(explored, format, full=no_trunc)


def _show(explored: object, format: str | None, *, full: bool) -> None:
    from imagetool import digest as digests
    from imagetool.look.explore import Explored
    from imagetool.units import size_text

    assert isinstance(explored, Explored)
    rows = [
        {
            "ID": digests.short(layer.diff_id),
            "Size": size_text(layer.size),
            "Added": _counted(layer.added, layer.added_size),
            "Changed": _counted(layer.changed, layer.changed_size),
            "Deleted": _counted(layer.deleted, layer.deleted_size),
            "Wasted": size_text(layer.wasted),
            "CreatedBy": printable(layer.created_by)[: None if full else _WIDTH],
        }
        for layer in explored.layers
    ]
    show_rows(rows, list(TITLES), TITLES, format)
    if format is not None:
        return
    total, wasted = size_text(explored.size), size_text(explored.wasted)
    click.echo(
        f"\n{len(rows)} layers, {total}, of which {wasted} are wasted: {explored.efficiency:.1%} efficient"
    )
    for path, size in explored.waste[: None if full else _WASTE]:
        click.echo(f"  {size_text(size):>7}  /{printable(b'/'.join(path))}")


def _counted(count: int, size: int) -> str:
    from imagetool.units import size_text

    return f"{count} ({size_text(size)})" if count else "0"
