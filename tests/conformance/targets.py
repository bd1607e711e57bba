"""Every file system that the table runs on, by name.

A target mounts once; each behaviour then has a directory of its own in it, which holds the behaviour's layers
(or nothing). That directory comes from the lowest layer, so that also plain behaviours work in a directory
that is to be copied up; `fresh` targets make it in the upper one instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.conformance.kit import Behaviour, Needs
from tests.support import mounts
from tests.support.mounts import Mounted
from tests.support.notation import Plain, Tree, below, directory, plain
from tests.support.sandbox import Sandbox

Opener = Callable[[Path, list[Tree], Sandbox], AbstractContextManager[Mounted]]


class Target(NamedTuple):
    name: str
    opener: Opener
    box: str = "root"  # who uses it: see tests.support.sandbox
    disk: bool = False  # on the disk's file system instead of tmpfs
    fresh: bool = False  # the behaviours' directories are new, instead of from a layer

    def allows(self, row: Behaviour) -> bool:
        """Whether the user may do what the behaviour needs. A new directory has no layers below it."""
        level = {"root": Needs.ROOT, "userns": Needs.IDS, "user": Needs.NOTHING}[self.box]
        return row.needs <= level and not (self.fresh and row.layers)


def layers_of(rows: Iterable[Behaviour]) -> list[Tree]:
    """The layers of all behaviours together, each below its name; the lowest has every name."""
    rows = list(rows)
    depth = max([1, *(len(row.layers) for row in rows)])
    merged: list[Plain] = [{} for _ in range(depth)]
    for row in rows:
        for layer, tree in zip(merged, row.layers, strict=False):
            layer.update(below(row.name, tree))
        merged[-1].setdefault(row.name, directory())
    return [plain(layer) for layer in merged]


def _native(base: Path, layers: list[Tree], box: Sandbox) -> AbstractContextManager[Mounted]:
    return mounts.native(base, layers, box)


def _overlay(options: str) -> Opener:
    @contextmanager
    def opener(base: Path, layers: list[Tree], box: Sandbox) -> Iterator[Mounted]:
        with mounts.overlay(mounts.stack(base, layers, box=box), options, box) as mounted:
            yield mounted

    return opener


def _union(kinds: str, options: str) -> Opener:
    @contextmanager
    def opener(base: Path, layers: list[Tree], box: Sandbox) -> Iterator[Mounted]:
        rights = "" if box.name == "user" else "allow_other,dev,suid,"
        made = mounts.stack(base, layers, kinds=kinds, box=box)
        with mounts.union(made, rights + options, box) as mounted:
            yield mounted

    return opener


KERNEL, PYFUSE = "driver=kernel", "driver=pyfuse3"

TARGETS = [
    Target("native-tmpfs", _native),
    Target("native-disk", _native, disk=True),
    Target("native-user", _native, "user"),
    Target("overlay", _overlay("redirect_dir=on,index=off,metacopy=off")),
    Target("overlay-index", _overlay("redirect_dir=on,index=on,metacopy=on"), disk=True),
    Target("overlay-userns", _overlay("userxattr"), "userns"),
    Target("kernel-dir-cached", _union("dir", f"{KERNEL},io=cached")),
    Target("kernel-dir-passthrough", _union("dir", f"{KERNEL},io=passthrough"), disk=True),
    Target("kernel-tar-cached", _union("tar", f"{KERNEL},io=cached"), disk=True),
    Target("kernel-tar-passthrough", _union("tar", f"{KERNEL},io=passthrough")),
    Target("kernel-mixed", _union("mixed", KERNEL)),
    Target("kernel-fresh", _union("dir", KERNEL), fresh=True),
    Target("kernel-overlaytop-dir", _union("dir", f"{KERNEL},top=overlay")),
    Target("kernel-overlaytop-tar", _union("tar", f"{KERNEL},top=overlay"), disk=True),
    Target("kernel-user", _union("mixed", KERNEL), "user"),
    Target("kernel-userns", _union("mixed", KERNEL), "userns"),
    Target("pyfuse3-dir", _union("dir", PYFUSE)),
    Target("pyfuse3-tar", _union("tar", PYFUSE), disk=True),
    Target("pyfuse3-user", _union("mixed", PYFUSE), "user"),
    Target("pyfuse3-userns", _union("mixed", PYFUSE), "userns"),
]
