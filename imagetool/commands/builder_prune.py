"""`builder prune`: drop what builds have kept for the next ones."""

from __future__ import annotations

import click

from imagetool.commands.context import Context, confirmed, force_option


@click.command(
    "prune",
    epilog="\b\nExamples:\n  imagetool builder prune -f\n  imagetool builder prune --filter until=24h",
)
@click.option("-a", "--all", "everything", is_flag=True, help="The caches of RUN --mount=type=cache, too.")
@force_option
@click.option(
    "--filter", "filters", multiple=True, metavar="until=DURATION", help="Only what was not used for so long."
)
@click.pass_obj
def command(context: Context, everything: bool, force: bool, filters: tuple[str, ...]) -> None:
    """Drop the results of build steps, and the layers that no image needs."""
    from imagetool.build import cache, memory
    from imagetool.store import gc
    from imagetool.units import size_text

    seconds = cache.parse_until(filters)
    if not confirmed("This will remove the results of build steps.", force=force):
        return
    store = context.become_root()  # there may be files of other ids
    dropped = cache.prune(store, older=seconds)
    size = cache.prune_mounts(store) if everything else 0
    size += memory.forget(f"{store.layout.build}/contexts", older=seconds)
    size += gc.collect(store.layout).size
    click.echo(f"Build steps: {dropped}")
    click.echo(f"Total reclaimed space: {size_text(size)}")
