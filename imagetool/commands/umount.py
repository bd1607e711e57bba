"""`umount`: undo `mount`."""

from __future__ import annotations

import click

from imagetool.commands.context import Context, each, image_argument
from imagetool.errors import UsageError


@click.command(
    "umount",
    epilog="""\b
Examples:
  imagetool umount debian:12
  imagetool umount /mnt/debian
  imagetool umount --all""",
)
@image_argument("what", metavar="DIR|IMAGE|ID...", nargs=-1)
@click.option("-a", "--all", "everything", is_flag=True, help="All mounted images.")
@click.option("-l", "--lazy", is_flag=True, help="At once; who works in it goes on until he is done.")
@click.option("-f", "--force", is_flag=True, help="Lazily, and also what another mount namespace had.")
@click.pass_obj
def command(context: Context, what: tuple[str, ...], everything: bool, lazy: bool, force: bool) -> None:
    """Unmount images and print what was unmounted."""
    from imagetool import mounts

    if bool(what) == everything:
        raise UsageError("name what to unmount, or give --all")
    store = context.store
    if everything:
        what = tuple(mount.id for mount in mounts.listing(store))

    def undo(name: str) -> None:
        for mount in mounts.find(store, name):
            mounts.detach(store, mount, lazy=lazy, force=force)
            click.echo(mount.target)

    each(what, undo)
