"""`cp`: files to and from a container."""

from __future__ import annotations

import sys

import click

from imagetool.commands.context import Context
from imagetool.errors import UsageError


@click.command(
    "cp",
    epilog="""\b
Examples:
  imagetool cp info.php web:/var/www/html
  imagetool cp web:/etc/hosts .
  imagetool cp web:/var/log - | tar t""",
)
@click.argument("source", metavar="CONTAINER:PATH|PATH|-")
@click.argument("target", metavar="CONTAINER:PATH|PATH|-")
@click.option("-a", "--archive", is_flag=True, help="Keep owners; else the files belong to who gets them.")
@click.option("-L", "--follow-link", "follow", is_flag=True, help="Copy what a link as source leads to.")
@click.option("-q", "--quiet", is_flag=True, help="Accepted for Docker's sake: nothing is said anyway.")
@click.pass_obj
def command(
    context: Context, source: str, target: str, archive: bool, follow: bool, quiet: bool
) -> None:  # fmt: skip
    """Copy files between the host and a container; - is a tar."""
    from imagetool.containers import copying, folder

    how = copying.How(archive, follow)
    inside, outside = _container(source), _container(target)
    if bool(inside[0]) == bool(outside[0]):
        raise UsageError("one of the two must be a container's", hint="CONTAINER:PATH")
    container = folder.find(context.store, inside[0] or outside[0])
    if inside[0] and target == "-":
        copying.tar_out(context.store, container, inside[1], sys.stdout.buffer.write, how)
        sys.stdout.buffer.flush()
    elif inside[0]:
        copying.out_of(context.store, container, inside[1], target, how)
    elif source == "-":
        copying.tar_into(context.store, container, sys.stdin.buffer, outside[1])
    else:
        copying.into(context.store, container, source, outside[1], how)


def _container(text: str) -> tuple[str, str]:
    """(container, path); no container for what is a path: it begins with / or ., or has no colon."""
    name, colon, path = text.partition(":")
    return ("", text) if not colon or text.startswith(("/", ".")) else (name, path)
