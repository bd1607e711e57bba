"""Volumes: directories that outlive containers. ROOT/volumes/NAME; unnamed ones have 64 hexadecimal digits.

Labels, where there are any, are beside it in ROOT/volumes/.NAME, a name that no volume can have. A volume that is
empty when it is mounted first gets what the image has in its place. Who uses one is in `volumeuse`.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Mapping
from contextlib import ExitStack, suppress

from imagetool.errors import NotFound, StoreError, UsageError
from imagetool.runtime.inroot import open_in_root
from imagetool.runtime.options import Mount
from imagetool.serving import remove_tree
from imagetool.store import disk
from imagetool.store.store import Store
from unionfs.namedtuple import NamedTuple

_VALID = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{1,252}")  # with its dot, the file of labels fits NAME_MAX
_UNNAMED = re.compile(r"[0-9a-f]{64}")


class Volume(NamedTuple):
    """`created` is when its directory last changed, as Docker shows it; seconds since 1970."""

    name: str
    path: str
    created: float
    labels: Mapping[str, str]

    @property
    def unnamed(self) -> bool:
        """Made for one container; a prune takes it."""
        return _UNNAMED.fullmatch(self.name) is not None


def path_of(store: Store, name: str) -> str:
    return f"{store.root}/volumes/{name}"


def new_name() -> str:
    return os.urandom(32).hex()


def check(name: str) -> str:
    """UsageError for a name that leads elsewhere."""
    if not _VALID.fullmatch(name):
        raise UsageError(f"invalid volume name {name!r}", hint="letters, digits, _ . -; a path begins with /")
    return name


def ensure(store: Store, name: str) -> str:
    """The directory of a volume, made if it is new. UsageError for a name that leads elsewhere."""
    check(name)
    with disk.errors(f"cannot make the volume {name}"):
        os.makedirs(path_of(store, name), exist_ok=True)
    return path_of(store, name)


def create(store: Store, name: str, labels: Mapping[str, str]) -> None:
    """A new volume with labels; one that is there stays as it is."""
    path = path_of(store, check(name))
    if os.path.isdir(path):
        return
    with disk.errors(f"cannot make the volume {name}"):
        disk.unlink(_labels_of(store, name))  # what a crash may have left
        if labels:
            with store.lease() as lease:
                disk.publish(json.dumps(dict(labels)).encode(), _labels_of(store, name), lease.temporary())
    ensure(store, name)


def find(store: Store, name: str) -> Volume:
    """NotFound, in Docker's words."""
    path = path_of(store, name)
    if not _VALID.fullmatch(name) or not os.path.isdir(path):
        raise NotFound(f"get {name}: no such volume", hint="see: imagetool volume ls")
    return Volume(name, path, os.stat(path).st_ctime, _labels(store, name))


def listing(store: Store) -> list[Volume]:
    """All of them, by name."""
    found = []
    with suppress(FileNotFoundError):
        for name in sorted(os.listdir(f"{store.root}/volumes")):
            with suppress(NotFound):  # labels, and what has just gone
                found.append(find(store, name))
    return found


def size(volume: Volume) -> int:
    """Bytes on disk of all that is in it, each inode once."""
    total, known = 0, set()
    for folder, directories, files in os.walk(volume.path):
        for name in (*directories, *files):
            with suppress(OSError):
                state = os.lstat(f"{folder}/{name}")
                total += 0 if state.st_ino in known else state.st_blocks * 512
                known.add(state.st_ino)
    return total


def remove(store: Store, name: str) -> None:
    """Whoever uses it. It is no volume any more at once; files that a crash leaves are garbage of the store."""
    path = path_of(store, name)
    if not _VALID.fullmatch(name) or not os.path.isdir(path):
        return
    with store.lease() as lease:
        gone = lease.temporary()
        with disk.errors(f"cannot remove the volume {name}"):
            os.rename(path, gone)
            disk.unlink(_labels_of(store, name))
        remove_tree(gone)


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
            _copy(there, mount, f"{rootfs}.filling")
        finally:
            os.close(there)
    finally:
        os.close(root)


def _copy(there: int, mount: Mount, made: str) -> None:
    """By way of a directory that no container sees: one that has the volume already may put links into it."""
    if not os.path.isdir(f"/proc/self/fd/{there}"):
        return
    remove_tree(made)  # what a crash has left
    command = ["cp", "-a", "--", f"/proc/self/fd/{there}/.", made]
    done = subprocess.run(command, pass_fds=(there,), capture_output=True, text=True)
    try:
        if done.returncode:
            raise StoreError(f"cannot fill the volume on {mount.target}: {done.stderr.strip()}")
        with disk.errors(f"cannot fill the volume on {mount.target}"):
            _move_contents(made, mount.source)
    finally:
        remove_tree(made)


def _move_contents(source: str, target: str) -> None:
    """With the looks of the directory; a name that is there already stays as it is."""
    import shutil  # few volumes are ever filled

    from unionfs import sysfd

    with ExitStack() as opened:
        old, new = (os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC) for path in (source, target))
        opened.callback(os.close, old)
        opened.callback(os.close, new)
        for name in map(os.fsencode, os.listdir(old)):
            with suppress(FileExistsError):
                sysfd.rename(old, name, new, name, sysfd.RENAME_NOREPLACE)
        looks = os.fstat(old)
        os.fchown(new, looks.st_uid, looks.st_gid)
        shutil.copystat(source, f"/proc/self/fd/{new}")


def _labels_of(store: Store, name: str) -> str:
    return f"{store.root}/volumes/.{name}"


def _labels(store: Store, name: str) -> dict[str, str]:
    """A file that is not whole says as much as none."""
    try:
        with open(_labels_of(store, name), "rb") as file:
            return {str(key): str(value) for key, value in json.load(file).items()}
    except (FileNotFoundError, ValueError, AttributeError):
        return {}
