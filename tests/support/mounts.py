"""Mounts for tests: kernel overlayfs and our drivers by their command line, always undone, never waited for long."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from tests.support import process
from tests.support.notation import Tree, flatten
from tests.support.sandbox import CHECKOUT, ROOT, Sandbox
from tests.support.write import to_directory, to_tar

T = TypeVar("T")
Opened = AbstractContextManager["Mounted"]

READY = 20.0  # seconds until a mount must answer, or end: generous, since a busy machine is no failure


@dataclass
class Stack:
    """The directories of one mount. Lowers are top first; without an upper the mount is read-only."""

    base: Path
    lowers: list[Path]
    upper: Path | None
    work: Path | None
    mountpoint: Path

    def options(self) -> str:
        words = ["lowerdir=" + ":".join(str(path) for path in self.lowers)]
        if self.upper:
            words += [f"upperdir={self.upper}", f"workdir={self.work}"]
        return ",".join(words)


def stack(
    base: Path,
    layers: Sequence[Tree],
    *,
    upper: Tree | None = {},  # noqa: B006 -- never changed
    kinds: str = "dir",
    box: Sandbox = ROOT,
) -> Stack:
    """Writes the layers below `base`, which must not exist. `kinds`: dir, tar, or mixed (alternating)."""
    base.mkdir()
    lowers = [_lower(base / f"lower{i}", tree, _kind(kinds, i), box) for i, tree in enumerate(layers)]
    made = Stack(base, lowers, None, None, base / "mnt")
    made.mountpoint.mkdir()
    for path in (base, made.mountpoint):
        os.chown(path, box.owner, box.owner)
    if upper is not None:
        made.upper, made.work = base / "upper", base / "work"
        to_directory(made.upper, upper, owner=box.owner, namespace=box.namespace)
        made.work.mkdir()
        os.chown(made.work, box.owner, box.owner)
    return made


def _kind(kinds: str, index: int) -> str:
    return ("dir", "tar")[index % 2] if kinds == "mixed" else kinds


def _lower(place: Path, tree: Tree, kind: str, box: Sandbox) -> Path:
    if kind == "tar":
        # In a user namespace a tar's owners are ids of the namespace already.
        path = to_tar(place.with_suffix(".tar"), tree, owner=0 if box.name == "userns" else box.owner)
        os.chown(path, box.owner, box.owner)
        return path
    return to_directory(place, tree, owner=box.owner, namespace=box.namespace)


@dataclass
class Mounted:
    """A file system under test. Touch `path` only through `call`, or where a hang cannot happen."""

    path: Path
    stack: Stack | None = None
    box: Sandbox = ROOT
    server: subprocess.Popen[bytes] | None = None
    log: Path | None = None
    allowed: list[str] = field(default_factory=list)  # parts of log lines that are no failure
    killed: bool = False
    _read: int = 0

    def call(self, function: Callable[[], T], *, timeout: float = 20) -> T:
        """Runs the function in a child that is the mount's user; what it raises fails here."""

        def inside() -> T:
            self.box.enter()
            return function()

        try:
            return process.in_child(inside, timeout=timeout)
        except process.ChildHung:
            self.kill()
            raise

    def kill(self) -> None:
        """Ends the server at once, which frees whoever hangs in the mount."""
        self.killed = True
        if self.server and self.server.poll() is None:
            self.server.send_signal(signal.SIGKILL)
            self.server.wait()

    @property
    def alive(self) -> bool:
        return self.server is None or self.server.poll() is None

    def complaints(self) -> list[str]:
        """Log lines of the server since the last call that nobody announced in `allowed`."""
        if not self.log:
            return []
        with self.log.open("rb") as log:
            log.seek(self._read)
            text = log.read()
        self._read += len(text)
        lines = text.decode(errors="replace").splitlines()
        return [line for line in lines if not any(part in line for part in self.allowed)]


@contextmanager
def native(base: Path, layers: Sequence[Tree], box: Sandbox = ROOT) -> Iterator[Mounted]:
    """No mount at all: the flattened layers in a directory of the file system that `base` is on."""
    to_directory(base, flatten(layers), owner=box.owner)
    yield Mounted(base, box=box)


@contextmanager
def overlay(made: Stack, options: str = "", box: Sandbox = ROOT) -> Iterator[Mounted]:
    """Kernel overlayfs over directory layers."""
    words = ",".join(filter(None, (made.options(), options)))
    mounted = Mounted(made.mountpoint, made, box)
    command = ["mount", "-i", "-t", "overlay", "overlay", "-o", words, str(made.mountpoint)]
    mounted.call(lambda: _run(command))
    try:
        yield mounted
    finally:
        _unmount(mounted)


def union(
    made: Stack, options: str = "", box: Sandbox = ROOT, *, allowed: Sequence[str] = ()
) -> AbstractContextManager[Mounted]:
    """Our file system, by its command line in the foreground. `options` are added to the stack's own."""
    words = ",".join(filter(None, (made.options(), options)))
    command = [sys.executable, "-m", "unionfs", "-f", "-o", words, str(made.mountpoint)]
    return served(command, made, box, allowed=allowed)


@contextmanager
def served(
    command: list[str], made: Stack, box: Sandbox = ROOT, *, allowed: Sequence[str] = (), check: bool = True
) -> Iterator[Mounted]:
    """A mount by a program that stays in the foreground. It must end with status 0 when it is unmounted.

    With `check`, lines in its log that `allowed` has no part of are a failure.
    """
    mounted = Mounted(made.mountpoint, made, box, log=made.base / "log", allowed=list(allowed))
    mounted.server = _serve(command, mounted)
    try:
        process.wait_until(lambda: _mounted(mounted), READY, "mount")
        assert mounted.alive, f"no mount: {shlex.join(command)}\n{mounted.complaints()}"
        _ask(mounted)
        yield mounted
    finally:
        status = _unmount(mounted)
    complaints = mounted.complaints()
    if check and not mounted.killed:
        assert status == 0, f"the server ended with status {status}: {complaints}"
        assert not complaints, f"unexpected lines in the server's log: {complaints}"


def _ask(mounted: Mounted) -> None:
    """The mount must answer; if not, the server's log says why."""
    try:
        mounted.call(lambda: os.statvfs(mounted.path))
    except AssertionError as e:
        raise AssertionError(f"{e}\nthe server says: {mounted.complaints()}") from None


def _serve(command: list[str], mounted: Mounted) -> subprocess.Popen[bytes]:
    def prepare() -> None:
        mounted.box.enter()
        process.die_with_parent()

    assert mounted.log
    with mounted.log.open("wb") as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env=os.environ | {"PYTHONPATH": str(CHECKOUT)},
            preexec_fn=prepare,
        )


def _mounted(mounted: Mounted) -> bool:
    """Whether the mount is there, or never will be."""
    assert mounted.server
    if mounted.server.poll() is not None:
        return True
    text = Path(f"/proc/{mounted.server.pid}/mountinfo").read_text()
    return any(line.split()[4] == str(mounted.path) for line in text.splitlines())


def _unmount(mounted: Mounted) -> int | None:
    """Ends the mount whatever its state, and gives the server's exit status (None: there is no server)."""
    try:
        mounted.call(lambda: _run([*mounted.box.umount, str(mounted.path)]), timeout=READY)
    except AssertionError:  # busy, hung or not mounted
        with suppress(AssertionError):
            mounted.call(lambda: subprocess.run(["umount", "-l", mounted.path], capture_output=True))
    if not mounted.server:
        return None
    try:
        return mounted.server.wait(READY)
    except subprocess.TimeoutExpired:
        mounted.kill()
        return -signal.SIGKILL


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{shlex.join(command)}: {done.stderr.strip()}"
