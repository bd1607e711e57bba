"""Random file-system operations: a strategy, and an interpreter that says what came of each.

The names are few and the layers use them all, so that operations meet each other and what is below.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator, Sequence
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


class Pick(NamedTuple):
    """A path that is chosen when its turn comes: among the files, directories or all entries that then exist.

    "new" is a name in an existing directory; most often one that is free, or was removed.
    """

    kind: str
    number: int
    name: str

    def among(self, found: Sequence[tuple[str, bool]]) -> str:
        """The path; `found` are all paths with whether they are directories, in order."""
        wanted = {"file": [False], "dir": [True], "new": [True]}.get(self.kind, [False, True])
        fitting = [path for path, folder in found if folder in wanted] or [""]
        path = fitting[self.number % len(fitting)]
        return f"{path}/{self.name}".lstrip("/") if self.kind == "new" else path or self.name


class Operation(NamedTuple):
    name: str
    arguments: tuple[object, ...]

    def __repr__(self) -> str:
        return f"{self.name}{self.arguments!r}"


def _pick(kind: str) -> st.SearchStrategy[object]:
    return st.builds(Pick, st.just(kind), st.integers(0, 60), st.sampled_from(NAMES))


names = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map("/".join)
some_file, some_dir, some, new = (_pick(kind) for kind in ("file", "dir", "any", "new"))
data = st.sampled_from([b"1", b"some text", b"z" * 5000])
modes = st.sampled_from([0o644, 0o600, 0o755, 0o777, 0o4755, 0o2750, 0o1777, 0o400])
owners = st.sampled_from([-1, 0, 5, 1000])
attributes = st.sampled_from(["user.x", "user.z", "trusted.y", "trusted.overlay.opaque"])
times = st.sampled_from([0, 1_500_000_000_000_000_001])
kinds = st.sampled_from([stat.S_IFIFO, stat.S_IFCHR, stat.S_IFREG])
targets = st.sampled_from(["a", "../b", "missing"])
slots = st.integers(0, 2)
plainly, exclusively, exchanging = st.just(0), st.just(1), st.just(2)


def _operation(name: str, *parts: st.SearchStrategy[object]) -> st.SearchStrategy[Operation]:
    return st.tuples(*parts).map(lambda arguments: Operation(name, arguments))


operations = st.one_of(
    _operation("create", new, data, modes),
    _operation("create", names, data, modes),
    _operation("write", some_file, st.integers(0, 6000), data),
    _operation("append", some_file, data),
    _operation("truncate", some_file, st.sampled_from([0, 3, 4096, 10_000])),
    _operation("read", some_file),
    _operation("stat", some),
    _operation("listing", some_dir),
    _operation("mkdir", new, modes),
    _operation("mkdir", names, modes),
    _operation("rmdir", some_dir),
    _operation("clear", some_dir),
    _operation("unlink", some_file),
    _operation("unlink", some_file),
    _operation("rename", some_file, new, plainly),
    _operation("rename", some_file, some_file, plainly),
    _operation("rename", some_dir, new, plainly),
    _operation("rename", some_dir, new, plainly),
    _operation("rename", some_dir, some_dir, plainly),
    _operation("rename", some, new, exclusively),
    _operation("rename", some, some, exchanging),
    _operation("rename", some_dir, some, exchanging),
    _operation("rename", names, names, st.integers(0, 2)),
    _operation("link", some_file, new),
    _operation("link", some_file, new),
    _operation("symlink", targets, new),
    _operation("chmod", some, modes),
    # A chown to -1 and -1 differs: see the behaviour chown_to_nobody_clears_setuid.
    _operation("chown", some, owners, st.sampled_from([0, 6])),
    _operation("utime", some, times),
    _operation("setxattr", some, attributes, st.sampled_from([b"", b"value"])),
    _operation("removexattr", some, attributes),
    _operation("mknod", new, kinds),
    _operation("mknod_0_0", new),
    _operation("hold", slots, some_file),
    _operation("held_write", slots, st.integers(0, 100), data),
    _operation("held_read", slots),
    _operation("held_truncate", slots, st.sampled_from([0, 2000])),
)
sequences = st.lists(operations, min_size=8, max_size=40)


class Player:
    """Carries out operations below one directory, in a process that ends afterwards (it keeps files open).

    Paths are relative, so that two places give the same answers.
    """

    def __init__(self, root: Path) -> None:
        self._root = os.fspath(root)
        self._held: dict[int, int] = {}

    def play(self, steps: Sequence[Operation]) -> list[tuple[Operation, object]]:
        """Each step with its paths chosen, and what came of it: a value, or the name of an errno."""
        os.umask(0o022)
        os.chdir(self._root)
        return [(taken := _chosen(step), self._one(taken)) for step in steps]

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
        # Not truncate(2), which may or may not count as a change when the size stays.
        fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        try:
            os.ftruncate(fd, size)
        finally:
            os.close(fd)

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

    def clear(self, path: str) -> object:
        """What rm -r does to a directory of files."""
        for name in sorted(os.listdir(path)):
            if not os.path.isdir(f"{path}/{name}") or os.path.islink(f"{path}/{name}"):
                os.unlink(f"{path}/{name}")
        return sorted(os.listdir(path))

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


def _chosen(step: Operation) -> Operation:
    if not any(isinstance(part, Pick) for part in step.arguments):
        return step
    found = sorted(_tree())
    return step._replace(
        arguments=tuple(part.among(found) if isinstance(part, Pick) else part for part in step.arguments)
    )


def _tree() -> Iterator[tuple[str, bool]]:
    """All paths below the working directory, with whether they are directories."""
    for folder, folders, files in os.walk("."):
        links = {name for name in folders if os.path.islink(os.path.join(folder, name))}
        for name in (*folders, *files):
            yield os.path.join(folder, name)[2:], name in folders and name not in links


def recent(mtime: int | None) -> bool:
    """Whether a time was set by an operation's clock, and cannot be compared."""
    return mtime is not None and mtime > LONG_AGO
