"""Volumes: directories that outlive containers. ROOT/volumes/NAME; unnamed ones have 64 hexadecimal digits.

A volume that is empty when it is mounted first gets what the image has in its place.
"""

from __future__ import annotations

import os
import re
import subprocess

from imagetool.containers.rootfs import remove_tree
from imagetool.errors import StoreError, UsageError
from imagetool.runtime.inroot import open_in_root
from imagetool.runtime.options import Mount
from imagetool.store import disk
from imagetool.store.store import Store

_VALID = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")


def path_of(store: Store, name: str) -> str:
    return f"{store.root}/volumes/{name}"


def new_name() -> str:
    return os.urandom(32).hex()


def ensure(store: Store, name: str) -> str:
    """The directory of a volume, made if it is new. UsageError for a name that leads elsewhere."""
    if not _VALID.fullmatch(name):
        raise UsageError(f"invalid volume name {name!r}", hint="letters, digits, _ . -; a path begins with /")
    with disk.errors(f"cannot make the volume {name}"):
        os.makedirs(path_of(store, name), exist_ok=True)
    return path_of(store, name)


def remove(store: Store, name: str) -> None:
    if _VALID.fullmatch(name) and os.path.isdir(path_of(store, name)):
        remove_tree(path_of(store, name))


def fill(mount: Mount, rootfs: str) -> None:
    """An empty volume gets what the image has at its target, found inside the container's root only."""
    if mount.kind != "volume" or "nocopy" in mount.options or os.listdir(mount.source):
        return
    root = os.open(rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            there = open_in_root(root, mount.target)
        except (FileNotFoundError, NotADirectoryError):
            return
        try:
            _copy(there, mount)
        finally:
            os.close(there)
    finally:
        os.close(root)


def _copy(there: int, mount: Mount) -> None:
    if not os.path.isdir(f"/proc/self/fd/{there}"):
        return
    command = ["cp", "-a", "--", f"/proc/self/fd/{there}/.", mount.source]
    done = subprocess.run(command, pass_fds=(there,), capture_output=True, text=True)
    if done.returncode:
        raise StoreError(f"cannot fill the volume on {mount.target}: {done.stderr.strip()}")
