"""`search`: which images a registry has under a name."""

from __future__ import annotations

import click

from imagetool.commands.context import Context, insecure_option
from imagetool.commands.output import format_option, printable, show_rows
from unionfs.annotations import Any

TITLES = {
    "Name": "NAME",
    "Description": "DESCRIPTION",
    "StarCount": "STARS",
    "IsOfficial": "OFFICIAL",
    "IsAutomated": "AUTOMATED",
}
_WIDTH = 45  # characters of a description, as in Docker


@click.command(
    "search",
    epilog="""\b
Examples:
  imagetool search alpine
  imagetool search alpine --filter is-official=true
  imagetool search registry.example:5000/app""",
)
@click.argument("term", metavar="[REGISTRY/]TERM")
@click.option(
    "-f",
    "--filter",
    "filters",
    multiple=True,
    metavar="KEY=VALUE",
    help="is-official=BOOL, is-automated=BOOL, stars=N.",
)
@click.option("--limit", type=int, default=25, metavar="N", help="At most so many; 25, and never above 100.")
@click.option("--no-trunc", is_flag=True, help="Show descriptions in full.")
@format_option
@insecure_option
@click.pass_obj
def command(
    context: Context, term: str, filters: tuple[str, ...], limit: int, no_trunc: bool, format: str | None,
    insecure: bool,
) -> None:  # fmt: skip
    """Search a registry for images, by default docker.io."""
    import trio

    from imagetool import search
    from imagetool.registry import config, remote

    wanted = search.parse_filters(filters)
    registries = config.load()
    if insecure:
        registries = registries.insecurely(search.split_term(term)[0])

    async def run() -> list[search.Found]:
        async with remote.connect(registries=registries) as there:
            return await search.search(there.client, there.registries, term, limit=limit, filters=wanted)

    rows: list[dict[str, Any]] = [
        {
            "Name": found.name,
            "Description": found.description if no_trunc else _shortened(found.description),
            "StarCount": found.stars,
            "IsOfficial": "[OK]" if found.official else "",
            "IsAutomated": "[OK]" if found.automated else "",
        }
        for found in trio.run(run)
    ]
    show_rows(rows, list(TITLES)[:4], TITLES, format)


def _shortened(text: str) -> str:
    text = printable(text)
    return text if len(text) <= _WIDTH else text[: _WIDTH - 1] + "…"
