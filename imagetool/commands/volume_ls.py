"""`volume ls`: which volumes there are."""

from __future__ import annotations

import click

from imagetool.commands.context import Context
from imagetool.commands.output import format_option, show_rows

TITLES = {
    "Driver": "DRIVER",
    "Name": "VOLUME NAME",
    "Labels": "LABELS",
    "Mountpoint": "MOUNTPOINT",
    "Scope": "SCOPE",
}


@click.command(
    "ls",
    epilog="""\b
Examples:
  imagetool volume ls
  imagetool volume ls -q --filter dangling=true
  imagetool volume ls --format '{{.Name}}: {{.Mountpoint}}'""",
)
@click.option("-q", "--quiet", is_flag=True, help="Show names only.")
@click.option("-f", "--filter", "filters", multiple=True, metavar="KEY=VALUE",
              help="name, label, driver, dangling (true: no container has it).")  # fmt: skip
@format_option
@click.pass_obj
def command(context: Context, quiet: bool, filters: tuple[str, ...], format: str | None) -> None:
    """List volumes."""
    from imagetool.containers import volumes, volumeuse

    keeps = volumeuse.parse_filters(context.store, filters)
    found = [volume for volume in volumes.listing(context.store) if keeps(volume)]
    if quiet:
        click.echo("".join(f"{volume.name}\n" for volume in found), nl=False)
        return
    rows = [
        {
            "Driver": "local",
            "Name": volume.name,
            "Labels": ",".join(f"{key}={value}" for key, value in volume.labels.items()),
            "Mountpoint": volume.path,
            "Scope": "local",
        }
        for volume in found
    ]
    show_rows(rows, ["Driver", "Name"], TITLES, format, labels=[volume.labels for volume in found])
