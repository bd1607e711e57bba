"""Every step of every change fails once, and is the last one once: what is left is the old state or the new one."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.conftest import Scratch
from tests.faults.injection import KILLED, Fault, at, run
from tests.support.core import ME, Core
from tests.support.fsck import fsck
from tests.support.notation import directory, file, hardlink, symlink
from unionfs.model import ROOT_ID, Caller, Policy
from unionfs.sysfd import RENAME_EXCHANGE

LAYER = {
    "d/f": file(b"lower", 0o640, uid=5, gid=6, xattrs={"user.k": b"v"}),
    "d/big": file(b"b" * 5000),
    "d/sub/g": b"deep",
    "e/h": b"x",
    "links/a": b"one",
    "links/b": hardlink("links/a"),
    "s": symlink("d/f"),
    "gone/x": b"",
    "empty": directory(),
}
POLICY = Policy(metacopy_from=4096)
USER = Caller(1000, 1001, 0, 0o022)


def settle(fs: Core) -> None:
    """What every scenario finds: some of it is in the top layer already."""
    fs.create("own", b"mine")
    fs.mkdir("owndir")
    fs.create("owndir/in")
    fs.unlink("gone/x")
    fs.rmdir("gone")
    fs.unlink("e/h")
    fs.write("d/sub/g", b"D")


def make(fs: Core, path: str, caller: Caller = ME) -> object:
    return fs.tree.mknod(*fs.place(path), stat.S_IFREG | 0o644, 0, caller)


SCENARIOS: dict[str, Callable[[Core], object]] = {
    "write to a lower file": lambda fs: fs.write("d/f", b"L"),
    "chmod of a large lower file": lambda fs: fs.change("d/big", mode=0o600),
    "truncate a lower file": lambda fs: fs.change("d/f", size=0),
    "chown of a lower directory": lambda fs: fs.change("d", uid=9, gid=9),
    "set an attribute": lambda fs: fs.tree.setxattr(fs.ino("d/f"), b"user.k", b"new"),
    "write to a hard-linked file": lambda fs: fs.write("links/a", b"O"),
    "unlink a lower file": lambda fs: fs.unlink("d/f"),
    "unlink a copied file": lambda fs: fs.unlink("d/sub/g"),
    "unlink an own file": lambda fs: fs.unlink("own"),
    "remove a lower directory": lambda fs: fs.rmdir("empty"),
    "remove a merged directory": lambda fs: fs.rmdir("e"),
    "create": lambda fs: make(fs, "d/new"),
    "create as a user": lambda fs: make(fs, "d/new", USER),
    "create over a whiteout": lambda fs: make(fs, "e/h"),
    "mkdir over a whiteout": lambda fs: fs.mkdir("gone"),
    "mkdir as a user": lambda fs: fs.tree.mkdir(*fs.place("d/new"), 0o1777, USER),
    "symlink": lambda fs: fs.tree.symlink(*fs.place("d/new"), b"target", USER),
    "mknod": lambda fs: fs.tree.mknod(*fs.place("d/new"), stat.S_IFIFO | 0o600, 0, USER),
    "link": lambda fs: fs.link("d/f", "new"),
    "link over a whiteout": lambda fs: fs.link("d/f", "e/h"),
    "rename a lower file": lambda fs: fs.rename("d/f", "new"),
    "rename an own file over a lower one": lambda fs: fs.rename("own", "d/f"),
    "rename a lower file over an own one": lambda fs: fs.rename("d/f", "own"),
    "rename a lower file over a lower one": lambda fs: fs.rename("d/big", "d/f"),
    "rename a large lower file": lambda fs: fs.rename("d/big", "new"),
    "link to a large lower file": lambda fs: fs.link("d/big", "e/h"),
    "rename a lower directory": lambda fs: fs.rename("d", "new"),
    "rename a directory over a whiteout": lambda fs: fs.rename("owndir", "gone"),
    "rename a directory over one that looks empty": lambda fs: fs.rename("owndir", "e"),
    "exchange": lambda fs: fs.rename("d", "owndir", RENAME_EXCHANGE),
    "change a symlink": lambda fs: fs.change("s", uid=7),
}
HARD_LINKED = "write to a hard-linked file"
REPLACING = ["rename a lower file over an own one", "rename a lower file over a lower one"]

CASES = [
    *(("tmpfs", name) for name in SCENARIOS),
    *(
        ("disk", name)
        for name in ("write to a lower file", "chmod of a large lower file", "rename a lower file")
    ),
    *(("attributes", name) for name in SCENARIOS if name.startswith(("unlink", "remove", "rename"))),
]
"""What is synced on a disk, and what makes whiteouts, where these are files with an attribute."""


class Row(NamedTuple):
    mode: int
    owner: tuple[int, int]
    content: bytes
    nlink: int
    xattrs: tuple[tuple[bytes, bytes], ...]


State = dict[str, Row]


def state(fs: Core, links: bool) -> State:
    """The whole view. Times are left out: a clock runs."""
    return dict(_rows(fs, ROOT_ID, "", links))


def _rows(fs: Core, ino: int, path: str, links: bool) -> Iterator[tuple[str, Row]]:
    for row in list(fs.tree.readdir(ino, 2)):
        attr = fs.tree.lookup(ino, row.name)
        below = f"{path}/{row.name.decode()}"
        content = b""
        if stat.S_ISREG(attr.mode):
            content = fs.files.read(attr.ino, 0, attr.size)
        elif stat.S_ISLNK(attr.mode):
            content = fs.tree.readlink(attr.ino)
        names = sorted(fs.tree.listxattr(attr.ino))
        nlink = attr.nlink if links and not stat.S_ISDIR(attr.mode) else 0
        xattrs = tuple((name, fs.tree.getxattr(attr.ino, name)) for name in names)
        yield below, Row(attr.mode, (attr.uid, attr.gid), content, nlink, xattrs)
        if stat.S_ISDIR(attr.mode):
            yield from _rows(fs, attr.ino, below, links)


class Bench:
    """A settled stack, to be copied for every try. `devices`: whether whiteouts are devices."""

    def __init__(self, base: Path, devices: bool) -> None:
        self.base, self.devices = base, devices
        self.model = base / "model"
        self.model.mkdir()
        fs = self._with_whiteouts(Core(self.model, [LAYER], policy=POLICY))
        settle(fs)
        fs.close()

    def fresh(self) -> Path:
        place = self.base / "try"
        shutil.rmtree(place, ignore_errors=True)
        subprocess.run(["cp", "-a", self.model, place], check=True)
        return place

    def open(self, place: Path) -> Core:
        return self._with_whiteouts(Core.reopen(place, [place / "layer0"], POLICY))

    def _with_whiteouts(self, fs: Core) -> Core:
        assert fs.tree.upper
        fs.tree.upper.mknod_whiteouts = self.devices
        return fs

    def seen(self, place: Path, links: bool) -> State:
        """What a new mount shows; it also cleans the work directory."""
        fs = self.open(place)
        try:
            return state(fs, links)
        finally:
            fs.close()
            assert os.listdir(place / "work" / "work") == []
            assert fsck(place / "upper", place / "work") == []


@pytest.fixture(scope="module")
def bench(request: pytest.FixtureRequest, scratch: Scratch) -> Iterator[Bench]:
    before = os.umask(0)
    base = Path(tempfile.mkdtemp(dir=scratch.disk if request.param == "disk" else scratch.tmpfs))
    yield Bench(base, request.param != "attributes")
    os.umask(before)
    shutil.rmtree(base)


def attempt(bench: Bench, name: str, fault: Fault | None, links: bool) -> tuple[int, list[str], Path]:
    """(result, steps, place) of one run of a scenario."""
    place = bench.fresh()

    def prepare() -> Callable[[], None]:
        fs = bench.open(place)
        before = state(fs, links)  # everything is known to the tree, as to a kernel that has looked around

        def action() -> None:
            try:
                SCENARIOS[name](fs)
            except OSError:
                assert state(fs, links) == before, "a refused change shows"
                raise

        return action

    outcome = run(prepare, bench.base / "trace", fault)
    return outcome.result, outcome.steps, place


@pytest.mark.parametrize(("bench", "name"), CASES, indirect=["bench"])
@pytest.mark.timeout(300)
def test_every_step_may_fail_or_be_the_last(bench: Bench, name: str) -> None:
    links = name != HARD_LINKED
    old = bench.seen(bench.fresh(), links)
    result, steps, place = attempt(bench, name, None, links)
    new = bench.seen(place, links)
    assert (result, new != old) == (0, True)
    for step, call in enumerate(steps):
        where = f"step {step}, {call}"
        for error in ("EIO", "ENOSPC", "EDQUOT"):
            result, _, place = attempt(bench, name, at(steps, step, f"error={error}"), links)
            seen = bench.seen(place, links)
            assert result in (0, getattr(errno, error)), f"{where}: {error} became {result}"
            assert seen == (old if result else new), f"{where}, {error}"
        result, _, place = attempt(bench, name, at(steps, step, "signal=KILL"), links)
        assert result == KILLED, where
        seen = bench.seen(place, links)
        assert seen in (old, new) or (name in REPLACING and not bench.devices), f"killed at {where}"
