"""What `run` and `create` share: from their options to the container that these ask for."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Mapping, Sequence

from imagetool.commands import mountflags
from imagetool.commands.context import Context
from imagetool.errors import NotFound, UsageError
from unionfs.annotations import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from imagetool.containers.record import Record
    from imagetool.runtime.options import Mount, Resources
    from imagetool.runtime.ports import Port
    from imagetool.store.store import Store


def create(context: Context, given: dict[str, Any], *, attached: bool) -> Record:
    """Makes the container; its image is pulled if it has to be. ImageToolError: there is none."""
    from imagetool.containers import folder

    _check_cidfile(given["cidfile"])
    made = folder.create(context.store, _record(context, given, attached=attached))
    for mount in made.options.mounts:
        if mount.kind == "volume":
            from imagetool.containers import volumes

            volumes.ensure(context.store, mount.source)
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
    for text in (*given["publish"], *(f"0:{each}" for each in given["expose"])):
        ports.parse(text)
    target, image = context.have(wanted, given["platform"], given["pulling"], quiet=given["quiet"])
    run = image.config.run
    mounts, unnamed = mountflags.mounts(context.store, given, run.volumes)
    asked = _options(context.store, given, command, mounts)
    defaults = ImageDefaults.from_config(run.to_json())
    plan.arguments(asked, defaults)
    exposed = {port if "/" in port else f"{port}/tcp" for port in (*run.exposed_ports, *given["expose"])}
    return Record(
        os.urandom(32).hex(), given["name"], wanted, image.id, target.digest, target.media_type, target.size,
        time.time(), asked, defaults,
        ports=_published(given, exposed) if asked.network == "bridge" else (),
        exposed=tuple(sorted(exposed)),
        labels={**run.labels, **labels([*_lines(given["label_files"]), *given["labels"]])},
        interactive=given["interactive"],
        once=given["interactive"] and attached,
        remove=given["remove"],
        restart=restart,
        stop_signal=given["stop_signal"] or run.stop_signal,
        stop_timeout=given["stop_timeout"],
        runtime=given["runtime"],
        top=given["top"],
        volumes=unnamed,
        hosts=_hosts(given["hosts"]),
        dns=_addresses(given["dns"]),
        dns_search=given["dns_search"],
        dns_options=given["dns_options"],
        groups=given["groups"],
        layer_size=_layer_size(given["size"]),
        rootless=os.geteuid() != 0,
    )  # fmt: skip


def _published(given: Mapping[str, Any], exposed: Collection[str]) -> tuple[Port, ...]:
    """What was asked for, and with -P whatever else is exposed."""
    from imagetool.runtime import ports

    asked = [port for text in given["publish"] for port in ports.parse(text)]
    known = {f"{port.container}/{port.protocol}" for port in asked}
    others = sorted(set(exposed) - known) if given["publish_all"] else []
    return (*asked, *(port for text in others for port in ports.parse(text)))


def _hosts(texts: Sequence[str]) -> tuple[tuple[str, str], ...]:
    from imagetool.containers.record import HOST_GATEWAY

    rows = [text.partition(":" if "=" not in text else "=")[::2] for text in texts]
    if any(not name for name, _ in rows):
        raise UsageError("invalid --add-host", hint="NAME:ADDRESS, as in db:10.0.0.2")
    if os.geteuid() != 0 and any(address == HOST_GATEWAY for _, address in rows):
        raise UsageError(
            f"{HOST_GATEWAY} is for root only: this network hides the host", hint="--network host"
        )
    _addresses([address for _, address in rows if address != HOST_GATEWAY])
    return tuple(rows)


def _addresses(texts: Sequence[str]) -> tuple[str, ...]:
    if not texts:
        return ()
    import ipaddress

    for text in texts:
        try:
            ipaddress.ip_address(text)
        except ValueError:
            raise UsageError(f"{text!r} is not an IP address") from None
    return tuple(texts)


def _lines(paths: Sequence[str]) -> list[str]:
    rows: list[str] = []
    for path in paths:
        try:
            with open(path, encoding="utf-8") as file:
                rows += [line.strip() for line in file]
        except (OSError, UnicodeDecodeError) as error:
            raise NotFound(f"cannot read the file of labels {path}: {_why(error)}") from error
    return [row for row in rows if row and not row.startswith("#")]


def _network(store: Store, given: Mapping[str, Any]) -> str:
    """Docker's words for what another container's network leaves no room for."""
    from imagetool.containers import sharing

    text = str(given["network"])
    if text in ("none", "host", "bridge", "default"):
        own = given["isolation"] != "chroot" or text == "none"  # else there is nothing to connect to a bridge
        return "host" if not own else "bridge" if text == "default" else text
    if not text.startswith(sharing.PREFIX):
        raise NotFound(f"network {text} not found", hint="none, host, bridge or container:NAME")
    for names, what in _FROM_THE_OTHER:
        if any(given[name] for name in names):
            raise UsageError(f"conflicting options: {what} and the container type network mode")
    return sharing.resolved(store, text)


_FROM_THE_OTHER = (
    (("hostname",), "hostname"),
    (("publish", "publish_all"), "port publishing"),
    (("expose",), "port exposing"),
    (("hosts",), "custom host-to-IP mapping"),
    (("dns", "dns_search", "dns_options"), "dns"),
)
"""Options, and what Docker calls them, that belong to the container whose network it is."""


def _pid(store: Store, text: str) -> str:
    from imagetool.containers import sharing

    if text not in ("", "private", "host") and not text.startswith(sharing.PREFIX):
        raise UsageError(f"--pid: invalid PID mode {text!r}", hint="host or container:NAME")
    return sharing.resolved(store, text.replace("private", ""))


def _options(store: Store, given: dict[str, Any], command: Sequence[str], mounts: tuple[Mount, ...]) -> Any:
    from imagetool.runtime import devices
    from imagetool.runtime import options as run

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
        devices=tuple(devices.parse(text) for text in given["devices"]),
        network=_network(store, given),
        isolation=given["isolation"],
        domainname=given["domainname"],
        sysctls=_sysctls(given["sysctls"]),
        oom_score_adj=given["oom_score_adj"],
        pid=_pid(store, given["pid"]),
        ipc=given["ipc"].replace("private", ""),
        uts=given["uts"],
        **_security(given["security_opt"]),
    )


def _security(texts: Sequence[str]) -> dict[str, Any]:
    """A profile is read at each start, by a process that is somewhere else."""
    from imagetool.runtime.options import parse_security_options

    found = parse_security_options(texts)
    if found.get("seccomp") not in (None, "default", "unconfined"):
        found["seccomp"] = os.path.abspath(os.path.expanduser(found["seccomp"]))
    return found


def _sysctls(texts: Sequence[str]) -> tuple[tuple[str, str], ...]:
    rows = [text.partition("=") for text in texts]
    if not all(name and equals for name, equals, _ in rows):
        raise UsageError("invalid --sysctl", hint="NAME=VALUE, as in net.ipv4.ip_forward=1")
    return tuple((name, value) for name, _, value in rows)


def _resources(given: dict[str, Any]) -> Resources:
    from imagetool.runtime.options import Resources, parse_cpus, parse_memory, parse_swap

    memory, swap = parse_memory(given["memory"]), parse_swap(given["memory_swap"])
    if swap > 0 and not memory:
        raise UsageError("You should always set the Memory limit when using Memoryswap limit", hint="with -m")
    if 0 < swap < memory:
        raise UsageError(
            "Minimum memoryswap limit should be larger than memory limit", hint="it is that of both"
        )
    return Resources(
        memory=memory,
        nano_cpus=parse_cpus(given["cpus"]) if given["cpus"] else 0,
        memory_swap=swap,
        cpu_shares=given["cpu_shares"],
        cpuset_cpus=given["cpuset_cpus"],
        pids=given["pids_limit"],
    )


def _layer_size(text: str) -> int:
    from imagetool.containers import limited
    from imagetool.runtime.options import parse_size

    if not text:
        return 0
    size = parse_size(text)
    limited.check(size)
    return size


def _environment(given: dict[str, Any]) -> list[str]:
    from imagetool.runtime.options import env_from_host

    return file_rows(given["env_files"]) + env_from_host(given["env"], os.environ)


def file_rows(paths: Sequence[str]) -> list[str]:
    """The variables of `--env-file`s. NotFound, UsageError."""
    from imagetool.runtime.options import parse_env_file

    rows: list[str] = []
    for path in paths:
        try:
            with open(path, encoding="utf-8") as file:
                rows += parse_env_file(file.read(), os.environ)
        except (OSError, UnicodeDecodeError) as error:
            raise NotFound(f"cannot read the environment file {path}: {_why(error)}") from error
    return rows


def _why(error: OSError | UnicodeDecodeError) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else "it is not UTF-8"


def labels(texts: Sequence[str]) -> dict[str, str]:
    """`--label`s as a mapping. UsageError."""
    if any(text.startswith("=") or not text for text in texts):
        import shlex

        raise UsageError("a label needs a name", hint=f"KEY=VALUE, not {shlex.join(texts)}")
    return {key: value for key, _, value in (text.partition("=") for text in texts)}
