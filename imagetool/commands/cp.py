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
@click.pass_obj
def command(context: Context, source: str, target: str) -> None:
    """Copy files between the host and a container; - is a tar."""
    from imagetool.containers import copying, folder

    inside, outside = _container(source), _container(target)
    if bool(inside[0]) == bool(outside[0]):
        raise UsageError("one of the two must be a container's", hint="CONTAINER:PATH")
    container = folder.find(context.store, inside[0] or outside[0])
    if inside[0] and target == "-":
        copying.tar_out(context.store, container, inside[1], sys.stdout.buffer.write)
        sys.stdout.buffer.flush()
    elif inside[0]:
        copying.out_of(context.store, container, inside[1], target)
    elif source == "-":
        copying.tar_into(context.store, container, sys.stdin.buffer, outside[1])
    else:
        copying.into(context.store, container, source, outside[1])


def _container(text: str) -> tuple[str, str]:
    """(container, path); no container for what is a path: it begins with / or ., or has no colon."""
    name, colon, path = text.partition(":")
    return ("", text) if not colon or text.startswith(("/", ".")) else (name, path)
