"""Random file-system operations: a strategy, and an interpreter that says what came of each.

The names are few and the layers use them all, so that operations meet each other and what is below.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from hypothesis import strategies as st

from tests.support import process
from tests.support.notation import (
    LONG_AGO,
    WHITEOUT,
    Tree,
    device,
    directory,
    fifo,
    file,
    hardlink,
    sparse,
    symlink,
)

NAMES = "abcd"
BIG = 1 << 21  # above what a metadata-only copy-up is for

LAYERS: list[Tree] = [
    {
        "a": file(b"top a", xattrs={"user.x": b"1"}),
        "b": directory(0o750),
        "b/a": b"top b/a",
        "b/b/c": b"top b/b/c",
        "b/d": WHITEOUT,
        "c": directory(opaque=True),
        "c/a": symlink("../a"),
        "d/b": WHITEOUT,
        "d/c/a": file(b"x" * 5000, 0o4755),
    },
    {
        "a": b"covered",
        "b/a": b"covered",
        "b/b/a": b"middle b/b/a",
        "b/c": symlink("b"),
        "b/d/a": b"hidden",
        "c/b/a": b"hidden",
        "d": directory(0o2775, gid=7),
        "d/a": sparse(BIG, BIG // 2, b"big"),
        "d/b/a": b"hidden",
        "d/c/b": fifo(),
    },
    {
        "b/b/b/a": b"bottom",
        "b/b/d": directory(0o700, xattrs={"trusted.y": b"2"}),
        "c/c/c": b"hidden",
        "d/a": b"covered",
        "d/c/c": device("char", 1, 3),
        "d/d/a": file(b"bottom d/d/a", uid=5, gid=6),
        "d/d/b": b"",
    },
]
LINKED: list[Tree] = [
    {**LAYERS[0], "b/b/d/b": b"one file", "d/d/c": hardlink("b/b/d/b"), "d/d/d": hardlink("b/b/d/b")},
    {**LAYERS[1], "b/c": hardlink("d/a")},
    LAYERS[2],
]
"""The same with hard links (all of them visible: overlayfs counts also those that a layer hides)."""

paths = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map("/".join)
data = st.sampled_from([b"", b"1", b"some text", b"z" * 5000])
modes = st.sampled_from([0o644, 0o600, 0o755, 0o777, 0o4755, 0o2750, 0o1777, 0o400])
owners = st.sampled_from([-1, 0, 5, 1000])
attributes = st.sampled_from(["user.x", "user.z", "trusted.y", "trusted.overlay.opaque"])
flags = st.sampled_from([0, 0, 0, 1, 2])
slots = st.integers(0, 2)


class Operation(NamedTuple):
    name: str
    arguments: tuple[object, ...]

    def __repr__(self) -> str:
        return f"{self.name}{self.arguments!r}"


def _operation(name: str, *parts: st.SearchStrategy[object]) -> st.SearchStrategy[Operation]:
    return st.tuples(*parts).map(lambda arguments: Operation(name, arguments))


operations = st.one_of(
    _operation("create", paths, data, modes),
    _operation("write", paths, st.integers(0, 6000), data),
    _operation("append", paths, data),
    _operation("truncate", paths, st.sampled_from([0, 3, 4096, 10_000])),
    _operation("read", paths),
    _operation("stat", paths),
    _operation("listing", paths),
    _operation("mkdir", paths, modes),
    _operation("rmdir", paths),
    _operation("unlink", paths),
    _operation("rename", paths, paths, flags),
    _operation("rename", paths, paths, flags),
    _operation("link", paths, paths),
    _operation("symlink", st.sampled_from(["a", "../b", "missing"]), paths),
    _operation("chmod", paths, modes),
    _operation("chown", paths, owners, owners),
    _operation("utime", paths, st.sampled_from([0, 1_500_000_000_000_000_001])),
    _operation("setxattr", paths, attributes, data.filter(lambda value: len(value) < 100)),
    _operation("removexattr", paths, attributes),
    _operation("mknod", paths, st.sampled_from([stat.S_IFIFO, stat.S_IFCHR, stat.S_IFREG])),
    _operation("mknod_0_0", paths),
    _operation("hold", slots, paths),
    _operation("held_write", slots, st.integers(0, 100), data),
    _operation("held_read", slots),
    _operation("held_truncate", slots, st.sampled_from([0, 2000])),
)
sequences = st.lists(operations, min_size=1, max_size=30)


class Player:
    """Carries out operations below one directory. Relative paths, so that two places give the same answers."""

    def __init__(self, root: Path) -> None:
        self._root = os.fspath(root)
        self._held: dict[int, int] = {}

    def play(self, steps: Sequence[Operation]) -> list[object]:
        """The result of each step: a value, or the name of its errno."""
        os.umask(0o022)
        os.chdir(self._root)
        try:
            return [self._one(step) for step in steps]
        finally:
            for fd in self._held.values():
                os.close(fd)

    def _one(self, step: Operation) -> object:
        action: Callable[..., object] = getattr(self, step.name)
        try:
            return action(*step.arguments)
        except OSError as e:
            return errno.errorcode[e.errno or 0]

    def _with(self, path: str, how: int, action: Callable[[int], object], mode: int = 0o644) -> object:
        fd = os.open(path, how | os.O_NONBLOCK, mode)
        try:
            return action(fd)
        finally:
            os.close(fd)

    def create(self, path: str, content: bytes, mode: int) -> object:
        return self._with(path, os.O_CREAT | os.O_WRONLY, lambda fd: os.write(fd, content), mode)

    def write(self, path: str, offset: int, content: bytes) -> object:
        return self._with(path, os.O_WRONLY, lambda fd: os.pwrite(fd, content, offset))

    def append(self, path: str, content: bytes) -> object:
        return self._with(path, os.O_WRONLY | os.O_APPEND, lambda fd: os.write(fd, content))

    def truncate(self, path: str, size: int) -> None:
        os.truncate(path, size)

    def read(self, path: str) -> object:
        return self._with(path, os.O_RDONLY, lambda fd: os.pread(fd, 20_000, 0))

    def stat(self, path: str) -> object:
        info = os.lstat(path)
        if stat.S_ISDIR(info.st_mode):
            return info.st_mode, info.st_uid, info.st_gid
        return info.st_mode, info.st_uid, info.st_gid, info.st_size, info.st_nlink, info.st_rdev

    def listing(self, path: str) -> object:
        with os.scandir(path) as rows:
            return sorted((row.name, row.is_dir(follow_symlinks=False), row.is_symlink()) for row in rows)

    def mkdir(self, path: str, mode: int) -> None:
        os.mkdir(path, mode)

    def rmdir(self, path: str) -> None:
        os.rmdir(path)

    def unlink(self, path: str) -> None:
        os.unlink(path)

    def rename(self, old: str, new: str, how: int) -> object:
        here = -100  # AT_FDCWD
        return process.checked(process.LIBC.renameat2(here, old.encode(), here, new.encode(), how))

    def link(self, old: str, new: str) -> None:
        os.link(old, new, follow_symlinks=False)

    def symlink(self, target: str, path: str) -> None:
        os.symlink(target, path)

    def chmod(self, path: str, mode: int) -> None:
        os.chmod(path, mode)

    def chown(self, path: str, uid: int, gid: int) -> None:
        os.lchown(path, uid, gid)

    def utime(self, path: str, when: int) -> None:
        os.utime(path, ns=(when, when), follow_symlinks=False)

    def setxattr(self, path: str, name: str, value: bytes) -> None:
        os.setxattr(path, name, value, follow_symlinks=False)

    def removexattr(self, path: str, name: str) -> None:
        os.removexattr(path, name, follow_symlinks=False)

    def mknod(self, path: str, kind: int) -> None:
        os.mknod(path, kind | 0o600, os.makedev(1, 5) if kind == stat.S_IFCHR else 0)

    def mknod_0_0(self, path: str) -> None:
        os.mknod(path, stat.S_IFCHR | 0o600, 0)

    def hold(self, slot: int, path: str) -> object:
        fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            return "not held"
        if slot in self._held:
            os.close(self._held[slot])
        self._held[slot] = fd
        return os.fstat(fd).st_size

    def held_write(self, slot: int, offset: int, content: bytes) -> object:
        return os.pwrite(self._held.get(slot, -1), content, offset)

    def held_read(self, slot: int) -> object:
        return os.pread(self._held.get(slot, -1), 20_000, 0)

    def held_truncate(self, slot: int, size: int) -> None:
        os.ftruncate(self._held.get(slot, -1), size)


def recent(mtime: int | None) -> bool:
    """Whether a time was set by an operation's clock, and cannot be compared."""
    return mtime is not None and mtime > LONG_AGO
