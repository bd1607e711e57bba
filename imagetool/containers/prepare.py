"""From a container's record to its bundle: the user, the files in /etc, the volumes, config.json.

The rootfs is mounted when this is called: /etc/passwd is read in it, and only beneath its root.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping

from imagetool.containers import executors, rootless, sharing, volumes
from imagetool.containers.record import HOST_GATEWAY, Record
from imagetool.errors import NotFound, UsageError
from imagetool.runtime import (
    capabilities,
    cgroups,
    devices,
    leases,
    linux,
    network,
    plan,
    ports,
    seccomp,
    seccomp_default,
    usernet,
    users,
)
from imagetool.runtime.inroot import read_in_root
from imagetool.runtime.options import Mount, RunOptions
from imagetool.store.store import Store
from unionfs.annotations import Any

_FILES = ("hosts", "hostname", "resolv.conf")


def bundle(store: Store, record: Record, directory: str) -> tuple[str, ...]:
    """Writes config.json; gives what could not be isolated, a sentence each. ImageToolError."""
    options = sharing.joined(store, record)
    options = options._replace(mounts=tuple(_present(store, m) for m in options.mounts))
    for mount in options.mounts:
        volumes.fill(mount, f"{directory}/rootfs")
    write_hosts(record, directory, "")
    user = user_of(options.user or record.defaults.user, f"{directory}/rootfs", record.groups)
    made = plan.plan(_with_profile(options), record.defaults, user, _host(store, record, directory, options))
    with open(f"{directory}/config.json", "w") as file:
        json.dump(made.spec, file)
    return made.notes


def write_hosts(record: Record, directory: str, address: str) -> None:
    """The three files of /etc, in place: they may be mounted already."""
    hostname = record.options.hostname or record.id[:12]
    own = record.options.network not in ("host",)
    servers = record.dns or ((usernet.NAME_SERVER,) if rootless.active() and own else ())
    host = network.host_resolv_conf()
    texts = (
        ports.hosts_file(address, hostname, {name: _host_address(there) for name, there in record.hosts}),
        f"{hostname}\n",
        ports.resolv_conf(
            host, own_network=own, servers=servers, search=record.dns_search, options=record.dns_options
        ),
    )
    for name, text in zip(_FILES, texts, strict=True):
        with open(f"{directory}/{name}", "w") as file:
            os.fchmod(file.fileno(), 0o644)
            file.write(text)


def _host_address(address: str) -> str:
    """`host-gateway` is this machine, as containers on the bridge see it."""
    return leases.gateway(network.SUBNET) if address == HOST_GATEWAY else address


def _present(store: Store, mount: Mount) -> Mount:
    """With a source that is there; Docker's words where it is not."""
    if mount.kind == "volume":
        return mount._replace(source=volumes.ensure(store, mount.source))
    if mount.kind == "bind" and not os.path.exists(mount.source):
        raise NotFound(f"bind source path does not exist: {mount.source}", hint="make it, or use a volume")
    return mount


def user_of(text: str, rootfs: str, groups: tuple[str, ...] = ()) -> users.User:
    """Whom "", "user" or "user:group" means by the image's own files, with further groups. UsageError."""
    root = os.open(rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        passwd, group = (
            read_in_root(root, f"etc/{name}", users.FILE_MAX) if text or groups or name == "passwd" else b""
            for name in ("passwd", "group")
        )
    except OSError as error:
        raise UsageError(f"cannot read the image's accounts: {error.strerror}") from error
    finally:
        os.close(root)
    user = users.resolve(text, passwd, group)
    more = [gid for gid in users.extra_groups(groups, group) if gid not in user.groups]
    return user._replace(groups=(*user.groups, *more))


def _host(store: Store, record: Record, directory: str, options: RunOptions) -> plan.Host:
    names = capabilities.granted(
        options.cap_add, options.cap_drop, privileged=options.privileged, available=linux.bounding_set()
    )
    other = sharing.network_of(store, record)
    whose = other.directory if other is not None else directory
    return plan.Host(
        record.id,
        cgroup_version=cgroups.version(),
        cgroup_path=record.cgroup,
        capabilities=linux.bounding_set(),
        devices=tuple(_devices(options)),
        limits_devices=_limits_devices(record.runtime),
        files={f"/etc/{name}": f"{whose}/{name}" for name in _FILES},
        rootless=rootless.active(),
        single_id=rootless.active() and rootless.has_one_id(),
        seccomp=seccomp_default.profile(names, os.uname().machine)
        if seccomp.available(executors.filters(store))
        else None,
    )


def _devices(options: RunOptions) -> list[devices.Node]:
    """What was asked for; a privileged container sees all that this machine has, unless it brings a /dev."""
    asked = [node for device in options.devices for node in devices.nodes(device)]
    if not options.privileged or any(mount.target.rstrip("/") == "/dev" for mount in options.mounts):
        return asked
    there = {node.target for node in asked}
    return [*asked, *(node for node in devices.every() if node.target not in there)]


def _limits_devices(runtime: str) -> bool:
    """Version 2 of cgroups wants a program for it (BPF), which an OCI runtime loads."""
    return cgroups.version() == 1 or (cgroups.version() == 2 and runtime not in ("", "builtin"))


def _with_profile(options: RunOptions) -> RunOptions:
    """A seccomp profile that is a file's name becomes what is in the file."""
    name = options.seccomp
    if not isinstance(name, str) or name in ("default", "unconfined"):
        return options
    try:
        with open(name, "rb") as file:
            profile: Mapping[str, Any] = json.load(file)
    except OSError as error:
        raise NotFound(f"cannot read the seccomp profile {name}: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"the seccomp profile {name} is not JSON: {error}") from error
    return options._replace(seccomp=profile)
