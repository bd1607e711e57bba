"""`commit`: a container's changes as a new image."""

from __future__ import annotations

import click

from imagetool.calls import Call
from imagetool.commands.context import Context, container_argument


@click.command(
    "commit",
    epilog="""\b
Examples:
  imagetool commit 23c4caa12410
  imagetool commit -m "with python" -c 'CMD ["python3"]' shell me/python:1""",
)
@container_argument()
@click.argument("target", metavar="[REPOSITORY[:TAG]]", required=False)
@click.option("-a", "--author", default="", help="Who made it.")
@click.option("-m", "--message", default="", help="What was changed.")
@click.option("-c", "--change", "changes", multiple=True, metavar="INSTRUCTION", help="As in a Dockerfile.")
@click.option("-p", "--pause/--no-pause", default=True, help="Pause the container meanwhile; yes.")
@click.pass_obj
def command(
    context: Context, name: str, target: str | None, author: str, message: str, changes: tuple[str, ...],
    pause: bool,
) -> Call:  # fmt: skip
    """Make an image of a container's changes, and print its ID."""
    given = {
        "name": name,
        "target": target,
        "author": author,
        "message": message,
        "changes": changes,
        "pause": pause,
    }
    return Call("imagetool.committing", {"root": context.root, **given})
