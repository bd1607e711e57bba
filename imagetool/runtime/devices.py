"""`--device`: nodes of the host that a container gets: shown by a bind mount, and allowed by the device cgroup.

The bind needs no right to make nodes, so that it works for ordinary users too, as far as they may open the device
themselves. The rule is for version 1 of cgroups, or an OCI runtime; else the access asked for is only a word.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress

from imagetool.errors import NotFound, UsageError
from imagetool.runtime import defaults
from unionfs.namedtuple import NamedTuple

_ACCESS = frozenset("rwm")


class Device(NamedTuple):
    """As it was asked for: a node, or a directory of nodes."""

    host: str
    container: str
    access: str = "rwm"  # of the device cgroup: read, write, mknod


class Node(NamedTuple):
    """One device as it is on the host."""

    source: str
    target: str
    access: str
    kind: str  # "b" or "c"
    major: int
    minor: int


def parse(text: str) -> Device:
    """PURE: `HOST[:CONTAINER][:ACCESS]`. UsageError."""
    host, *more = text.split(":")
    access = more.pop() if more and _is_access(more[-1]) else "rwm"
    container = more.pop() if more else host
    if (
        more
        or not host.startswith("/")
        or not container.startswith("/")
        or container.strip("/") in ("", ".", "..")
    ):
        hint = "HOST[:CONTAINER[:rwm]], such as /dev/fuse or /dev/sdb:/dev/disk:r"
        raise UsageError(f"invalid device {text!r}", hint=hint)
    return Device(host, container, access)


def nodes(device: Device) -> list[Node]:
    """The node that it is, or those of a directory. NotFound; UsageError for what is no device."""
    try:
        if os.path.isdir(device.host):
            found = list(_below(device))
        else:
            found = [_node(os.path.realpath(device.host), device.container, device.access)]
    except OSError as error:
        raise NotFound(f"no device {device.host} on this machine: {error.strerror}") from error
    if not found:
        raise UsageError(f"{device.host} is no device, and has none in it")
    return found


def every() -> list[Node]:
    """All of this machine, for a privileged container, but for those that each container has of its own."""
    own = {*defaults.DEVICES, *(name for name, _ in defaults.SYMLINKS), "/dev/console"}
    found = _below(Device("/dev", "/dev"))
    return [node for node in found if node.target not in own and not node.target.startswith("/dev/pts/")]


def _below(device: Device) -> Iterator[Node]:
    for folder, _, files in os.walk(device.host):
        for name in sorted(files):
            path = f"{folder}/{name}"
            with suppress(FileNotFoundError):  # devices come and go
                if stat.S_IFMT(os.lstat(path).st_mode) in (stat.S_IFCHR, stat.S_IFBLK):
                    inside = os.path.relpath(path, device.host)
                    yield _node(path, f"{device.container.rstrip('/')}/{inside}", device.access)


def _node(source: str, target: str, access: str) -> Node:
    state = os.stat(source)
    kind = {stat.S_IFCHR: "c", stat.S_IFBLK: "b"}.get(stat.S_IFMT(state.st_mode))
    if kind is None:
        raise UsageError(f"{source} is no device", hint="for a file or directory: -v")
    return Node(source, target, access, kind, os.major(state.st_rdev), os.minor(state.st_rdev))


def _is_access(text: str) -> bool:
    return bool(text) and set(text) <= _ACCESS and len(set(text)) == len(text)
