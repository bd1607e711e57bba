"""`update`: other limits and another restart policy for containers that are there."""

from __future__ import annotations

import click

from imagetool.commands.context import Context, container_argument, each
from imagetool.errors import UsageError


@click.command(
    "update", epilog="\b\nExamples:\n  imagetool update --restart always web\n  imagetool update -m 1g web"
)
@container_argument("names", metavar="CONTAINER...", nargs=-1, required=True)
@click.option("--restart", default="", metavar="POLICY", help="no, on-failure[:N], unless-stopped or always.")
@click.option("-m", "--memory", default="", metavar="SIZE", help="Limit of memory.")
@click.option(
    "--memory-swap", default="", metavar="SIZE", help="Limit of memory and swap; -1: no limit of swap."
)
@click.option("--cpus", default="", metavar="NUMBER", help="Limit of CPUs, as in 1.5.")
@click.option("--cpu-shares", type=int, default=0, metavar="NUMBER", help="Weight among others; 1024.")
@click.option("--cpuset-cpus", default="", metavar="LIST", help="The CPUs that it may use, as in 0-2,4.")
@click.option("--pids-limit", type=int, default=0, metavar="NUMBER", help="Limit of processes; -1: none.")
@click.pass_obj
def command(
    context: Context, names: tuple[str, ...], restart: str, memory: str, memory_swap: str, cpus: str,
    cpu_shares: int, cpuset_cpus: str, pids_limit: int,
) -> None:  # fmt: skip
    """Change limits and the restart policy of containers, now and for later starts."""
    from imagetool.containers import folder, life
    from imagetool.containers.record import Restart
    from imagetool.runtime.options import parse_cpus, parse_memory, parse_swap

    changes = {
        "memory": parse_memory(memory),
        "memory_swap": parse_swap(memory_swap),
        "nano_cpus": parse_cpus(cpus) if cpus else 0,
        "cpu_shares": cpu_shares,
        "cpuset_cpus": cpuset_cpus,
        "pids": pids_limit,
    }
    given = {key: value for key, value in changes.items() if value}
    policy = Restart.parse(restart) if restart else None
    if not given and policy is None:
        raise UsageError("nothing to change was given", hint="see: imagetool update --help")

    def one(name: str) -> None:
        life.update(context.store, folder.find(context.store, name), given, policy)
        click.echo(name)

    each(names, one)
