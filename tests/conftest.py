"""What all tests share: a private mount namespace, scratch space, and fixtures that mount and always unmount."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support import mounts, process
from tests.support.fsck import fsck
from tests.support.notation import Tree
from tests.support.sandbox import ROOT, Sandbox, user, user_namespace

MS_REC, MS_PRIVATE = 0x4000, 1 << 18


def pytest_configure() -> None:
    """Root's tests mount in a namespace of their own: nothing stays mounted, even if they are killed."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # what nohup(1) ignores, servers would ignore too
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as a shell has it for what it starts with `&`
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if os.geteuid() == 0:
        process.unshare(process.CLONE_NEWNS)
        root = ctypes.c_char_p(b"/")
        process.checked(process.LIBC.mount(b"none", root, None, MS_REC | MS_PRIVATE, None))


class Scratch(NamedTuple):
    """Directories that every user can reach: on tmpfs, and on the disk that has the temporary files."""

    tmpfs: Path
    disk: Path


@pytest.fixture(scope="session")
def scratch() -> Iterator[Scratch]:
    base = Path(tempfile.mkdtemp(prefix="unionfs-test-", dir="/var/tmp"))
    base.chmod(0o755)
    place = Scratch(base / "tmpfs", base / "disk")
    for path in place:
        path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", place.tmpfs], check=True)
    yield place
    subprocess.run(["umount", "-l", place.tmpfs], check=True)
    shutil.rmtree(base, ignore_errors=True)


@pytest.fixture(scope="session")
def boxes(scratch: Scratch) -> Iterator[dict[str, Sandbox]]:
    """The users that can mount, by name: root, user, userns. Each sees `scratch` in mounts of their own."""
    with ExitStack() as open_boxes:
        made = [ROOT, open_boxes.enter_context(user()), open_boxes.enter_context(user_namespace())]
        yield {box.name: box for box in made}


class Mounts:
    """Makes mounts for one test, and undoes them in the reverse order; then checks each upper."""

    def __init__(self, base: Path, exits: ExitStack, boxes: dict[str, Sandbox]) -> None:
        self.base, self._exits, self._boxes, self._number = base, exits, boxes, count()

    def stack(
        self,
        layers: Sequence[Tree] = ({},),
        *,
        upper: Tree | None = {},  # noqa: B006 -- never changed
        kinds: str = "dir",
        box: str = "root",
    ) -> mounts.Stack:
        """Writes layers (top first) in the notation; `kinds` is dir, tar or mixed."""
        base = self.base / f"stack{next(self._number)}"
        return mounts.stack(base, layers, upper=upper, kinds=kinds, box=self._boxes[box])

    def union(
        self, made: mounts.Stack, options: str = "", *, box: str = "root", allowed: Sequence[str] = ()
    ) -> mounts.Mounted:
        """Mounts the stack with our file system: a foreground server, whose unexpected log lines fail."""
        opened = mounts.union(made, options, self._boxes[box], allowed=allowed)
        return self._until_end(opened)

    def opened(self, made: mounts.Stack, options: str = "", *, box: str = "root") -> mounts.Opened:
        """As `union`, but to be ended by the test, which can mount the same layers again."""
        return mounts.union(made, options, self._boxes[box])

    def overlay(self, made: mounts.Stack, options: str = "", *, box: str = "root") -> mounts.Mounted:
        """Mounts the stack with kernel overlayfs."""
        return self._until_end(mounts.overlay(made, options, self._boxes[box]))

    def _until_end(self, opened: mounts.Opened) -> mounts.Mounted:
        checks: list[mounts.Mounted] = []
        self._exits.callback(self._check, checks)
        checks.append(self._exits.enter_context(opened))
        return checks[0]

    @staticmethod
    def _check(checks: list[mounts.Mounted]) -> None:
        for mounted in checks:
            made = mounted.stack
            work = made.work if made and mounted.server else None  # the kernel tidies up when it mounts
            problems = fsck(made.upper, work, namespace=mounted.box.namespace) if made and made.upper else []
            assert not problems, "\n".join(problems)


@pytest.fixture
def union_mounts(scratch: Scratch, boxes: dict[str, Sandbox]) -> Iterator[Mounts]:
    """See Mounts: `m = union_mounts.union(union_mounts.stack([{"d/f": b"x"}]))`, then `m.path`."""
    base = Path(tempfile.mkdtemp(dir=scratch.tmpfs))
    base.chmod(0o755)
    with ExitStack() as exits:
        yield Mounts(base, exits, boxes)
    shutil.rmtree(base, ignore_errors=True)
