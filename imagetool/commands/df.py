"""`system df`: what takes space, and how much of it can go."""

from __future__ import annotations

import click

from imagetool.commands.context import Context
from imagetool.commands.output import format_option, show_rows

TITLES = {
    "Type": "TYPE",
    "TotalCount": "TOTAL",
    "Active": "ACTIVE",
    "Size": "SIZE",
    "Reclaimable": "RECLAIMABLE",
}


@click.command("df", epilog="\b\nExamples:\n  imagetool system df\n  imagetool system df -v")
@click.option("-v", "--verbose", is_flag=True, help="Also how large each image and volume is.")
@format_option
@click.pass_obj
def command(context: Context, verbose: bool, format: str | None) -> None:
    """Show what takes space. Layers are those of images and of build steps, as files can be read from them."""
    from imagetool.build import cache
    from imagetool.containers import usage as containers
    from imagetool.store.usage import usage
    from imagetool.units import size_text

    store = context.store
    images, *others = usage(store)
    steps = cache.usage(store)
    context.become_root()  # in volumes there may be directories of other ids
    rows = []
    for each in (images, containers.containers(store), containers.local_volumes(store), steps, *others):
        share = f" ({100 * each.reclaimable // each.size}%)" if each.size else ""
        rows.append(
            {
                "Type": each.kind,
                "TotalCount": str(each.total),
                "Active": str(each.active),
                "Size": size_text(each.size),
                "Reclaimable": size_text(each.reclaimable) + share,
            }
        )
    show_rows(rows, list(TITLES), TITLES, format)
    if verbose:
        _show_images(context)
        _show_volumes(context)


def _show_images(context: Context) -> None:
    from imagetool import digest as digests
    from imagetool.look import sharing
    from imagetool.units import size_text

    titles = {"Repository": "REPOSITORY", "Tag": "TAG", "ID": "IMAGE ID", "Size": "SIZE",
              "Shared": "SHARED SIZE", "Unique": "UNIQUE SIZE"}  # fmt: skip
    rows = [
        {
            "Repository": each.repository,
            "Tag": each.tag,
            "ID": digests.short(each.image_id),
            "Size": size_text(each.shared + each.unique),
            "Shared": size_text(each.shared),
            "Unique": size_text(each.unique),
        }
        for each in sharing.shares(context.store)
    ]
    click.echo("\nImages space usage:\n")
    show_rows(rows, list(titles), titles)


def _show_volumes(context: Context) -> None:
    from imagetool.containers import folder, volumes
    from imagetool.units import size_text

    titles = {"Name": "VOLUME NAME", "Links": "LINKS", "Size": "SIZE"}
    used = folder.volume_users(context.store)
    rows = [
        {"Name": each.name, "Links": len(used.get(each.name, ())), "Size": size_text(volumes.size(each))}
        for each in volumes.listing(context.store)
    ]
    click.echo("\nLocal Volumes space usage:\n")
    show_rows(rows, list(titles), titles)
