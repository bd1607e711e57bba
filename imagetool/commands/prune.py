"""`image prune`: remove images that nobody needs."""

from __future__ import annotations

import click

from imagetool.commands.context import Context, confirmed, force_option


@click.command("prune", epilog="\b\nExamples:\n  imagetool image prune\n  imagetool image prune -a -f")
@click.option("-a", "--all", "everything", is_flag=True, help="Also those with a tag that no container uses.")
@force_option
@click.option(
    "--filter", "filters", multiple=True, metavar="KEY=VALUE", help="until=TIME, label=KEY[=VALUE]."
)
@click.pass_obj
def command(context: Context, everything: bool, force: bool, filters: tuple[str, ...]) -> None:
    """Remove images without a tag; with -a, all that no container uses."""
    which = (
        "all images without at least one container associated to them"
        if everything
        else "all dangling images"
    )
    if confirmed(f"This will remove {which}.", force=force):
        prune(context, everything=everything, filters=filters)


def prune(context: Context, *, everything: bool, filters: tuple[str, ...] = ()) -> None:
    """Does it, and says what went, as Docker does."""
    from imagetool import reference
    from imagetool.look import filters as filtering
    from imagetool.look import listing
    from imagetool.store.usage import prune as pruned
    from imagetool.units import size_text

    store = context.store
    wanted = filtering.parse(filters, filtering.refused)
    images = listing.images(store.summaries()) if filters else []
    keep = {row.target for row in store.summaries() for image in images
            if image.facts.image_id == row.image_id and not wanted.keeps(image)}  # fmt: skip
    gone = pruned(store, everything=everything, keep=keep)
    if gone.deleted or gone.untagged:
        click.echo("Deleted Images:")
        for name in gone.untagged:
            click.echo(f"untagged: {reference.parse(name).familiar()}")
        for image_id in gone.deleted:
            click.echo(f"deleted: {image_id}")
        click.echo()
    click.echo(f"Total reclaimed space: {size_text(gone.size)}")
