"""`history`: the steps that made an image, the last one first."""

from __future__ import annotations

import time

import click

from imagetool import digest as digests
from imagetool.commands.context import Context, image_argument, platform_option
from imagetool.commands.output import Row, format_option, printable, show_rows
from imagetool.spec import Platform

TITLES = {
    "ID": "IMAGE",
    "CreatedSince": "CREATED",
    "CreatedAt": "CREATED AT",
    "CreatedBy": "CREATED BY",
    "Size": "SIZE",
    "Comment": "COMMENT",
}
_WIDTH = 45  # characters of CREATED BY, as in Docker
_MISSING = "<missing>"  # Docker's word for a step whose image is not known


@click.command("history", epilog="\b\nExamples:\n  imagetool history --no-trunc debian:12")
@image_argument()
@click.option("-H", "--human/--no-human", default=True, help="Sizes and times for people; the default.")
@click.option("--no-trunc", is_flag=True, help="Show steps and IDs in full.")
@click.option("-q", "--quiet", is_flag=True, help="Show image IDs only.")
@format_option
@platform_option
@click.pass_obj
def command(
    context: Context, image: str, human: bool, no_trunc: bool, quiet: bool, format: str | None,
    platform: Platform | None,
) -> None:  # fmt: skip
    """Show the steps that made an image."""
    from imagetool.look.history import steps

    found = context.store.image(context.store.resolve(image, platform))
    image_id = found.id if no_trunc else digests.short(found.id)
    rows: list[Row] = []
    for step in reversed(steps(context.store, found)):
        created_by = printable(step.created_by)
        rows.append(
            {
                "ID": _MISSING if rows else image_id,
                "CreatedSince": _since(step.created) if human else step.created,
                "CreatedAt": step.created,
                "CreatedBy": created_by if no_trunc else _shortened(created_by),
                "Size": _size(step.size) if human else str(step.size),
                "Comment": printable(step.comment),
            }
        )
    if quiet:
        click.echo("".join(f"{row['ID']}\n" for row in rows), nl=False)
    else:
        show_rows(rows, ["ID", "CreatedSince", "CreatedBy", "Size", "Comment"], TITLES, format)


def _shortened(text: str) -> str:
    return text if len(text) <= _WIDTH else text[: _WIDTH - 1] + "…"


def _since(created: str) -> str:
    from imagetool.errors import Malformed
    from imagetool.units import since_text

    try:
        return since_text(created, time.time())
    except Malformed:
        return "N/A"


def _size(size: int) -> str:
    from imagetool.units import size_text

    return size_text(size)
