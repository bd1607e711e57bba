"""The rows of `system df` for containers and volumes."""

from __future__ import annotations

from imagetool.containers import folder, rootfs, volumes
from imagetool.store.store import Store
from imagetool.store.usage import Usage


def containers(store: Store) -> Usage:
    """Their RW layers; what does not run can go."""
    sizes = [(one.state.running, rootfs.size(one.directory)) for one in folder.listing(store)]
    return Usage(
        "Containers", len(sizes), sum(runs for runs, _ in sizes), sum(size for _, size in sizes),
        sum(size for runs, size in sizes if not runs),
    )  # fmt: skip


def local_volumes(store: Store) -> Usage:
    """Those that no container has can go."""
    used = folder.volume_users(store)
    sizes = [(each.name in used, volumes.size(each)) for each in volumes.listing(store)]
    return Usage(
        "Local Volumes", len(sizes), sum(has for has, _ in sizes), sum(size for _, size in sizes),
        sum(size for has, size in sizes if not has),
    )  # fmt: skip
