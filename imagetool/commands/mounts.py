"""`mounts`: which images are mounted where."""

from __future__ import annotations

import time

import click

from imagetool.commands.context import Context
from imagetool.commands.output import format_option, show_rows

TITLES = {
    "ID": "MOUNT ID",
    "Image": "IMAGE",
    "Mode": "MODE",
    "Created": "CREATED",
    "Directory": "DIRECTORY",
    "Top": "TOP",
    "Manifest": "MANIFEST",
}


@click.command(
    "mounts", epilog="\b\nExamples:\n  imagetool mounts\n  imagetool umount $(imagetool mounts -q)"
)
@click.option("-q", "--quiet", is_flag=True, help="Show directories only.")
@format_option
@click.pass_obj
def command(context: Context, quiet: bool, format: str | None) -> None:
    """List mounted images."""
    from imagetool import mounts
    from imagetool.units import age_text

    now = time.time()
    rows = [
        {
            "ID": mount.id,
            "Image": mount.image,
            "Mode": ("rw" if mount.top else "ro") + ("" if mount.is_mounted() else " (elsewhere)"),
            "Created": f"{age_text(max(0.0, now - mount.created))} ago",
            "Directory": mount.target,
            "Top": mount.top,
            "Manifest": mount.manifest,
        }
        for mount in mounts.listing(context.store)
    ]
    if quiet:
        click.echo("".join(f"{row['Directory']}\n" for row in rows), nl=False)
    else:
        show_rows(rows, ["ID", "Image", "Mode", "Created", "Directory"], TITLES, format)
