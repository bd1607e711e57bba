"""Eight processes work in one tree at once: what each did alone is as it left it, and the rest is a legal tree.

Afterwards the same layers, mounted again by us and by kernel overlayfs, show the same.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from tests.conftest import Mounts
from tests.property.playing import look, without_counts
from tests.support import process
from tests.support.mounts import Stack
from tests.support.notation import Tree
from tests.support.snapshot import differences

Action = Callable[[], object]

WORKERS, STEPS = 8, 250
DIRECTORIES = ["one", "two", "two/deep", "three"]
LAYERS: list[Tree] = [
    {f"{folder}/top{i}": b"top" * i for folder in DIRECTORIES for i in range(10)},
    {f"{folder}/low{i}": b"low" * i * 1000 for folder in DIRECTORIES for i in range(30)},
]
TARGETS = [("dir", "io=cached"), ("tar", "io=passthrough"), ("mixed", ""), ("dir", "driver=pyfuse3")]


class Worker:
    """One process. Its own files nobody else touches; the layers' files and the shared names are everybody's."""

    def __init__(self, root: Path, number: int) -> None:
        self._root, self._me = root, f"worker{number}"
        self._random = random.Random(number)
        self._own: dict[Path, bytes] = {}

    def run(self) -> dict[Path, bytes]:
        """Works, checking its own files on the way; gives what they hold in the end."""
        alone: list[Action] = [self.create, self.change, self.move, self.check, self.remove]
        for _ in range(STEPS):
            self._random.choice([*alone * 2, self.disturb, self.rewrite, self.shuffle, self.walk])()
        for path, content in self._own.items():
            assert path.read_bytes() == content, path
        return self._own

    def _folder(self) -> Path:
        return self._root / self._random.choice(DIRECTORIES)

    def _one(self) -> Path | None:
        return self._random.choice(list(self._own)) if self._own else None

    def create(self) -> None:
        path = self._folder() / f"{self._me}-{self._random.randrange(10**6)}"
        content = self._random.randbytes(self._random.choice([0, 10, 5000, 100_000]))
        path.write_bytes(content)
        self._own[path] = content

    def change(self) -> None:
        if path := self._one():
            with path.open("r+b") as file:
                file.seek(0, os.SEEK_END)
                file.write(b"more")
            self._own[path] += b"more"

    def move(self) -> None:
        if path := self._one():
            target = self._folder() / f"{self._me}-{self._random.randrange(10**6)}"
            path.rename(target)
            self._own[target] = self._own.pop(path)
            assert not path.exists()

    def check(self) -> None:
        if path := self._one():
            assert path.read_bytes() == self._own[path], path
            assert path.name in os.listdir(path.parent)

    def remove(self) -> None:
        if path := self._one():
            path.unlink()
            del self._own[path]
            assert not path.exists()

    def _one_of(self, *actions: Action) -> None:
        self._random.choice(actions)()

    def _shared(self) -> Path:
        return self._folder() / f"shared{self._random.randrange(5)}"

    def disturb(self) -> None:
        """Makes, links and removes names that the others use too."""
        one, two = self._shared(), self._shared()
        with suppress(FileExistsError, FileNotFoundError):
            self._one_of(one.touch, one.unlink, partial(os.link, one, two), partial(one.rename, two))

    def rewrite(self) -> None:
        """Changes a file of the layers, which several may copy up at once."""
        path = self._folder() / f"low{self._random.randrange(30)}"
        with suppress(FileNotFoundError), open(path, "r+b") as file:
            file.write(b"LOW")
            os.fchmod(file.fileno(), 0o640)

    def shuffle(self) -> None:
        """Moves files of the layers, and removes some."""
        path = self._folder() / f"low{self._random.randrange(30)}"
        actions: list[Action] = [path.unlink, partial(path.rename, self._folder() / path.name)]
        with suppress(FileNotFoundError):
            self._random.choice(actions)()

    def walk(self) -> None:
        for folder in DIRECTORIES:
            with os.scandir(self._root / folder) as rows:
                names = [row.name for row in rows]
            assert len(names) == len(set(names)), f"{folder} lists a name twice"


def _work_together(root: Path) -> None:
    """Runs the workers at the same time; each checks its own files to the end."""
    pids = []
    for number in range(WORKERS):
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                process.in_child(Worker(root, number).run, timeout=100)
                status = 0
            except AssertionError as e:
                print(e, flush=True)
            finally:
                os._exit(status)
        pids.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0] * WORKERS


@pytest.mark.timeout(240)
@pytest.mark.parametrize(("kinds", "options"), TARGETS, ids=["-".join(target) for target in TARGETS])
def test_eight_processes_in_one_tree(union_mounts: Mounts, kinds: str, options: str) -> None:
    made = union_mounts.stack(LAYERS, kinds=kinds)
    with union_mounts.opened(made, options) as mounted:
        mounted.call(lambda: _work_together(mounted.path), timeout=200)
        before = mounted.call(lambda: look(mounted.path))
    with union_mounts.opened(made, options) as mounted:
        assert differences(before, mounted.call(lambda: look(mounted.path))) == []
    plain = union_mounts.stack(LAYERS)
    kernels = union_mounts.overlay(Stack(plain.base, plain.lowers, made.upper, made.work, plain.mountpoint))
    after = kernels.call(lambda: look(kernels.path))
    assert differences(without_counts(before), without_counts(after)) == []
