"""What SEMANTICS.md says of a mount and no other test shows."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
from functools import partial
from pathlib import Path

import pytest

import unionfs
from tests.conformance.kit import ALICE, as_user, opened
from tests.conftest import Mounts
from tests.support import process
from tests.support.command import mounts_below
from tests.support.notation import WHITEOUT, directory, file
from tests.support.sandbox import USER

FS_IOC_GETFLAGS = 0x80086601  # _IOR('f', 1, long), include/uapi/linux/fs.h
FICLONE = 0x40049409  # _IOW(0x94, 9, int), the same
LARGE = 1 << 20  # bytes: from here on a change of attributes copies no data

pytestmark = pytest.mark.timeout(120)


def allowed(path: Path, flag: int) -> bool:
    return bool(os.statvfs(path).f_flag & flag)


def test_root_mounts_without_devices_but_with_setuid(union_mounts: Mounts) -> None:
    mounted = union_mounts.union(union_mounts.stack())
    assert (allowed(mounted.path, os.ST_NODEV), allowed(mounted.path, os.ST_NOSUID)) == (True, False)
    mounted = union_mounts.union(union_mounts.stack(), "dev,nosuid")
    assert (allowed(mounted.path, os.ST_NODEV), allowed(mounted.path, os.ST_NOSUID)) == (False, True)


@pytest.mark.parametrize("kinds", ["dir", "tar"])
def test_reading_a_lower_file_leaves_its_access_time(union_mounts: Mounts, kinds: str) -> None:
    made = union_mounts.stack([{"f": b"text"}], kinds=kinds)
    mounted = union_mounts.union(made, "strictatime")

    def read() -> None:
        before = (mounted.path / "f").stat().st_atime_ns, made.lowers[0].stat().st_atime_ns
        assert (mounted.path / "f").read_bytes() == b"text"
        assert ((mounted.path / "f").stat().st_atime_ns, made.lowers[0].stat().st_atime_ns) == before
        if kinds == "dir":
            assert (made.lowers[0] / "f").stat().st_atime_ns == before[0]

    mounted.call(read)


def test_locks_are_not_seen_behind_the_mount(union_mounts: Mounts) -> None:
    made = union_mounts.stack([{}], upper={"f": b"text"})
    mounted = union_mounts.union(made)
    assert made.upper is not None
    below = made.upper / "f"

    def lock() -> None:
        with opened(mounted.path / "f") as one, opened(mounted.path / "f") as other, opened(below) as own:
            fcntl.flock(one, fcntl.LOCK_EX)
            with pytest.raises(BlockingIOError):
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.flock(own, fcntl.LOCK_EX | fcntl.LOCK_NB)

    mounted.call(lock)


def test_there_are_no_file_flags_and_no_clones(union_mounts: Mounts) -> None:
    mounted = union_mounts.union(union_mounts.stack([{"f": b"text"}]))

    def ask() -> None:
        with opened(mounted.path / "f") as fd, opened(mounted.path / "new", os.O_CREAT | os.O_RDWR) as new:
            for target, request, argument in ((fd, FS_IOC_GETFLAGS, bytes(8)), (new, FICLONE, fd)):
                with pytest.raises(OSError, match=r"ioctl|supported") as refused:
                    fcntl.ioctl(target, request, argument)
                assert refused.value.errno in (errno.ENOTTY, errno.EOPNOTSUPP)

    mounted.call(ask)


def test_sync_of_the_mount_does_not_reach_the_server(union_mounts: Mounts) -> None:
    made = union_mounts.stack()
    with unionfs.mount(made.lowers, upper=made.upper, work=made.work, target=made.mountpoint) as mounted:
        (made.mountpoint / "f").write_bytes(b"text")
        with opened(made.mountpoint / "f") as fd:
            process.checked(process.LIBC.syncfs(fd))
            assert not {"syncfs", "fsync", "fsyncdir"} & mounted.stats().keys()
            os.fsync(fd)
            assert mounted.stats()["fsync"] == 1


def test_the_pyfuse3_driver_passes_over_what_it_cannot_do(union_mounts: Mounts) -> None:
    """With passthrough there would be no WRITE, and with the writeback cache one."""
    made = union_mounts.stack([{"f": b"lower"}])
    given = {"driver": "pyfuse3", "io": "passthrough", "writeback": "on", "poll": 99, "readahead": 1 << 20}
    with unionfs.mount(
        made.lowers, upper=made.upper, work=made.work, target=made.mountpoint, **given
    ) as mounted:
        with opened(made.mountpoint / "f", os.O_RDWR) as fd:
            assert [os.write(fd, letter) for letter in (b"L", b"O", b"W")] == [1, 1, 1]
        assert (made.mountpoint / "f").read_bytes() == b"LOWer"
        assert mounted.stats()["write"] == 3


def test_a_setuid_bit_given_under_a_live_writer_is_cleared_with_passthrough(union_mounts: Mounts) -> None:
    made = union_mounts.stack([{}], upper={"f": file(b"text", uid=ALICE, gid=ALICE)})
    mounted = union_mounts.union(made, "io=passthrough,allow_other")
    path = mounted.path / "f"

    def write() -> None:
        with opened(path, os.O_RDWR) as early:
            path.chmod(0o4755)
            os.write(early, b"T")
        assert not path.stat().st_mode & 0o4000

    mounted.call(lambda: as_user(write, ALICE))


@pytest.mark.parametrize("driver", ["kernel", "pyfuse3"])
def test_what_nobody_may_write_is_changed_without_privilege(union_mounts: Mounts, driver: str) -> None:
    """The marks of the top layer are attributes that only who may write an entry can set."""
    tree = {"ro": file(b"x" * LARGE, 0o444), "none": file(b"n" * LARGE, 0), "small": file(b"s", 0o400),
            "d": directory(0o500), "d/in": file(b"i" * LARGE, 0o444), "gone": directory(0o500)}  # fmt: skip
    made = union_mounts.stack([tree], box="user")
    for lower in made.lowers:
        for path in (lower, *lower.rglob("*")):
            os.chown(path, USER.pw_uid, USER.pw_gid)
    mounted = union_mounts.union(made, f"driver={driver}", box="user")
    top = mounted.path

    def change() -> None:
        for name in ("ro", "none", "small", "d"):
            (top / name).rename(top / f"{name}-moved")
        (top / "d-moved").chmod(0o700)
        (top / "d-moved/in").rename(top / "in")
        (top / "d-moved").chmod(0o500)
        (top / "gone").rmdir()
        (top / "gone").mkdir(0o500)
        (top / "in").chmod(0o644)
        with (top / "in").open("r+b") as opened:
            opened.write(b"I")

    def look() -> list[tuple[str, int, int]]:
        found = [(path.name, path.lstat(), path.is_file()) for path in top.rglob("*")]
        return sorted((name, st.st_mode & 0o777, st.st_size * regular) for name, st, regular in found)

    mounted.call(change)
    assert mounted.call(look) == [
        ("d-moved", 0o500, 0), ("gone", 0o500, 0), ("in", 0o644, LARGE), ("none-moved", 0, LARGE),
        ("ro-moved", 0o444, LARGE), ("small-moved", 0o400, 1),
    ]  # fmt: skip
    assert mounted.call(lambda: (top / "in").read_bytes()[:2]) == b"Ii"


@pytest.mark.parametrize("writer", ["ours", "kernel"])
def test_what_moves_out_of_moved_directories_is_found_by_the_kernel(
    union_mounts: Mounts, writer: str
) -> None:
    """And by us, where the kernel has moved it: a layer has moved d to z and e to d."""
    redirect = "trusted.overlay.redirect"
    moved = {
        "z": directory(xattrs={redirect: b"/d"}),
        "d": directory(xattrs={redirect: b"/e"}),
        "e": WHITEOUT,
    }
    below = {f"{name}/{path}": name.encode() * LARGE for name in "de" for path in ("f", "s/t")}
    made = union_mounts.stack([moved, below])

    def change(path: Path) -> None:
        for old, new in (
            ("z/f", "g"),
            ("z/s", "s"),
            ("z", "y"),
            ("d", "y/d"),
            ("y/d/s", "s2"),
            ("y/d/f", "h"),
        ):
            (path / old).rename(path / new)

    def look(path: Path) -> list[bytes]:
        return [(path / name).read_bytes()[:1] for name in ("g", "s/t", "s2/t", "h")]

    for turn in (writer, {"ours": "kernel", "kernel": "ours"}[writer]):
        if turn == "ours":
            mounted = union_mounts.union(made, "metacopy=4096")
        else:
            mounted = union_mounts.overlay(made, "redirect_dir=on,metacopy=on,index=off")
        if turn == writer:
            mounted.call(partial(change, mounted.path))
        assert mounted.call(partial(look, mounted.path)) == [b"d", b"d", b"e", b"e"]
        subprocess.run(["umount", mounted.path], check=True, timeout=20)
        assert mounts_below(made.base) == {}


def test_a_copy_without_data_takes_metacopy_of_the_kernel(union_mounts: Mounts) -> None:
    """Made by us, mounted by kernel overlayfs."""
    made = union_mounts.stack([{"d/f": b"x" * LARGE, "f": b"x" * LARGE, "small": b"y"}])
    mounted = union_mounts.union(made)

    def change() -> None:
        for name in ("f", "small"):
            (mounted.path / name).chmod(0o600)
        (mounted.path / "d/f").rename(mounted.path / "moved")
        os.link(mounted.path / "moved", mounted.path / "d/linked")

    mounted.call(change)
    subprocess.run(["umount", mounted.path], check=True, timeout=20)
    assert mounts_below(made.base) == {}
    for option, works in (("on", True), ("off", False)):
        kernel = union_mounts.overlay(made, f"metacopy={option}")
        try:
            assert (kernel.path / "small").read_bytes() == b"y"
            for name in ("f", "moved", "d/linked"):
                if works:
                    assert (kernel.path / name).read_bytes() == b"x" * LARGE
                else:
                    with pytest.raises(OSError, match=name):
                        (kernel.path / name).read_bytes()
        finally:
            subprocess.run(["umount", kernel.path], check=True, timeout=20)
