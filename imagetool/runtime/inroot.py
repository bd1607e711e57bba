"""Paths of a container, resolved beneath its root: no link, no ".." and no race leads out of it.

Every component is opened by descriptor and without following; links are expanded here, as if the root
were "/".
"""

from __future__ import annotations

import errno
import os
import stat

LINKS_MAX = 40  # as the kernel's MAXSYMLINKS
_PATH = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


def open_in_root(root: int, path: str, *, make: str = "", links: bool = True) -> int:
    """An O_PATH descriptor of `path` beneath the directory descriptor `root`; the caller closes it.

    make: "dir" or "file" creates what is missing, parents included (modes 0755 and 0644).
    links=False: a symbolic link anywhere in the path is ELOOP, as for /proc, /sys and /dev.
    """
    todo = path.split("/")[::-1]  # the next component is the last one
    trail = [os.dup(root)]  # the directories from the root down to here
    hops = 0
    try:
        while todo:
            name = todo.pop()
            if name in ("", "."):
                continue
            if name == "..":
                if len(trail) > 1:
                    os.close(trail.pop())
                continue
            fd = _step(trail[-1], name, make if not any(todo) else make and "dir")
            trail.append(fd)
            if stat.S_ISLNK(os.fstat(fd).st_mode):
                hops += 1
                if not links or hops > LINKS_MAX:
                    raise OSError(errno.ELOOP, "a symbolic link is in the way", path)
                target = os.readlink("", dir_fd=fd)
                _cut(trail, 1 if target.startswith("/") else len(trail) - 1)
                todo.extend(target.split("/")[::-1])
        return trail.pop()
    finally:
        _cut(trail, 0)


def read_in_root(root: int, path: str, limit: int) -> bytes:
    """The bytes of a regular file beneath `root`; b"" if there is none. Larger than `limit` is EFBIG."""
    try:
        fd = open_in_root(root, path)
    except (FileNotFoundError, NotADirectoryError):
        return b""
    try:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode):  # a device or a pipe might never end, or act when opened
            raise OSError(errno.EINVAL, "not a regular file", path)
        with open(f"/proc/self/fd/{fd}", "rb", opener=_without_waiting) as file:
            data = file.read(limit + 1) or b""
    finally:
        os.close(fd)
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"larger than {limit} bytes", path)
    return data


def _without_waiting(path: str, flags: int) -> int:
    """Files of the kernel's, /proc/kmsg for one, say that they are regular ones, and wait for what is to come."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)


def _step(parent: int, name: str, make: str) -> int:
    try:
        return os.open(name, _PATH, dir_fd=parent)
    except FileNotFoundError:
        if not make:
            raise
    try:
        if make == "dir":
            os.mkdir(name, 0o755, dir_fd=parent)
        else:
            os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o644, dir_fd=parent))
    except FileExistsError:  # somebody else made it: whatever it is now is judged by the caller
        pass
    return os.open(name, _PATH, dir_fd=parent)


def _cut(trail: list[int], length: int) -> None:
    while len(trail) > length:
        os.close(trail.pop())
