"""The options of `run` and `create`."""

from __future__ import annotations

from collections.abc import Callable

import click

from imagetool.commands.context import complete_images, platform_option
from unionfs.annotations import Any

SETTINGS: dict[str, Any] = {"allow_interspersed_args": False, "help_option_names": ["--help"]}
"""What follows the first argument is the command's own."""


def _many(*names: str, help: str, metavar: str) -> Callable[[Any], Any]:
    return click.option(*names, multiple=True, metavar=metavar, help=help)


def _complete_first(context: click.Context, parameter: click.Parameter, start: str) -> list[str]:
    """The image; what follows is a command of it."""
    return [] if context.params.get("arguments") else complete_images(context, parameter, start)


_OPTIONS = [
    click.argument(
        "arguments", nargs=-1, required=True, metavar="IMAGE [COMMAND] [ARG...]", shell_complete=_complete_first
    ),
    click.option("-i", "--interactive", is_flag=True, help="Keep standard input open."),
    click.option("-t", "--tty", is_flag=True, help="Give it a terminal."),
    click.option("--rm", "remove", is_flag=True, help="Remove the container when it ends."),
    click.option("--name", default="", help="A name; else one is made up."),
    _many("-e", "--env", metavar="NAME[=VALUE]", help="Set an environment variable."),
    _many("--env-file", "env_files", metavar="FILE", help="Set those of a file."),
    _many("-v", "--volume", "volumes", metavar="[SOURCE:]TARGET[:ro]", help="Mount a directory or a volume."),
    _many("--mount", "mounts", metavar="KEY=VALUE,...", help="The same: type=bind|volume|tmpfs,source=,target=."),
    _many("--volumes-from", metavar="CONTAINER[:ro]", help="Mount what another container has mounted."),
    _many("--tmpfs", "tmpfs", metavar="TARGET[:OPTIONS]", help="Mount a tmpfs."),
    click.option("-w", "--workdir", default="", metavar="DIR", help="Working directory."),
    click.option("-u", "--user", default="", metavar="USER[:GROUP]", help="Whom it runs as."),
    _many("--group-add", "groups", metavar="GROUP", help="A further group."),
    _many("-p", "--publish", metavar="[IP:]HOST:CONTAINER[/udp]", help="Publish a port."),
    _many("--expose", metavar="PORT[/udp]", help="Say that a port is listened on."),
    click.option("--network", "--net", default="bridge", metavar="none|host|bridge|container:NAME",
                 help="Network; bridge."),
    _many("--add-host", "hosts", metavar="NAME:ADDRESS",
          help="A line of /etc/hosts; the address host-gateway is this machine."),
    _many("--dns", metavar="ADDRESS", help="A name server instead of the host's."),
    _many("--dns-search", metavar="DOMAIN", help="Where short names are looked for; . : nowhere else."),
    _many("--dns-option", "--dns-opt", "dns_options", metavar="OPTION", help="As in resolv.conf(5): ndots:2."),
    click.option("-P", "--publish-all", is_flag=True, help="Publish all exposed ports, wherever there is room."),
    click.option("--domainname", default="", help="NIS domain name."),
    _many("--sysctl", "sysctls", metavar="NAME=VALUE", help="A kernel parameter of the container's own."),
    click.option("--pid", default="", metavar="host|container:NAME", help="Whose processes it sees; its own."),
    click.option("--ipc", type=click.Choice(["", "private", "host"]), default="", help="Whose IPC; its own."),
    click.option("--uts", type=click.Choice(["", "host"]), default="", help="Whose host name; its own."),
    click.option("-h", "--hostname", default="", help="Host name; the short ID."),
    click.option("--entrypoint", default=None, metavar="COMMAND", help="Instead of the image's entrypoint."),
    _many("--device", "devices", metavar="HOST[:CONTAINER[:rwm]]", help="Show a device of the host."),
    click.option("--read-only", is_flag=True, help="Make its files read-only."),
    _many("--cap-add", metavar="CAP", help="Add a capability."),
    _many("--cap-drop", metavar="CAP", help="Drop a capability."),
    click.option("--privileged", is_flag=True, help="All capabilities and devices, and nothing masked."),
    _many("--security-opt", metavar="OPTION", help="no-new-privileges, seccomp=FILE|unconfined."),
    click.option("-m", "--memory", default="", metavar="SIZE", help="Limit of memory."),
    click.option("--cpus", default="", metavar="NUMBER", help="Limit of CPUs, as in 1.5."),
    click.option("--pids-limit", type=int, default=0, metavar="NUMBER", help="Limit of processes."),
    click.option("--memory-swap", default="", metavar="SIZE", help="Limit of memory and swap; -1: none of swap."),
    click.option("-c", "--cpu-shares", type=int, default=0, metavar="NUMBER", help="Weight among others; 1024."),
    click.option("--cpuset-cpus", default="", metavar="LIST", help="The CPUs that it may use, as in 0-2,4."),
    click.option("--oom-score-adj", type=click.IntRange(-1000, 1000), metavar="NUMBER",
                 help="How readily it is killed when memory is short."),
    _many("--ulimit", "ulimits", metavar="NAME=SOFT[:HARD]", help="A resource limit."),
    click.option("--shm-size", default="", metavar="SIZE", help="Size of /dev/shm; 64m."),
    click.option("--size", default="", metavar="SIZE", help="Limit of its own files, as in 10g."),
    click.option("--init", is_flag=True, help="A first process that reaps others."),
    _many("-l", "--label", "labels", metavar="KEY[=VALUE]", help="A label."),
    _many("--label-file", "label_files", metavar="FILE", help="Labels, one a line."),
    platform_option,
    click.option("--pull", "pulling", type=click.Choice(["missing", "always", "never"]), default="missing",
                 help="When to pull the image; missing."),
    click.option("-q", "--quiet", is_flag=True, help="Show nothing of a pull."),
    click.option("--stop-signal", default="", metavar="SIGNAL", help="What `stop` sends; SIGTERM."),
    click.option("--stop-timeout", type=click.IntRange(min=-1), default=10, metavar="SECONDS",
                 help="How long `stop` waits before it kills; 10, -1: for ever."),
    click.option("--restart", default="no", metavar="POLICY", help="no, on-failure[:N], always, unless-stopped."),
    click.option("--cidfile", metavar="FILE", help="Write the ID to a new file."),
    click.option("--isolation", type=click.Choice(["namespace", "chroot"]), default="namespace",
                 help="How to isolate; namespace."),
    click.option("--runtime", default="", metavar="crun|runc|PATH", help="An OCI runtime instead of our own."),
    click.option("--top", type=click.Choice(["auto", "fuse", "overlay"]), default="auto",
                 help="Who keeps the RW layer; auto."),
]  # fmt: skip


def options(function: Callable[..., Any]) -> Callable[..., Any]:
    """All of them, on one command."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function
