"""The command line: what cannot be mounted is refused in one line, and nothing is lost."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.conftest import (
    in_time,
    mounted,
    refused,
    umount,
)
from tests.support import process
from tests.support.command import daemons, mounts_below, run
from tests.support.mounts import Stack
from tests.support.sandbox import CHECKOUT, Sandbox
from unionfs.errors import SetupError
from unionfs.mountpoint import _helper_hint as helper_hint
from unionfs.stack import _refuse_own_files as refuse_own_files


def test_parts_that_are_missing_or_not_what_they_should_be(stack: Stack) -> None:
    lower, upper, work, mnt = stack.lowers[0], stack.upper, stack.work, stack.mountpoint
    gone, plain, packed = stack.base / "gone", stack.base / "plain", stack.base / "l.tar.gz"
    plain.touch()
    packed.touch()
    cases: dict[str, list[str | Path]] = {
        "nothing to mount": ["-o", f"upperdir={upper},workdir={work}", mnt],
        "mount point is missing": ["-o", f"lowerdir={lower}"],
        "too many names": ["-o", f"lowerdir={lower}", "a", "b", mnt],
        f"the layer {gone} does not exist": ["-o", f"lowerdir={gone}", mnt],
        f"the layer {plain} is neither": ["-o", f"lowerdir={plain}", mnt],
        "decompress it first": ["-o", f"lowerdir={packed}", mnt],
        f"the mount point {gone} does not exist (mkdir": ["-o", f"lowerdir={lower}", gone],
        f"the mount point {plain} is not a directory": ["-o", f"lowerdir={lower}", plain],
        "add workdir=": ["-o", f"lowerdir={lower},upperdir={upper}", mnt],
        "add upperdir=": ["-o", f"lowerdir={lower},workdir={work}", mnt],
        f"the upper directory {gone} does not exist": [
            "-o",
            f"lowerdir={lower},upperdir={gone},workdir={work}",
            mnt,
        ],
        f"the work directory {gone} does not exist": [
            "-o",
            f"lowerdir={lower},upperdir={upper},workdir={gone}",
            mnt,
        ],
        "the mount point has an empty name": ["-o", f"lowerdir={lower}", ""],
        "holds files of this program": ["-o", f"lowerdir={lower}", CHECKOUT],
        "timeout=soon: not a time": ["-o", f"lowerdir={lower},timeout=soon", mnt],
        "unknown flag --frob": ["--frob", "-o", f"lowerdir={lower}", mnt],
        "-o needs a value": [mnt, "-o"],
        "cannot write the log": ["-o", f"lowerdir={lower},log={gone}/log", mnt],
    }
    for text, arguments in cases.items():
        assert text in refused(*arguments)
    assert mounts_below(stack.base) == {}
    assert daemons(stack.base) == []


def test_the_current_directory_may_be_the_mount_point(stack: Stack) -> None:
    done = run("-o", f"lowerdir={stack.lowers[0]}", ".", cwd=stack.mountpoint)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(os.listdir(stack.mountpoint)) == ["a", "d"]


def test_parts_that_are_inside_each_other(stack: Stack) -> None:
    lower, upper, work, mnt = stack.lowers[0], stack.upper, stack.work, stack.mountpoint
    assert upper is not None
    assert work is not None
    inside = {path: path / "inside" for path in (lower, upper)}
    for path in inside.values():
        path.mkdir()
    cases: dict[str, list[str | Path]] = {
        f"the mount point {lower}/d is inside the layer": ["-o", f"lowerdir={lower}", lower / "d"],
        "the work directory": ["-o", f"lowerdir={lower},upperdir={upper},workdir={inside[upper]}", mnt],
        "the upper directory": ["-o", f"lowerdir={lower},upperdir={inside[lower]},workdir={work}", mnt],
        "the layer": ["-o", f"lowerdir={inside[upper]},upperdir={upper},workdir={work}", mnt],
        "is also the": ["-o", f"lowerdir={lower},upperdir={upper},workdir={upper}", mnt],
    }
    for text, arguments in cases.items():
        line = refused(*arguments)
        assert text in line
        assert "a directory of its own" in line


def test_upper_and_work_on_different_file_systems(stack: Stack, scratch: object, tmp_path: Path) -> None:
    words = f"lowerdir={stack.lowers[0]},upperdir={stack.upper},workdir={tmp_path}"
    assert "on different file systems" in refused("-o", words, stack.mountpoint)
    assert list(tmp_path.iterdir()) == []


def test_upper_and_work_under_different_mounts_of_one_file_system(stack: Stack) -> None:
    """A rename between them would be EXDEV, though they are on one device."""
    bound = stack.base / "bound"
    bound.mkdir()
    (stack.base / "other").mkdir()
    subprocess.run(["mount", "--bind", stack.base / "other", bound], check=True, timeout=9)
    words = f"lowerdir={stack.lowers[0]},upperdir={stack.upper},workdir={bound}"
    assert "different mounts" in refused("-o", words, stack.mountpoint)


def test_a_damaged_tar_is_named(stack: Stack) -> None:
    bad = stack.base / "bad.tar"
    bad.write_bytes(b"no tar" * 1000)
    assert str(bad) in refused("-o", f"lowerdir={bad}", stack.mountpoint)


def test_a_work_directory_in_use(stack: Stack) -> None:
    mounted(stack)
    other = stack.base / "mnt2"
    other.mkdir()
    assert "in use by another mount" in refused("-o", stack.options(), other)
    (stack.base / "work2").mkdir()
    words = f"lowerdir={stack.lowers[0]},upperdir={stack.upper},workdir={stack.base}/work2"
    assert "in use by another mount" in refused("-o", words, other)
    (stack.mountpoint / "alive").touch()


@pytest.mark.parametrize("top", ["fuse", "overlay"])
def test_what_no_mount_has_left_in_the_work_directory_is_not_deleted(stack: Stack, top: str) -> None:
    assert stack.work is not None
    inside = stack.work / "work"
    inside.mkdir()
    (inside / "#1f").write_bytes(b"")
    (inside / "17").write_bytes(b"")
    (inside / "2026").mkdir()
    (inside / "2026" / "thesis").write_bytes(b"text")
    arguments = ["-o", f"{stack.options()},top={top}", stack.mountpoint]
    assert "holds '2026', which no mount has left there" in refused(*arguments)
    assert (inside / "2026" / "thesis").read_bytes() == b"text"
    assert (inside / "#1f").exists()
    (inside / "2026" / "thesis").rename(stack.base / "thesis")
    (inside / "2026").rmdir()
    mounted(stack, "-o", f"top={top}")
    assert not (inside / "17").exists()
    umount(stack.mountpoint)
    in_time(lambda: not daemons(stack.base), "the end of the server")
    subprocess.run(["rm", "-r", inside], check=True)
    (stack.base / "thesis").rename(inside)
    assert "holds 'work'" in refused(*arguments)
    assert inside.read_bytes() == b"text"


def test_a_work_directory_that_is_read_only(stack: Stack) -> None:
    place = stack.base / "tmpfs"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", place], check=True)
    try:
        (place / "u").mkdir()
        (place / "w").mkdir()
        subprocess.run(["mount", "-o", "remount,ro", place], check=True)
        options = f"lowerdir={stack.lowers[0]},upperdir={place}/u,workdir={place}/w"
        assert f"the work directory {place}/w cannot be changed: Read-only" in refused(
            "-o", options, stack.mountpoint
        )
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def test_mounted_again_at_once(stack: Stack) -> None:
    for number in range(5):
        mounted(stack)
        (stack.mountpoint / str(number)).touch()
        umount(stack.mountpoint)
    assert stack.upper is not None
    assert sorted(os.listdir(stack.upper)) == list("01234")


def test_no_dev_fuse(stack: Stack) -> None:
    def hide() -> None:
        process.unshare(process.CLONE_NEWNS)
        empty = stack.base / "dev"
        empty.mkdir()
        (empty / "null").touch()
        subprocess.run(["mount", "--bind", "/dev/null", empty / "null"], check=True)
        subprocess.run(["mount", "--rbind", empty, "/dev"], check=True)

    box = Sandbox("no-fuse", hide, 0, ("umount",), "trusted")
    assert "modprobe fuse" in refused("-o", stack.options(), stack.mountpoint, box=box)


# -- unprivileged


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        ("fusermount3: failed to open /dev/fuse: Permission denied", "chmod 666 /dev/fuse"),
        ("fusermount3: user has no write access to mountpoint /mnt", "a directory that you own"),
        (
            "fusermount3: option allow_other only allowed if 'user_allow_other' is set in /etc/fuse.conf",
            "leave out",
        ),
        ("fusermount3: too many FUSE filesystems mounted", ""),
    ],
)
def test_what_the_helper_says_is_explained(said: str, hint: str) -> None:
    assert hint in helper_hint(said)
    assert bool(hint) == bool(helper_hint(said))


def test_the_current_directory_among_the_module_paths_holds_no_files_of_the_program(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(stack.mountpoint)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    refuse_own_files(str(stack.mountpoint))
    monkeypatch.setattr(sys, "path", [str(stack.mountpoint / "modules"), *sys.path])
    with pytest.raises(SetupError, match="holds files of this program"):
        refuse_own_files(str(stack.mountpoint))
