"""The command line, as mount(8), fstab, podman, buildah and people call it."""

from __future__ import annotations

import os
import resource
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import unionfs
from tests.integration.conftest import (
    CAP_SYS_RESOURCE,
    has_capability,
    mounted,
    refused,
    umount,
)
from tests.support import command
from tests.support.command import daemons, mounts_below, run
from tests.support.mounts import Stack
from tests.support.sandbox import CHECKOUT

# -- mounting


def test_the_mount_answers_when_the_command_returns(stack: Stack) -> None:
    mounted(stack)
    assert (stack.mountpoint / "a").read_bytes() == b"lower"
    (stack.mountpoint / "new").write_bytes(b"upper")
    assert stack.upper is not None
    assert (stack.upper / "new").read_bytes() == b"upper"


def test_the_kernel_shows_type_source_and_magic(stack: Stack) -> None:
    mounted(stack)
    row = mounts_below(stack.base)[str(stack.mountpoint)]
    fstype, source, words = row[row.index("-") + 1 :]
    assert (fstype, source) == ("fuse.unionfs", "unionfs")
    assert {"allow_other", "default_permissions"} <= set(words.split(","))
    assert "nodev" in row[5].split(",")
    assert "nosuid" not in row[5].split(",")
    magic = subprocess.run(
        ["stat", "-f", "-c", "%t", stack.mountpoint], capture_output=True, text=True, timeout=9
    )
    assert magic.stdout.strip() == "65735546"


def test_the_daemon_keeps_nothing_of_its_caller(stack: Stack) -> None:
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    words = [*command.PROGRAM, "-o", stack.options(), str(stack.mountpoint)]
    subprocess.run(words, check=True, timeout=30, cwd=stack.base, close_fds=False)
    os.close(writer)
    assert os.read(reader, 1) == b"", "the daemon holds the caller's pipe"
    os.close(reader)
    (pid,) = daemons(stack.base)
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    assert [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in range(3)] == ["/dev/null"] * 3
    assert os.getsid(pid) == pid
    status = Path(f"/proc/{pid}/status").read_text()
    assert "Umask:\t0000\n" in status


def test_the_daemon_may_open_many_files(stack: Stack) -> None:
    def low() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, 4096))

    words = [*command.PROGRAM, "-o", stack.options(), str(stack.mountpoint)]
    subprocess.run(words, check=True, timeout=30, preexec_fn=low)
    (pid,) = daemons(stack.base)
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    most = min(1 << 20, int(Path("/proc/sys/fs/nr_open").read_text()))
    assert soft == hard == (most if has_capability(CAP_SYS_RESOURCE) else 4096)


def test_podmans_call(stack: Stack) -> None:
    (stack.base / "l").mkdir()
    (stack.base / "l" / "ABC").symlink_to("../lower0")
    words = "lowerdir=l/ABC,upperdir=upper,workdir=work,,volatile"
    done = run("-o", words, stack.mountpoint, cwd=stack.base)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (stack.mountpoint / "a").read_bytes() == b"lower"


def test_podmans_call_with_user_mappings(stack: Stack) -> None:
    mapping = "uidmapping=:0:100000:65536,gidmapping=:0:100000:65536"
    run(
        "-o", f'{stack.options()},volatile,{mapping},context="system_u:object_r:x:s0:c1,c2"', stack.mountpoint
    )
    found = (stack.mountpoint / "a").stat()
    assert (found.st_uid, found.st_gid) == (100000, 100000)


def test_without_an_upper_the_mount_is_read_only(stack: Stack) -> None:
    done = run("-o", f"rw,lowerdir={stack.lowers[0]}:{stack.work}", stack.mountpoint)
    assert (done.returncode, done.stderr) == (0, "")
    assert "ro" in mounts_below(stack.base)[str(stack.mountpoint)][-1].split(",")
    assert (stack.mountpoint / "a").read_bytes() == b"lower"
    with pytest.raises(OSError, match="Read-only file system"):
        (stack.mountpoint / "new").touch()


def test_names_with_colons_and_commas(stack: Stack) -> None:
    for old, new in (("lower0", "low:er,0"), ("upper", "up,per"), ("work", 'wo"rk')):
        (stack.base / old).rename(stack.base / new)
    words = r'lowerdir=low\:er\,0,upperdir="up,per",workdir=wo\"rk'
    done = run("-o", words, stack.mountpoint, cwd=stack.base)
    assert (done.returncode, done.stderr) == (0, "")
    assert (stack.mountpoint / "a").read_bytes() == b"lower"
    umount(stack.mountpoint)
    for old, new in (("up,per", "upper"), ('wo"rk', "work")):
        (stack.base / old).rename(stack.base / new)


def test_a_source_before_the_mount_point_and_options_after_it(stack: Stack) -> None:
    done = run("my-source", stack.mountpoint, "-o", "ro", f"-o{stack.options()}", "-o", "subtype=other")
    assert (done.returncode, done.stderr) == (0, "")
    row = mounts_below(stack.base)[str(stack.mountpoint)]
    assert row[row.index("-") + 1 :][:2] == ["fuse.other", "my-source"]
    assert "ro" in row[-1].split(",")


def test_fsname_is_the_source(stack: Stack) -> None:
    mounted(stack, "-o", r"fsname=a\,b,noexec,nosuid,noatime,dev")
    row = mounts_below(stack.base)[str(stack.mountpoint)]
    assert row[row.index("-") + 2] == "a,b"
    flags = set(row[5].split(","))
    assert {"noexec", "nosuid", "noatime"} <= flags
    assert "nodev" not in flags


def test_a_tar_layer(stack: Stack) -> None:
    with tarfile.open(stack.base / "t.tar", "w") as tar:
        tar.add(stack.lowers[0] / "a", "in-tar")
    done = run("-o", f"lowerdir=t.tar:{stack.lowers[0]}", stack.mountpoint, cwd=stack.base)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(os.listdir(stack.mountpoint)) == ["a", "d", "in-tar"]


def test_over_a_layer_itself(stack: Stack) -> None:
    lower = stack.lowers[0]
    done = run("-o", stack.options(), lower)
    assert (done.returncode, done.stderr) == (0, "")
    (lower / "new").write_bytes(b"x")
    umount(lower)
    assert not (lower / "new").exists()


def test_unknown_options_are_named_in_one_line_and_ignored(stack: Stack) -> None:
    done = run("-o", f"frob,{stack.options()},nicate=1", stack.mountpoint)
    assert done.returncode == 0
    assert done.stderr == "unionfs: ignored unknown options: frob, nicate=1\n"
    assert (stack.mountpoint / "a").exists()


# -- through mount(8)


@pytest.fixture
def installed(stack: Stack) -> Iterator[None]:
    """The program where mount.fuse3 looks for it, in the mount namespace of the tests."""
    place = stack.base / "bin"
    place.mkdir()
    program = place / "unionfs"
    words = " ".join(command.PROGRAM)
    program.write_text(f'#!/bin/sh\nPYTHONPATH={CHECKOUT} exec {words} "$@"\n')
    program.chmod(0o755)
    target = Path("/usr/local/sbin")
    subprocess.run(["mount", "--bind", place, target], check=True, timeout=9)
    yield
    subprocess.run(["umount", "-l", target], check=True, timeout=9)


@pytest.mark.usefixtures("installed")
def test_mount_dash_t(stack: Stack) -> None:
    words = ["mount", "-t", "fuse.unionfs", "-o", stack.options(), "source", str(stack.mountpoint)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")
    row = mounts_below(stack.base)[str(stack.mountpoint)]
    assert row[row.index("-") + 1 :][:2] == ["fuse.unionfs", "source"]
    (stack.mountpoint / "new").touch()


@pytest.mark.usefixtures("installed")
def test_fstab_and_remount(stack: Stack) -> None:
    table = stack.base / "fstab"
    table.write_text(
        f"unionfs {stack.mountpoint} fuse.unionfs {stack.options()},nofail,x-systemd.automount 0 0\n"
    )
    mount: list[str | Path] = ["mount", "--fstab", table, stack.mountpoint]
    done = subprocess.run(mount, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")
    again: list[str | Path] = ["mount", "-o", "remount,ro", stack.mountpoint]
    done = subprocess.run(again, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")
    assert "ro" in mounts_below(stack.base)[str(stack.mountpoint)][-1].split(",")
    with pytest.raises(OSError, match="Read-only file system"):
        (stack.mountpoint / "new").touch()
    again = ["mount", "-o", "remount,rw", stack.mountpoint]
    done = subprocess.run(again, capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert "unmount it and mount it again" in done.stderr


def test_remount_of_what_is_no_mount(stack: Stack) -> None:
    assert "not the mount point" in refused("unionfs", stack.mountpoint, "-o", "rw,remount")


# -- refusals


def test_index(tmp_path: Path) -> None:
    path = tmp_path / "l.tar"
    with tarfile.open(path, "w") as tar:
        tar.add(__file__, "f")
    done = run("index", path)
    assert done.returncode == 0
    assert "built" in done.stdout
    assert (tmp_path / "l.idx").exists()
    assert "sound" in run("index", path).stdout
    (tmp_path / "l.idx").write_bytes(b"damaged")
    assert "built" in run("index", path).stdout
    path.write_bytes(path.read_bytes()[:700])
    assert str(path) in refused("index", path)


def test_version_and_help() -> None:
    assert run("--version").stdout == f"unionfs {unionfs.__version__}\n"
    text = run("--help").stdout
    assert "examples:" in text
    assert run("-h").stdout == text
    assert "unionfs --help" in refused()
