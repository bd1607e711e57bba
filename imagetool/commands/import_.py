"""`import`: an image of one layer from the tar of a root file system."""

from __future__ import annotations

import time

import click

from imagetool.commands.context import Context, limit_option, platform_option
from imagetool.commands.streams import reader, title
from imagetool.errors import UsageError
from imagetool.spec import Platform


@click.command(
    "import",
    epilog="""\b
Examples:
  imagetool import root.tar.gz me/base:1
  tar c -C rootfs . | imagetool import -c 'CMD ["/bin/sh"]' - me/base""",
)
@click.argument("file", metavar="FILE|-", type=click.Path())
@click.argument("name", metavar="[NAME[:TAG]]", required=False)
@click.option(
    "-c",
    "--change",
    "changes",
    multiple=True,
    metavar="INSTRUCTION",
    help="CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME, WORKDIR, as in a Dockerfile.",
)
@click.option("-m", "--message", default="", metavar="TEXT", help="A comment for the history.")
@platform_option
@limit_option
@click.pass_obj
def command(
    context: Context, file: str, name: str | None, changes: tuple[str, ...], message: str,
    platform: Platform | None, max_layer_size: int | None,
) -> None:  # fmt: skip
    """Make an image of the tar of a root file system, compressed or not, and print its ID."""
    from imagetool import mutate, reference
    from imagetool.archive.rootimport import import_root, publish_draft
    from imagetool.changes import changed
    from imagetool.spec import History
    from imagetool.store.limits import LIMITS
    from imagetool.units import time_text

    full = str(reference.parse(name).tagged()) if name else None
    if full and "@" in full:
        raise UsageError(f"an image cannot be given the digest in {name!r}")
    change = changed(changes)
    created = time_text(time.time())
    step = History(created=created, comment=message or f"Imported from {file}")
    store = context.store
    limits = LIMITS._replace(layer_size=max_layer_size)
    with store.lease() as lease, reader(file, "a tar") as read:
        draft = import_root(lease, read, title(file), platform or Platform.host(), step, limits)
        draft = mutate.with_run(mutate.stamped(draft, created), change)
        rendered = publish_draft(lease, draft)
        store.publish([full] if full else [], rendered.target)
    click.echo(rendered.image_id)
