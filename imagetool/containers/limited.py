"""A RW layer that cannot grow beyond a size (`--size`): ext4 in a sparse file, ROOT/containers/ID/top.ext4.

It is mounted on ID/top when the layer is needed, after a reboot again, and stays so until the container is removed.
mount(8) makes one loop device for a file however often it is asked, so that the file system is never open twice; and
the kernel takes the device away with the last user of the mount, whoever was killed before.
"""

from __future__ import annotations

import fcntl
import os

from imagetool.errors import StoreError, UsageError
from unionfs import mountpoint

FILE = "top.ext4"
LEAST = 4 << 20  # bytes; below, ext4 has hardly room for its journal
_PATH = (
    f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"  # users' paths often lack the directory of mkfs
)
_OPTIONS = "loop,nosuid,nodev,discard"  # discard: what is deleted inside is room outside


def check(size: int) -> None:
    """UsageError where no layer of this size can be."""
    if size < LEAST:
        raise UsageError(f"--size {size} is too small", hint="at least 4m")
    if os.geteuid() != 0:
        raise UsageError("--size is for root only: it needs a file system of its own", hint="leave it out")
    _program()


def make(directory: str, size: int) -> None:
    """An empty file system for a container to be. StoreError."""
    path = f"{directory}/{FILE}"
    with open(path, "xb") as file:
        file.truncate(size)
    command = [
        _program(),
        "-q",
        "-F",
        "-m",
        "0",
        "-E",
        "lazy_itable_init=1,lazy_journal_init=1,nodiscard",
        path,
    ]
    _run(command, "cannot make the container's file system")


def attach(directory: str) -> None:
    """The RW layer can be used: mounted, if it is in a file system of its own and not mounted yet. StoreError."""
    try:
        lock = os.open(f"{directory}/{FILE}", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.ismount(f"{directory}/top"):
            command = ["mount", "-t", "ext4", "-o", _OPTIONS, f"{directory}/{FILE}", f"{directory}/top"]
            _run(command, "cannot mount the container's file system")
        for name in ("upper", "work"):
            os.makedirs(f"{directory}/top/{name}", exist_ok=True)
    finally:
        os.close(lock)


def detach(directory: str) -> None:
    """Takes the mount away, whoever still has files open there. StoreError."""
    target = os.path.realpath(f"{directory}/top")
    while os.path.ismount(target):
        try:
            mountpoint.unmount(target, lazy=True)
        except OSError as error:
            raise StoreError(f"cannot unmount {target}: {error.strerror}") from error


def _program() -> str:
    import shutil  # like the next one: few containers have such a layer

    found = shutil.which("mkfs.ext4", path=_PATH)
    if found is None:
        raise UsageError("--size needs mkfs.ext4, which is not installed", hint="install e2fsprogs")
    return found


def _run(command: list[str], what: str) -> None:
    import subprocess

    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        reason = (
            done.stderr.strip().splitlines()
            or [f"{os.path.basename(command[0])} ended with {done.returncode}"]
        )[0]
        raise StoreError(f"{what}: {reason}")
