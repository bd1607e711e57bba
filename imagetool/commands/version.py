"""`version`: which version this is, and of what it runs on."""

from __future__ import annotations

import platform

import click

from imagetool.commands.output import show_documents


@click.command("version", epilog="\b\nExamples:\n  imagetool version")
@click.option("-f", "--format", metavar="TEMPLATE", help="'json' or a Go template.")
def command(format: str | None) -> None:
    """Show the version."""
    import unionfs
    from imagetool import __version__
    from imagetool.spec import Platform

    found = {
        "Version": __version__,
        "Unionfs": unionfs.__version__,
        "Python": platform.python_version(),
        "Kernel": platform.release(),
        "Platform": str(Platform.host()),
    }
    if format is not None:
        show_documents([found], format)
        return
    for key, value in found.items():
        click.echo(f"{key + ':':<10} {value}")
