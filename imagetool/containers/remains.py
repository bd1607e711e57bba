"""What a container may leave on the machine when its monitor is killed, and taking it away."""

from __future__ import annotations

import os

from imagetool.containers import rootfs, rootless
from imagetool.containers.record import Record
from imagetool.runtime import cgroups
from imagetool.store.store import Store

NETWORK_STATE = "/run/imagetool/network"


def clear(store: Store, record: Record) -> None:
    """Mount, cgroup, link and lease. Only under the container's lock, when its processes have ended."""
    directory = f"{store.layout.containers}/{record.id}"
    if cgroups.version():
        cgroups.Cgroup(record.cgroup).remove()
    rootfs.unmount(f"{directory}/rootfs")
    rootfs.wait_until_free(directory)
    if record.rootless:
        rootless.end_all(rootfs.source_of(record.id))
    if has_lease(record.id):
        from imagetool.runtime.network import Bridge, Netlink

        with Netlink() as netlink:
            Bridge(NETWORK_STATE).disconnect(netlink, record.id)


def has_lease(container_id: str) -> bool:
    """Whether the bridge knows the container, or a link of it is there."""
    try:
        with open(f"{NETWORK_STATE}/leases.json") as leases:
            known = leases.read()
    except OSError:
        known = ""
    return container_id in known or os.path.exists(f"/sys/class/net/it-{container_id[:11]}")
