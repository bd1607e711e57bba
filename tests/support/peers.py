"""The other union file systems, mounted on the same stacks as ours: to compare with, and to exchange layers with."""

from __future__ import annotations

from collections.abc import Callable

from tests.support.mounts import Opened, Stack, overlay, served, union


def _overlay(made: Stack, options: str) -> Opened:
    return overlay(made, options or "redirect_dir=on,index=on")


def _fuse_overlayfs(made: Stack, options: str) -> Opened:
    words = ",".join(filter(None, (made.options(), "allow_other,dev,suid", options)))
    return served(["fuse-overlayfs", "-f", "-o", words, str(made.mountpoint)], made, check=False)


def _unionfs_fuse(made: Stack, options: str) -> Opened:
    branches = [f"{made.upper}=RW", *(f"{path}=RO" for path in made.lowers)]
    words = ",".join(filter(None, ("cow,allow_other,default_permissions,use_ino,dev,suid", options)))
    command = ["unionfs-fuse", "-f", "-o", words, ":".join(branches), str(made.mountpoint)]
    return served(command, made, check=False)


def _ours(made: Stack, options: str) -> Opened:
    return union(made, ",".join(filter(None, ("allow_other,dev,suid", options))))


PEERS: dict[str, Callable[[Stack, str], Opened]] = {
    "ours": _ours,
    "overlay": _overlay,
    "fuse-overlayfs": _fuse_overlayfs,
    "unionfs-fuse": _unionfs_fuse,
}
"""By name: a function of a stack (of directories, with an upper) and further mount options."""
