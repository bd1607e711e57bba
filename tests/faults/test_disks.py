"""The disk below the top layer: it is full, or the power goes."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conformance.kit import names, refuses
from tests.conftest import Mounts
from tests.support.fsck import fsck
from tests.support.mounts import Stack
from tests.support.notation import Tree
from tests.support.process import wait_until

BIG = b"b" * (1 << 20)
LAYER: Tree = {"big": BIG, "small": b"lower", "d/f": b"lower", "many": {f"{n}": b"" for n in range(200)}}
DRIVERS = ["io=cached", "io=passthrough", "driver=pyfuse3"]


@contextmanager
def mounted_at(place: Path, *words: str | Path) -> Iterator[Path]:
    place.mkdir()
    subprocess.run(["mount", *words, place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


def on(place: Path, made: Stack) -> Stack:
    """The same stack with its top layer on another file system."""
    made.upper, made.work = place / "upper", place / "work"
    for path in (made.upper, made.work):
        path.mkdir(exist_ok=True)
    return made


@pytest.mark.timeout(60)
@pytest.mark.parametrize("options", DRIVERS)
def test_a_full_disk_is_enospc_and_the_mount_lives_on(union_mounts: Mounts, options: str) -> None:
    made = union_mounts.stack([LAYER])
    with mounted_at(made.base / "small", "-t", "tmpfs", "-o", "size=2m", "tmpfs") as place:
        with union_mounts.opened(on(place, made), options) as mounted:
            mounted.call(lambda: fill_up(mounted.path))
        assert made.upper
        assert fsck(made.upper, made.work) == []


def fill_up(root: Path) -> None:
    with refuses(errno.ENOSPC), open(root / "new", "wb", buffering=0) as file:
        for _ in range(3):
            file.write(BIG)
    assert (root / "new").stat().st_size > 0
    with refuses(errno.ENOSPC):
        overwrite(root / "big")
    (root / "big").rename(root / "moved")  # without its data
    with refuses(errno.ENOSPC):
        overwrite(root / "moved")
    (root / "moved").rename(root / "big")
    assert (root / "big").read_bytes() == BIG
    assert names(root) == ["big", "d", "many", "new", "small"]
    (root / "new").unlink()
    wait_until(lambda: succeeds(lambda: overwrite(root / "big")), 20, "the room of what was removed")
    assert (root / "big").read_bytes() == b"B" + BIG[1:]


def succeeds(change: Callable[[], object]) -> bool:
    """The kernel tells a server a moment later that it may let go of an inode without a name."""
    try:
        change()
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        return False
    return True


def overwrite(path: Path) -> None:
    with open(path, "r+b", buffering=0) as file:
        file.write(b"B")


@pytest.mark.timeout(60)
@pytest.mark.parametrize("options", DRIVERS)
def test_a_disk_without_inodes_is_enospc_and_the_mount_lives_on(union_mounts: Mounts, options: str) -> None:
    made = union_mounts.stack([LAYER])
    with mounted_at(made.base / "small", "-t", "tmpfs", "-o", "nr_inodes=60", "tmpfs") as place:
        with union_mounts.opened(on(place, made), options) as mounted:
            mounted.call(lambda: use_up(mounted.path))
        assert made.upper
        assert fsck(made.upper, made.work) == []


def use_up(root: Path) -> None:
    (root / "own").touch()
    left = set(names(root / "many"))
    with refuses(errno.ENOSPC):  # a whiteout for each
        for name in sorted(left):
            (root / "many" / name).unlink()
            left.remove(name)
    for change in (
        lambda: (root / "small").chmod(0o600),
        lambda: (root / "d/f").unlink(),
        (root / "x").mkdir,
    ):
        with refuses(errno.ENOSPC):
            change()
    assert set(names(root / "many")) == left
    assert (root / "small").read_bytes() == (root / "d/f").read_bytes() == b"lower"
    (root / "own").unlink()
    wait_until(lambda: succeeds(lambda: (root / "small").chmod(0o600)), 20, "the inode of what was removed")
    assert (root / "small").stat().st_mode & 0o777 == 0o600


@contextmanager
def disk(image: Path) -> Iterator[Path]:
    """The file system of an image, which nothing is written to but what is synced."""
    with mounted_at(image.with_suffix(""), "-o", "loop,commit=300", image) as place:
        yield place


@pytest.mark.timeout(90)
@pytest.mark.parametrize("options", DRIVERS)
def test_what_was_synced_survives_a_power_cut(union_mounts: Mounts, options: str) -> None:
    """An image that is copied at a moment has what was on the disk at that moment, and needs its journal."""
    made = union_mounts.stack([LAYER])
    before, after = made.base / "before.ext4", made.base / "after.ext4"
    before.touch()
    os.truncate(before, 32 << 20)
    subprocess.run(["mkfs.ext4", "-q", before], check=True)
    with disk(before) as place, union_mounts.opened(on(place, made), options) as mounted:
        mounted.call(lambda: change_and_sync(mounted.path))
        shutil.copyfile(before, after)
    with disk(after) as place:
        with union_mounts.opened(on(place, made), options) as mounted:
            assert mounted.call(lambda: synced(mounted.path)) == SYNCED
        assert made.upper
        assert fsck(made.upper, made.work) == []


SYNCED = {"new": b"new", "small": b"Bower", "d/f": b"Bower", "big": b"B" + BIG[1:], "renamed": b"second"}


def change_and_sync(root: Path) -> None:
    """Each change is synced by the last descriptor that could, as programs do it that want to be sure."""
    for name in ("small", "d/f", "big"):
        with open(root / name, "r+b", buffering=0) as file:
            file.write(b"B")
            os.fsync(file.fileno())
    for name, content in (("new", b"new"), ("renamed", b"first"), ("temporary", b"second")):
        with open(root / name, "wb", buffering=0) as file:
            file.write(content)
            os.fsync(file.fileno())
    (root / "temporary").rename(root / "renamed")
    folder = os.open(root, os.O_RDONLY)
    os.fsync(folder)


def synced(root: Path) -> dict[str, bytes]:
    assert not (root / "temporary").exists()
    return {name: (root / name).read_bytes() for name in SYNCED}
