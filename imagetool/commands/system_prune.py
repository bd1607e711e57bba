"""`system prune`: everything that is not used, the leftovers of broken downloads too."""

from __future__ import annotations

import click

from imagetool.commands import prune_containers, volume_prune
from imagetool.commands.context import Context, confirmed
from imagetool.commands.prune import prune


@click.command(
    "prune", epilog="\b\nExamples:\n  imagetool system prune -f\n  imagetool system prune -a --volumes"
)
@click.option(
    "-a", "--all", "everything", is_flag=True, help="Also images with a tag that no container uses."
)
@click.option("-f", "--force", is_flag=True, help="Do not ask.")
@click.option("--volumes", is_flag=True, help="Also volumes without a name that no container has.")
@click.pass_obj
def command(context: Context, everything: bool, force: bool, volumes: bool) -> None:
    """Remove what is not used."""
    which = "all images without at least one container" if everything else "all dangling images"
    rows = ["all stopped containers", which, "results of build steps", "layers and blobs that nothing needs"]
    rows.append("unfinished downloads")
    if volumes:
        rows.append("all anonymous volumes not used by at least one container")
    text = "This will remove:\n" + "".join(f"  - {row}\n" for row in rows)
    if confirmed(text, force=force):
        from imagetool import mounts
        from imagetool.build import cache

        cache.prune(context.store)
        mounts.listing(context.store)  # clears away what mounts have left
        prune_containers.prune(context)
        if volumes:
            volume_prune.prune(context)
        prune(context, everything=everything)
