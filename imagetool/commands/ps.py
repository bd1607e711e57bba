"""`ps`, `container ls`: what runs, and what has run."""

from __future__ import annotations

import time
from contextlib import suppress

import click

from imagetool.commands.context import Context
from imagetool.commands.output import format_option, show_rows
from imagetool.errors import ImageToolError
from unionfs.annotations import TYPE_CHECKING

if TYPE_CHECKING:
    from imagetool.containers.folder import Container
    from imagetool.store.store import Store


@click.command(
    "ps",
    epilog="""\b
Examples:
  imagetool ps
  imagetool ps -a -s
  imagetool ps --filter status=exited --format '{{.Names}}: {{.Status}}'""",
)
@click.option("-a", "--all", "everything", is_flag=True, help="Also those that do not run.")
@click.option("-q", "--quiet", is_flag=True, help="Show IDs only.")
@click.option("-s", "--size", is_flag=True, help="Show sizes.")
@click.option("-n", "--last", type=int, default=-1, metavar="N", help="The last N that were made.")
@click.option("-l", "--latest", is_flag=True, help="The last one that was made.")
@click.option("--no-trunc", is_flag=True, help="Show everything in full.")
@click.option("-f", "--filter", "filters", multiple=True, metavar="KEY=VALUE",
              help="id, name, label, status, exited, ancestor, network, publish, expose, volume, before, since."
)  # fmt: skip
@format_option
@click.pass_obj
def command(
    context: Context, everything: bool, quiet: bool, size: bool, last: int, latest: bool, no_trunc: bool,
    filters: tuple[str, ...], format: str | None,
) -> None:  # fmt: skip
    """List containers."""
    from imagetool.containers import inspect, listing

    last = 1 if latest else last
    found = _chosen(context.store, filters, everything=everything or last >= 0)
    found = found[:last] if last >= 0 else found
    if quiet:
        click.echo("".join(f"{one.id if no_trunc else one.id[:12]}\n" for one in found), nl=False)
        return
    now = time.time()
    names = _images(context.store, found)
    wanted = found if size or ".Size" in (format or "") else []
    sizes = {one.id: inspect.sizes(context.store, one) for one in wanted}
    rows = [
        listing.fields(one, full=no_trunc, now=now, image=names[one.id], sizes=sizes.get(one.id))
        for one in found
    ]
    columns = [*listing.COLUMNS, *(["Size"] if size else [])]
    show_rows(rows, columns, listing.TITLES, format, labels=[one.record.labels for one in found])


def _chosen(store: Store, filters: tuple[str, ...], *, everything: bool) -> list[Container]:
    from imagetool.containers import folder, listing

    keeps = listing.parse_filters(filters, lambda text: folder.find(store, text).record.created)
    by_state = any(text.startswith(("status=", "exited=")) for text in filters)
    there = [one for one in folder.listing(store) if everything or by_state or one.state.running]
    return [one for one in there if keeps(one)]


def _images(store: Store, found: list[Container]) -> dict[str, str]:
    from imagetool.containers import listing

    current: dict[str, str | None] = {}
    for name in {one.record.image for one in found}:
        with suppress(ImageToolError):
            current[name] = store.image(store.resolve(name)).id
    return listing.image_names(found, current)
