"""A process that outlives a build for a moment and tidies up: it removes directories, so that nobody waits for that.

And when the build has been killed it takes the mounts away, and all that the build has begun. A server of files lives
in the build's mount namespace, and so keeps it; an overlayfs in there keeps the server's files: neither would ever end.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from imagetool.build import scratch
from imagetool.runtime import linux
from unionfs.annotations import NoReturn

SOURCE = "imagetool:build"
"""The name of every mount of a build in /proc/self/mountinfo."""


_NOTHING = b"\0"
_MOST = 32 << 10  # bytes, which a pipe takes without a reader


def start(prefix: str) -> Callable[[list[str]], None]:
    """Forks the guard, which sees this process end; the function that ends it, given what to remove.

    Without a word from it, all goes whose path begins with `prefix`.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        _watch(reader, prefix)
    os.close(reader)

    def end(paths: list[str]) -> None:
        text = os.fsencode("\0".join(paths))
        if len(text) > _MOST:
            scratch.remove(paths)
            text = _NOTHING
        os.write(writer, text or _NOTHING)
        os.close(writer)
        os.waitpid(pid, os.WNOHANG)

    return end


def _watch(reader: int, prefix: str) -> NoReturn:
    try:
        os.setsid()  # a Ctrl-C is for the build
        os.dup2(reader, 0)
        linux.close_from(1)
        with open(0, "rb") as told:
            paths = told.read() or b"\0".join(_begun(prefix))
        for target in reversed(_targets()):
            linux.umount(target)
        scratch.remove(os.fsdecode(path) for path in paths.split(b"\0") if path)
    finally:
        os._exit(0)


def _begun(prefix: str) -> list[bytes]:
    folder, name = os.path.split(os.fsencode(prefix))
    return [b"%b/%b" % (folder, one) for one in os.listdir(folder) if one.startswith(name)]


def _targets() -> list[bytes]:
    """In the order in which they were mounted."""
    with open("/proc/self/mountinfo", "rb") as table:
        rows = [line.partition(b" - ") for line in table]
    found = [(head.split()[4], tail.split()[1]) for head, _, tail in rows]
    return [_plain(target) for target, source in found if source == SOURCE.encode()]


def _plain(text: bytes) -> bytes:
    r"""Without the octal escapes of proc(5): \040 is a space."""
    head, *parts = text.split(b"\\")
    return head + b"".join(bytes([int(part[:3], 8)]) + part[3:] for part in parts)
