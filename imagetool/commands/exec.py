"""`exec`: another command in a running container."""

from __future__ import annotations

import os

import click

from imagetool.commands.containing import file_rows
from imagetool.commands.context import Context, container_argument
from imagetool.commands.runflags import SETTINGS
from imagetool.errors import UsageError


@click.command(
    "exec",
    context_settings=SETTINGS,
    epilog="\b\nExamples:\n  imagetool exec -it web sh\n  imagetool exec -u www -e A=1 web env",
)
@container_argument()
@click.argument("arguments", metavar="COMMAND [ARG...]", nargs=-1, required=True)
@click.option("-i", "--interactive", is_flag=True, help="Pass standard input on.")
@click.option("-t", "--tty", is_flag=True, help="Give it a terminal.")
@click.option("-d", "--detach", is_flag=True, help="Leave it alone.")
@click.option("-e", "--env", multiple=True, metavar="NAME[=VALUE]", help="Set an environment variable.")
@click.option("--env-file", "env_files", multiple=True, metavar="FILE", help="Set those of a file.")
@click.option("--privileged", is_flag=True, help="All capabilities; the filter of system calls stays.")
@click.option(
    "--detach-keys", default="ctrl-p,ctrl-q", metavar="KEYS", help="What leaves it alone; ctrl-p,ctrl-q."
)
@click.option("-u", "--user", default="", metavar="USER[:GROUP]", help="Whom it runs as.")
@click.option("-w", "--workdir", default="", metavar="DIR", help="Working directory.")
@click.pass_obj
def command(
    context: Context, name: str, arguments: tuple[str, ...], interactive: bool, tty: bool, detach: bool,
    env: tuple[str, ...], env_files: tuple[str, ...], privileged: bool, detach_keys: str, user: str, workdir: str,
) -> None:  # fmt: skip
    """Run another command in a running container."""
    from imagetool.containers import folder, join
    from imagetool.runtime import terminal
    from imagetool.runtime.options import env_from_host

    if tty and interactive and not os.isatty(0):
        raise UsageError("the input device is not a TTY", hint="leave out -t")
    terminal.parse_keys(detach_keys)
    container = folder.find(context.store, name)
    rows = [*file_rows(env_files), *env_from_host(env, os.environ)]
    asked = join.process(
        container, arguments, env=rows, user=user, workdir=workdir, tty=tty and not detach, privileged=privileged
    )  # fmt: skip
    code = (
        join.detached(context.store, container, asked)
        if detach
        else join.in_front(context.store, container, asked, stdin=interactive, keys=detach_keys)
    )
    if code:
        raise click.exceptions.Exit(code)
