"""`port`: where a container's ports are published."""

from __future__ import annotations

import click

from imagetool.commands.context import Context, container_argument
from imagetool.errors import NotFound


@click.command("port", epilog="\b\nExamples:\n  imagetool port web\n  imagetool port web 80")
@container_argument()
@click.argument("wanted", metavar="[PORT[/udp]]", required=False)
@click.pass_obj
def command(context: Context, name: str, wanted: str | None) -> None:
    """Show the published ports of a container."""
    from imagetool.containers import folder

    container = folder.find(context.store, name)
    rows = [(f"{inside}/{kind}", f"{ip}:{host}") for ip, host, inside, kind in container.state.ports]
    if wanted is None:
        click.echo("".join(f"{inside} -> {outside}\n" for inside, outside in rows), nl=False)
        return
    full = wanted if "/" in wanted else f"{wanted}/tcp"
    found = [outside for inside, outside in rows if inside == full]
    if not found:
        raise NotFound(f"no public port '{full}' published for {container.name}")
    click.echo("\n".join(found))
