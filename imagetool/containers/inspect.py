"""What `inspect` shows of a container, in the shape of Docker's API (`GET /containers/ID/json`)."""

from __future__ import annotations

import os
from contextlib import suppress

from imagetool.containers import rootfs
from imagetool.containers.folder import Container
from imagetool.containers.listing import state_word
from imagetool.errors import ImageToolError
from imagetool.runtime import leases, network
from imagetool.runtime.options import Mount
from imagetool.store import read
from imagetool.store.store import Store
from imagetool.units import time_text
from unionfs.annotations import Any

_NEVER = "0001-01-01T00:00:00Z"


def sizes(store: Store, container: Container) -> tuple[int, int]:
    """Bytes of the RW layer, and of the image; 0 for one that is not there any more."""
    image = 0
    with suppress(ImageToolError):
        image = read.facts(store.layout, rootfs.manifest_of(container.record))[0].size
    return rootfs.size(container.directory), image


def document(store: Store, container: Container, *, size: bool = False) -> dict[str, Any]:
    """All of it; with `size`, also what its files take."""
    own, image = sizes(store, container) if size else (0, 0)
    known = {"SizeRw": own, "SizeRootFs": own + image} if size else {}
    return {**_document(container), **known}


def _document(container: Container) -> dict[str, Any]:
    record, state = container.record, container.state
    words = container.record.command
    asked = record.options
    return {
        "Id": record.id,
        "Created": time_text(record.created),
        "Path": words[0],
        "Args": words[1:],
        "State": _state(container),
        "Image": record.image_id,
        "ResolvConfPath": f"{container.directory}/resolv.conf",
        "HostnamePath": f"{container.directory}/hostname",
        "HostsPath": f"{container.directory}/hosts",
        "LogPath": f"{container.directory}/log",
        "Name": f"/{record.name}",
        "RestartCount": state.restarts,
        "Driver": "unionfs",
        "HostConfig": {
            "Binds": [_bind(mount) for mount in asked.mounts if mount.kind != "tmpfs"] or None,
            "NetworkMode": asked.network,
            "PortBindings": _bindings(container),
            "RestartPolicy": {"Name": record.restart.when, "MaximumRetryCount": record.restart.most},
            "AutoRemove": record.remove,
            "Privileged": asked.privileged,
            "ReadonlyRootfs": asked.readonly,
            "CapAdd": list(asked.cap_add) or None,
            "CapDrop": list(asked.cap_drop) or None,
            "Memory": asked.resources.memory,
            "NanoCpus": asked.resources.nano_cpus,
            "PidsLimit": asked.resources.pids or None,
            "Dns": list(record.dns),
            "DnsSearch": list(record.dns_search),
            "DnsOptions": list(record.dns_options),
            "ExtraHosts": [f"{name}:{address}" for name, address in record.hosts] or None,
            "GroupAdd": list(record.groups) or None,
            "PidMode": asked.pid,
            "IpcMode": asked.ipc or "private",
            "UTSMode": asked.uts,
            "Devices": [
                {"PathOnHost": d.host, "PathInContainer": d.container, "CgroupPermissions": d.access}
                for d in asked.devices
            ],
            "Runtime": record.runtime or "builtin",
            "StorageOpt": {"size": str(record.layer_size)} if record.layer_size else None,
        },
        "GraphDriver": {
            "Name": "unionfs",
            "Data": {
                "MergedDir": f"{container.directory}/rootfs",
                "UpperDir": f"{container.directory}/top/upper",
                "WorkDir": f"{container.directory}/top/work",
            },
        },
        "Mounts": [_mount(container, mount) for mount in asked.mounts],
        "Config": _config(container),
        "NetworkSettings": {
            **_address(container),
            "Ports": _ports(container),
            "Networks": {asked.network: _address(container)} if ":" not in asked.network else {},
        },
    }


def _state(container: Container) -> dict[str, Any]:
    state = container.state
    return {
        "Status": state_word(state),
        "Running": state.running,
        "Paused": state.paused,
        "Restarting": state.status == "restarting",
        "OOMKilled": state.oom_killed,
        "Dead": False,
        "Pid": state.pid,
        "ExitCode": state.exit_code,
        "Error": state.error,
        "StartedAt": time_text(state.started_at) if state.started_at else _NEVER,
        "FinishedAt": time_text(state.finished_at) if state.finished_at else _NEVER,
    }


def _config(container: Container) -> dict[str, Any]:
    asked, image = container.record.options, container.record.defaults
    entrypoint = image.entrypoint if asked.entrypoint is None else asked.entrypoint
    env = dict(row.partition("=")[::2] for row in (*image.env, *asked.env))
    return {
        "Hostname": asked.hostname or container.id[:12],
        "User": asked.user or image.user,
        "Tty": asked.tty,
        "OpenStdin": container.record.interactive,
        "StdinOnce": container.record.once,
        "Env": [f"{name}={value}" for name, value in env.items()],
        "Cmd": list(asked.command or image.command) or None,
        "Image": container.record.image,
        "WorkingDir": asked.workdir or image.workdir,
        "Entrypoint": list(entrypoint) or None,
        "ExposedPorts": {port: {} for port in container.record.exposed} or None,
        "Labels": dict(container.record.labels),
        "StopSignal": container.record.stop_signal,
        "StopTimeout": container.record.stop_timeout,
    }


def _mount(container: Container, mount: Mount) -> dict[str, Any]:
    named, source = {}, mount.source
    if mount.kind == "volume":
        named = {"Name": source, "Driver": "local"}
        source = os.path.normpath(f"{container.directory}/../../volumes/{source}")
    return {
        "Type": mount.kind, **named, "Source": source, "Destination": mount.target,
        "RW": not mount.readonly,
    }  # fmt: skip


def _bind(mount: Mount) -> str:
    words = (*(("ro",) if mount.readonly else ()), *mount.options)
    return ":".join((mount.source, mount.target, *((",".join(words),) if words else ())))


def _address(container: Container) -> dict[str, Any]:
    """Of an ordinary user's container, the one in a network of its own that the host does not see."""
    address = container.state.address
    bridged = address and not container.record.rootless
    return {
        "IPAddress": address,
        "IPPrefixLen": int(network.SUBNET.partition("/")[2]) if bridged else 0,
        "Gateway": leases.gateway(network.SUBNET) if bridged else "",
    }


def _bindings(container: Container) -> dict[str, Any]:
    """As they were asked for; the port is "" where the kernel chooses one."""
    found: dict[str, list[dict[str, str]]] = {}
    for port in container.record.ports:
        row = {"HostIp": port.ip, "HostPort": str(port.host or "")}
        found.setdefault(f"{port.container}/{port.protocol}", []).append(row)
    return found


def _ports(container: Container) -> dict[str, Any]:
    found: dict[str, Any] = dict.fromkeys(container.record.exposed)
    for ip, host, inside, kind in container.state.ports:
        rows = found.get(f"{inside}/{kind}") or []
        found[f"{inside}/{kind}"] = [*rows, {"HostIp": ip, "HostPort": str(host)}]
    return found
