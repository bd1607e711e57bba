"""What `run` and `create` share: their options, and the container that these ask for."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

import click

from imagetool.commands.context import Context, platform_option
from imagetool.errors import ImageToolError, NotFound, UsageError

if TYPE_CHECKING:
    from imagetool.containers.record import Record
    from imagetool.runtime.options import Mount, Resources
    from imagetool.spec import Descriptor, Platform
    from imagetool.store.read import Image

SETTINGS: dict[str, Any] = {"allow_interspersed_args": False, "help_option_names": ["--help"]}


def _many(*names: str, help: str, metavar: str) -> Callable[[Any], Any]:
    return click.option(*names, multiple=True, metavar=metavar, help=help)


_OPTIONS = [
    click.argument("arguments", nargs=-1, required=True, metavar="IMAGE [COMMAND] [ARG...]"),
    click.option("-i", "--interactive", is_flag=True, help="Keep standard input open."),
    click.option("-t", "--tty", is_flag=True, help="Give it a terminal."),
    click.option("--rm", "remove", is_flag=True, help="Remove the container when it ends."),
    click.option("--name", default="", help="A name; else one is made up."),
    _many("-e", "--env", metavar="NAME[=VALUE]", help="Set an environment variable."),
    _many("--env-file", "env_files", metavar="FILE", help="Set those of a file."),
    _many("-v", "--volume", "volumes", metavar="[SOURCE:]TARGET[:ro]", help="Mount a directory or a volume."),
    _many("--mount", "mounts", metavar="KEY=VALUE,...", help="The same: type=bind|volume|tmpfs,source=,target=."),
    _many("--tmpfs", "tmpfs", metavar="TARGET[:OPTIONS]", help="Mount a tmpfs."),
    click.option("-w", "--workdir", default="", metavar="DIR", help="Working directory."),
    click.option("-u", "--user", default="", metavar="USER[:GROUP]", help="Whom it runs as."),
    _many("-p", "--publish", metavar="[IP:]HOST:CONTAINER[/udp]", help="Publish a port."),
    _many("--expose", metavar="PORT[/udp]", help="Say that a port is listened on."),
    click.option("--network", "--net", default="bridge", metavar="none|host|bridge", help="Network; bridge."),
    click.option("-h", "--hostname", default="", help="Host name; the short ID."),
    click.option("--entrypoint", default=None, metavar="COMMAND", help="Instead of the image's entrypoint."),
    click.option("--read-only", is_flag=True, help="Make its files read-only."),
    _many("--cap-add", metavar="CAP", help="Add a capability."),
    _many("--cap-drop", metavar="CAP", help="Drop a capability."),
    click.option("--privileged", is_flag=True, help="All capabilities, and nothing masked."),
    _many("--security-opt", metavar="OPTION", help="no-new-privileges, seccomp=FILE|unconfined."),
    click.option("-m", "--memory", default="", metavar="SIZE", help="Limit of memory."),
    click.option("--cpus", default="", metavar="NUMBER", help="Limit of CPUs, as in 1.5."),
    click.option("--pids-limit", type=int, default=0, metavar="NUMBER", help="Limit of processes."),
    _many("--ulimit", "ulimits", metavar="NAME=SOFT[:HARD]", help="A resource limit."),
    click.option("--shm-size", default="", metavar="SIZE", help="Size of /dev/shm; 64m."),
    click.option("--init", is_flag=True, help="A first process that reaps others."),
    _many("-l", "--label", "labels", metavar="KEY[=VALUE]", help="A label."),
    platform_option,
    click.option("--pull", "pulling", type=click.Choice(["missing", "always", "never"]), default="missing",
                 help="When to pull the image; missing."),
    click.option("--stop-signal", default="", metavar="SIGNAL", help="What `stop` sends; SIGTERM."),
    click.option("--restart", default="no", metavar="POLICY", help="no, on-failure[:N] or always."),
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


def create(context: Context, given: dict[str, Any], *, attached: bool) -> Record:
    """Makes the container; its image is pulled if it has to be. ImageToolError: there is none."""
    from imagetool.containers import folder

    if os.geteuid() != 0:
        raise ImageToolError("containers are run by root only", hint="try sudo, or `mount` for the files")
    _check_cidfile(given["cidfile"])
    made = folder.create(context.store, _record(context, given, attached=attached))
    if given["cidfile"]:
        with open(given["cidfile"], "x") as file:
            file.write(made.id)
    return made


def _check_cidfile(path: str | None) -> None:
    if path and os.path.lexists(path):
        raise UsageError(f"container ID file found: {path}", hint="remove it, or choose another one")


def _record(context: Context, given: dict[str, Any], *, attached: bool) -> Record:
    from imagetool.containers import names
    from imagetool.containers.record import Record, Restart
    from imagetool.runtime import plan, ports, signals
    from imagetool.runtime.options import ImageDefaults

    wanted, *command = given["arguments"]
    if given["name"]:
        names.check(given["name"])
    if given["stop_signal"]:
        signals.number(given["stop_signal"])
    restart = Restart.parse(given["restart"])
    if given["remove"] and restart.when != "no":
        raise UsageError("Conflicting options: --restart and --rm", hint="leave one of them out")
    published = tuple(port for text in given["publish"] for port in ports.parse(text))
    target, image = _image(context, wanted, given["platform"], given["pulling"])
    run = image.config.run
    mounts, unnamed = _mounts(given, run.volumes)
    asked = _options(given, command, mounts)
    defaults = ImageDefaults.from_config(run.to_json())
    plan.arguments(asked, defaults)
    exposed = {port if "/" in port else f"{port}/tcp" for port in (*run.exposed_ports, *given["expose"])}
    return Record(
        os.urandom(32).hex(), given["name"], wanted, image.id, target.digest, target.media_type, target.size,
        time.time(), asked, defaults,
        ports=published if asked.network == "bridge" else (),
        exposed=tuple(sorted(exposed)),
        labels={**run.labels, **_labels(given["labels"])},
        interactive=given["interactive"],
        once=given["interactive"] and attached,
        remove=given["remove"],
        restart=restart,
        stop_signal=given["stop_signal"] or run.stop_signal,
        runtime=given["runtime"],
        top=given["top"],
        volumes=tuple(unnamed),
    )  # fmt: skip


def _image(context: Context, name: str, platform: Platform | None, pulling: str) -> tuple[Descriptor, Image]:
    from imagetool import api

    target = api.have(context.store, name, platform, cast(Any, pulling), lambda: context.progress(err=True))
    return target, context.store.image(target)


def _options(given: dict[str, Any], command: Sequence[str], mounts: tuple[Mount, ...]) -> Any:
    from imagetool.runtime import options as run

    if given["network"] not in ("none", "host", "bridge", "default"):
        raise NotFound(f"network {given['network']} not found", hint="none, host or bridge")
    entrypoint = given["entrypoint"]
    return run.RunOptions(
        command=tuple(command),
        entrypoint=None if entrypoint is None else (entrypoint,),
        env=tuple(_environment(given)),
        workdir=given["workdir"],
        user=given["user"],
        hostname=given["hostname"],
        tty=given["tty"],
        init=given["init"],
        readonly=given["read_only"],
        privileged=given["privileged"],
        cap_add=given["cap_add"],
        cap_drop=given["cap_drop"],
        mounts=mounts,
        resources=_resources(given),
        ulimits=tuple(run.parse_ulimit(text) for text in given["ulimits"]),
        shm_size=run.parse_size(given["shm_size"]) if given["shm_size"] else 0,
        network="bridge" if given["network"] == "default" else given["network"],
        isolation=given["isolation"],
        **run.parse_security_options(given["security_opt"]),
    )


def _resources(given: dict[str, Any]) -> Resources:
    from imagetool.runtime.options import Resources, parse_cpus, parse_size

    return Resources(
        memory=parse_size(given["memory"]) if given["memory"] else 0,
        nano_cpus=parse_cpus(given["cpus"]) if given["cpus"] else 0,
        pids=given["pids_limit"],
    )


def _environment(given: dict[str, Any]) -> list[str]:
    from imagetool.runtime.options import env_from_host, parse_env_file

    rows: list[str] = []
    for path in given["env_files"]:
        try:
            with open(path, encoding="utf-8") as file:
                rows += parse_env_file(file.read(), os.environ)
        except (OSError, UnicodeDecodeError) as error:
            raise NotFound(f"cannot read the environment file {path}: {error}") from error
    return rows + env_from_host(given["env"], os.environ)


def _mounts(given: dict[str, Any], image: Sequence[str]) -> tuple[tuple[Mount, ...], list[str]]:
    """All mounts, and the names of the volumes that were made up for them."""
    from imagetool.containers import volumes
    from imagetool.runtime.options import Mount, parse_mount, parse_tmpfs, parse_volume

    asked = [_made(parse_volume(text)) for text in given["volumes"]]
    asked += [parse_mount(text) for text in given["mounts"]]
    asked += [parse_tmpfs(text) for text in given["tmpfs"]]
    targets = {mount.target.rstrip("/") for mount in asked}
    asked += [Mount("volume", "", path) for path in image if path.rstrip("/") not in targets]
    unnamed, found = [], []
    for mount in asked:
        if mount.kind == "volume" and not mount.source:
            mount = mount._replace(source=volumes.new_name())
            unnamed.append(mount.source)
        found.append(mount._replace(source=os.path.abspath(mount.source)) if mount.kind == "bind" else mount)
    return tuple(found), unnamed


def _made(mount: Mount) -> Mount:
    """`-v` makes a directory that is not there, as Docker does; `--mount` refuses."""
    if mount.kind == "bind" and not os.path.lexists(mount.source):
        try:
            os.makedirs(mount.source)
        except OSError as error:
            raise ImageToolError(f"cannot make {mount.source}: {error.strerror}") from error
    return mount


def _labels(texts: Sequence[str]) -> dict[str, str]:
    if any(text.startswith("=") or not text for text in texts):
        raise UsageError("a label needs a name", hint=f"KEY=VALUE, not {shlex.join(texts)}")
    return {key: value for key, _, value in (text.partition("=") for text in texts)}
