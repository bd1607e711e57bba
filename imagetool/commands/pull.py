"""`pull`, `image pull`: from a registry into the store."""

from __future__ import annotations

import click

from imagetool.commands.context import Context, insecure_option, limit_option, platform_option
from imagetool.errors import UsageError
from imagetool.spec import Platform


@click.command(
    "pull",
    epilog="""\b
Examples:
  imagetool pull debian                              the tag latest, from docker.io
  imagetool pull quay.io/pqsdev/mssql-tools:master
  imagetool pull debian@sha256:a6b7…                 exactly this one
  imagetool pull --platform linux/arm64 golang""",
)
@click.argument("names", metavar="NAME[:TAG|@DIGEST]...", nargs=-1, required=True)
@click.option("-a", "--all-tags", is_flag=True, help="All tags of the repository.")
@click.option("--all-platforms", is_flag=True, help="The images for all platforms.")
@platform_option
@click.option("-q", "--quiet", is_flag=True, help="Print the full name only.")
@limit_option
@insecure_option
@click.pass_obj
def command(
    context: Context, names: tuple[str, ...], all_tags: bool, all_platforms: bool, platform: Platform | None,
    quiet: bool, max_layer_size: int | None, insecure: bool,
) -> None:  # fmt: skip
    """Fetch images from a registry."""
    if platform and all_platforms:
        raise UsageError("--platform and --all-platforms exclude each other")
    from imagetool import api, reference
    from imagetool.store.limits import LIMITS

    store = context.store
    with context.progress(quiet=quiet) as progress:
        for given in names:
            found = api.named(given)[1]
            if all_tags and (found.tag or found.digest):
                raise UsageError("tag can't be used with --all-tags/-a", hint=f"leave it out: {given!r}")
            if not (found.tag or found.digest or all_tags):
                progress.line(f"Using default tag: {reference.DEFAULT_TAG}")
            tags = _tags(given, insecure) if all_tags else [None]
            for tag in tags:
                wanted = (found if tag is None else found.with_tag(tag)).tagged()
                limits = LIMITS._replace(layer_size=max_layer_size)
                api.pull(
                    str(wanted), store=store, platform=platform, all_platforms=all_platforms, limits=limits,
                    insecure=insecure, progress=progress,
                )  # fmt: skip
                (click.echo if quiet else progress.line)(str(wanted))


def _tags(name: str, insecure: bool) -> list[str]:
    import trio

    from imagetool import api
    from imagetool.registry.remote import connect

    async def run() -> list[str]:
        registries, reference = api.named(name, insecure=insecure)
        async with connect(registries=registries) as remote:
            return await remote.repositories(reference)[-1].tags()

    return trio.run(run)
