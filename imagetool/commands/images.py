"""`images`, `image ls`: what is in the store."""

from __future__ import annotations

import time

import click

from imagetool.commands.context import Context, image_argument
from imagetool.commands.output import format_option, show_rows
from imagetool.look import listing
from imagetool.look.listing import Row


@click.command(
    "images",
    epilog="""\b
Examples:
  imagetool images
  imagetool images debian
  imagetool images --filter dangling=true
  imagetool images --format '{{.Repository}}: {{.Tag}}: {{.Size}}'""",
)
@image_argument("name", metavar="[REPOSITORY[:TAG]]", required=False)
@click.option(
    "-a", "--all", "everything", is_flag=True, help="Accepted for Docker's sake: there are no others."
)
@click.option("-q", "--quiet", is_flag=True, help="Show image IDs only.")
@click.option("--no-trunc", is_flag=True, help="Show IDs in full.")
@click.option("--digests", "--digest", is_flag=True, help="Show the digests that registries know.")
@click.option(
    "-f",
    "--filter",
    "filters",
    multiple=True,
    metavar="KEY=VALUE",
    help="dangling=BOOL, before=IMAGE, since=IMAGE, until=TIME, label=KEY[=VALUE], reference=PATTERN.",
)
@format_option
@click.option("--tree", is_flag=True, help="Show the platforms and layers of each image.")
@click.pass_obj
def command(
    context: Context, name: str | None, everything: bool, quiet: bool, no_trunc: bool, digests: bool,
    filters: tuple[str, ...], format: str | None, tree: bool,
) -> None:  # fmt: skip
    """List images."""
    rows = _chosen(context, name, filters, digests=digests)
    if tree:
        _show_tree(context, rows)
    elif quiet and (format is None or format.startswith("table")):
        ids = [listing.fields(row, full=no_trunc, now=0)["ID"] for row in rows]
        click.echo("".join(f"{each}\n" for each in ids), nl=False)
    else:
        now = time.time()
        columns = ["Repository", "Tag", *(["Digest"] if digests else []), "ID", "CreatedSince", "Size"]
        fields = [listing.fields(row, full=no_trunc, now=now) for row in rows]
        show_rows(fields, columns, listing.TITLES, format)


def _chosen(context: Context, name: str | None, filters: tuple[str, ...], *, digests: bool) -> list[Row]:
    images = listing.images(context.store.summaries())
    if name is None and not filters:
        return [row for image in images for row in listing.rows(image, digests=digests)]
    from imagetool.look import filters as filtering

    def created(text: str) -> float:
        target = context.store.resolve(text)
        return filtering.created_of(images, context.store.image(target).id)

    wanted = filtering.parse(filters, created)
    if name is not None:
        wanted = wanted._replace(references=(*wanted.references, name))
    kept = (row for image in images if wanted.keeps(image) for row in listing.rows(image, digests=digests))
    return [row for row in kept if wanted.keeps_row(row)]


def _show_tree(context: Context, rows: list[Row]) -> None:
    from imagetool.look import tree

    targets = dict.fromkeys(row.image.facts.target for row in rows)
    named = {row.image.facts.target: row.image for row in rows}
    for target in targets:
        names = list(named[target].names()) or list(named[target].repo_digests()) or [listing.NONE]
        click.echo("\n".join(tree.lines(context.store, target, names)))
