"""`push`, `image push`: from the store to a registry."""

from __future__ import annotations

import click

from imagetool.commands.context import Context, image_argument, insecure_option, platform_option
from imagetool.errors import NotFound, UsageError
from imagetool.spec import Platform


@click.command(
    "push",
    epilog="""\b
Examples:
  imagetool push quay.io/me/app             the tag latest
  imagetool push quay.io/me/app:v1.0
  imagetool push --compression zstd:9 registry.example/app""",
)
@image_argument("name", metavar="NAME[:TAG]")
@click.option("-a", "--all-tags", is_flag=True, help="All tags of the repository that are here.")
@click.option("--all-platforms", is_flag=True, help="The images for all platforms; they must all be here.")
@platform_option
@click.option(
    "--compression",
    metavar="KIND",
    default="",
    help="gzip, zstd, zstd:LEVEL or none, for layers that were made here; gzip.",
)
@click.option("-q", "--quiet", is_flag=True, help="Print the digest only.")
@insecure_option
@click.pass_obj
def command(
    context: Context, name: str, all_tags: bool, all_platforms: bool, platform: Platform | None,
    compression: str, quiet: bool, insecure: bool,
) -> None:  # fmt: skip
    """Send an image to a registry."""
    if compression:
        from imagetool.compression import encoder

        encoder(compression, len)  # UsageError for one that is not known, before anything is sent
    from imagetool import api, reference

    found = api.named(name)[1]
    if all_tags and (found.tag or found.digest):
        raise UsageError("tag can't be used with --all-tags/-a", hint=f"leave it out: {name!r}")
    with context.progress(quiet=quiet) as progress:
        if not (found.tag or found.digest or all_tags):
            progress.line(f"Using default tag: {reference.DEFAULT_TAG}")
        for full in _tags(context, found.repository) if all_tags else [str(found.tagged())]:
            target = api.push(
                full, store=context.store, platform=platform, all_platforms=all_platforms,
                compression=compression, insecure=insecure, progress=progress,
            )  # fmt: skip
            if quiet:
                click.echo(f"{reference.parse(full).repository}@{target.digest}")


def _tags(context: Context, repository: str) -> list[str]:
    names = [ref.name for ref in context.store.references() if ref.name]
    found = [name for name in names if "@" not in name and name.rpartition(":")[0] == repository]
    if not found:
        raise NotFound(f"An image does not exist locally with the tag: {repository}")
    return found
