"""`logout`: forget the credentials for a registry."""

from __future__ import annotations

import click

from imagetool.commands.context import Context


@click.command("logout", epilog="\b\nExamples:\n  imagetool logout quay.io")
@click.argument("registry", metavar="[REGISTRY]", default="docker.io")
@click.pass_obj
def command(context: Context, registry: str) -> None:
    """Forget the login to a registry, by default docker.io."""
    from imagetool.registry.credentials import Keyring
    from imagetool.registry.login import logout

    erased, more = logout(Keyring(), registry)
    if erased:
        click.echo(f"Removing login credentials for {registry}")
    elif not more:
        click.echo(f"Not logged in to {registry}")
    if more:
        context.note(f"There still are credentials for {registry} in a file of containers(5).")
