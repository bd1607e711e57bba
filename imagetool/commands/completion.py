"""`completion`: what makes a shell complete commands, options and names of images."""

from __future__ import annotations

import click


@click.command(
    "completion",
    epilog="""\b
Examples:
  source <(imagetool completion bash)
  imagetool completion zsh >~/.zfunc/_imagetool
  imagetool completion fish >~/.config/fish/completions/imagetool.fish""",
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the script that a shell needs for completion."""
    from click.shell_completion import get_completion_class

    from imagetool.cli import COMPLETION, program

    found = get_completion_class(shell)
    assert found is not None  # one of click's own three
    click.echo(found(program, {}, "imagetool", COMPLETION).source())
