"""`commit`: a container's changes as a new image."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from imagetool.commands.context import Context, container_argument

if TYPE_CHECKING:
    from imagetool.spec import RunConfig


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
) -> None:  # fmt: skip
    """Make an image of a container's changes, and print its ID."""
    from imagetool.containers import commit, folder

    full = commit.full_name(target) if target else None
    made = commit.commit(
        context.store, folder.find(context.store, name), full,
        author=author, message=message, change=_change(changes), pause=pause,
    )  # fmt: skip
    click.echo(made)


def _change(texts: tuple[str, ...]) -> Callable[[RunConfig], RunConfig]:
    """A Dockerfile's parser takes longer to come than all else, and is seldom needed."""
    if not texts:
        return lambda run: run
    from imagetool.changes import changed

    return changed(texts)
