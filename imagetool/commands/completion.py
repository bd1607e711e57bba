"""`completion`: what makes a shell complete commands, options and names of images and containers."""

from __future__ import annotations

import click
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete

BASH = """\
%(complete_func)s() {
    local IFS=$'\\n' type value word prefix words=()
    # Bash also divides words at the colons that names of images have, and replaces what comes after the last one.
    for word in "${COMP_WORDS[@]:0:COMP_CWORD+1}"; do
        if [[ ${#words[@]} -gt 0 && ( $word == :* || ${words[-1]} == *: ) ]]; then
            words[-1]+=$word
        else
            words+=("$word")
        fi
    done
    [[ $COMP_WORDBREAKS == *:* && ${words[-1]} == *:* ]] && prefix=${words[-1]%%:*}:
    COMPREPLY=()
    while IFS=, read -r type value; do
        case $type in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            plain) COMPREPLY+=("${value#"$prefix"}") ;;
        esac
    done < <(COMP_WORDS="${words[*]}" COMP_CWORD=$((${#words[@]} - 1)) %(complete_var)s=bash_complete "$1")
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""
"""click's own script completes nothing after a colon."""


class _Bash(BashComplete):
    source_template = BASH


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
    from imagetool.cli import COMPLETION, program

    kind: type[ShellComplete] = {"bash": _Bash, "zsh": ZshComplete, "fish": FishComplete}[shell]
    click.echo(kind(program, {}, "imagetool", COMPLETION).source())
