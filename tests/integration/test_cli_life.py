"""The command line: ordinary users' mounts, the end of a mount, signals, and questions to its server."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

import pytest

from tests.conftest import Mounts
from tests.integration.conftest import (
    LAYER,
    in_time,
    mounted,
    refused,
    umount,
)
from tests.support import command, process
from tests.support.command import cleanup, daemons, has_ended, mounts_below, root_beside, run
from tests.support.mounts import Stack
from tests.support.sandbox import Sandbox


@pytest.fixture(params=["user", "userns"])
def unprivileged(
    request: pytest.FixtureRequest, union_mounts: Mounts, boxes: dict[str, Sandbox]
) -> Iterator[tuple[Stack, Sandbox]]:
    box = boxes[request.param]
    made = union_mounts.stack([LAYER], box=request.param)
    with cleanup(made.base, box):
        yield made, box


def test_as_an_unprivileged_user(unprivileged: tuple[Stack, Sandbox]) -> None:
    stack, box = unprivileged
    mounted(stack, box=box)

    def look() -> None:
        box.enter()
        assert (stack.mountpoint / "a").read_bytes() == b"lower"
        (stack.mountpoint / "new").write_bytes(b"mine")
        os.unlink(stack.mountpoint / "a")
        row = mounts_below(stack.base)[str(stack.mountpoint)]
        assert row[row.index("-") + 1 :][:2] == ["fuse.unionfs", "unionfs"]

    process.in_child(look)

    def leave() -> None:
        box.enter()
        subprocess.run([*box.umount, stack.mountpoint], check=True)

    process.in_child(leave)
    in_time(lambda: not daemons(stack.base), "the end of the server")


def test_allow_other_takes_roots_consent(union_mounts: Mounts, boxes: dict[str, Sandbox]) -> None:
    stack, box = union_mounts.stack([LAYER], box="user"), boxes["user"]
    with cleanup(stack.base, box):
        line = refused("-o", stack.options() + ",allow_other", stack.mountpoint, box=box)
        assert "/etc/fuse.conf" in line


def test_under_a_parent_that_ignores_its_children(union_mounts: Mounts, boxes: dict[str, Sandbox]) -> None:
    """What a process ignores, the programs that it starts ignore too: they cannot wait for a child of theirs."""
    stack, box = union_mounts.stack([LAYER], box="user"), boxes["user"]

    def enter() -> None:
        box.enter()
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)

    with cleanup(stack.base, box):
        done = run("-o", stack.options(), stack.mountpoint, box=replace(box, enter=enter))
        assert (done.returncode, done.stderr) == (0, "")
        process.in_child(lambda: (enter(), (stack.mountpoint / "a").read_bytes()))
        os.kill(daemons(stack.base)[0], signal.SIGTERM)
        in_time(lambda: not daemons(stack.base), "the end of the server")


def test_dev_fuse_that_is_roots_alone(union_mounts: Mounts, boxes: dict[str, Sandbox]) -> None:
    stack, box = union_mounts.stack([LAYER], box="user"), boxes["user"]

    with root_beside(box) as root:

        def close() -> None:
            root.enter()
            process.unshare(process.CLONE_NEWNS)
            subprocess.run(["umount", "/dev/fuse"], check=True)
            subprocess.run(["mount", "--bind", closed, "/dev/fuse"], check=True)
            process.become(box.owner, box.owner)

        closed = stack.base / "fuse"
        os.mknod(closed, stat.S_IFCHR | 0o600, os.stat("/dev/fuse").st_rdev)
        line = refused("-o", stack.options(), stack.mountpoint, box=replace(box, enter=close))
        assert "/dev/fuse: Permission denied (let root open /dev/fuse to users: chmod 666 /dev/fuse)" in line


def test_without_fusermount3(union_mounts: Mounts, boxes: dict[str, Sandbox]) -> None:
    stack, box = union_mounts.stack([LAYER], box="user"), boxes["user"]

    with root_beside(box) as root:

        def hide() -> None:
            root.enter()
            process.unshare(process.CLONE_NEWNS)
            subprocess.run(["mount", "--bind", "/dev/null", "/usr/bin/fusermount3"], check=True)
            process.become(box.owner, box.owner)

        bare = replace(box, enter=hide)
        assert "install the package fuse3" in refused("-o", stack.options(), stack.mountpoint, box=bare)


# -- the running mount


def test_umount_ends_the_server(stack: Stack) -> None:
    mounted(stack)
    (pid,) = daemons(stack.base)
    umount(stack.mountpoint)
    in_time(lambda: has_ended(pid), "the end of the server")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_unmounts(stack: Stack, number: signal.Signals) -> None:
    mounted(stack)
    (pid,) = daemons(stack.base)
    os.kill(pid, number)
    in_time(lambda: has_ended(pid), "the end of the server")
    assert mounts_below(stack.base) == {}


def test_whoever_has_a_file_open_is_served_to_the_end(stack: Stack) -> None:
    mounted(stack)
    (pid,) = daemons(stack.base)
    with open(stack.mountpoint / "d" / "f", "r+b") as held:
        os.kill(pid, signal.SIGTERM)
        in_time(lambda: mounts_below(stack.base) == {}, "the unmount")
        held.write(b"later")
        held.flush()
        os.fsync(held.fileno())
        assert not has_ended(pid)
    in_time(lambda: has_ended(pid), "the end of the server")
    assert stack.upper is not None
    assert (stack.upper / "d" / "f").read_bytes() == b"later"


def test_a_second_signal_ends_it_at_once(stack: Stack) -> None:
    mounted(stack)
    (pid,) = daemons(stack.base)
    held = os.open(stack.mountpoint / "a", os.O_RDONLY)
    os.kill(pid, signal.SIGTERM)
    in_time(lambda: mounts_below(stack.base) == {}, "the unmount")
    os.kill(pid, signal.SIGTERM)
    in_time(lambda: has_ended(pid), "the end of the server")
    with suppress(OSError):  # ENOTCONN
        os.close(held)


def test_a_signal_right_after_the_start_leaves_no_dead_mount(stack: Stack) -> None:
    for delay in (0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3):
        server = subprocess.Popen(
            [*command.PROGRAM, "-f", "-o", stack.options(), str(stack.mountpoint)], stderr=subprocess.DEVNULL
        )
        time.sleep(delay)
        server.send_signal(signal.SIGTERM)
        server.wait(20)
        assert mounts_below(stack.base) == {}


def test_somebody_elses_mount_is_left_alone(stack: Stack) -> None:
    mounted(stack)
    (pid,) = daemons(stack.base)
    subprocess.run(["mount", "-t", "tmpfs", "above", stack.mountpoint], check=True, timeout=9)
    os.kill(pid, signal.SIGTERM)
    time.sleep(0.3)
    row = mounts_below(stack.base)[str(stack.mountpoint)]
    assert row[row.index("-") + 1] == "tmpfs"


def test_sigusr1_logs_the_counters(stack: Stack) -> None:
    mounted(stack, "-o", "log=log", cwd=stack.base)
    (pid,) = daemons(stack.base)
    os.listdir(stack.mountpoint)
    os.kill(pid, signal.SIGUSR1)
    log = stack.base / "log"
    in_time(lambda: "counters: " in log.read_text(), "the counters")
    assert '"lookup"' in log.read_text() or '"readdirplus"' in log.read_text()


def test_refresh_shows_what_changed_behind_the_mount(stack: Stack) -> None:
    mounted(stack)
    assert (stack.mountpoint / "a").read_bytes() == b"lower"
    assert not (stack.mountpoint / "later").exists()
    (stack.lowers[0] / "later").write_bytes(b"1")
    (stack.lowers[0] / "a").write_bytes(b"changed")
    with open(stack.mountpoint / "a", "rb"):
        done = run("refresh", stack.mountpoint)
        assert (done.returncode, done.stderr) == (0, "")
        assert (stack.mountpoint / "later").read_bytes() == b"1"
        assert (stack.mountpoint / "a").read_bytes() == b"changed"
    assert "later" in os.listdir(stack.mountpoint)


@pytest.mark.parametrize("driver", ["kernel", "pyfuse3"])
def test_a_timeout_shows_what_changed_behind_the_mount(stack: Stack, driver: str) -> None:
    mounted(stack, "-o", f"timeout=0,driver={driver}")
    mount, lower = stack.mountpoint, stack.lowers[0]
    assert (mount / "a").read_bytes() == b"lower"
    assert os.listdir(mount / "d") == ["f"]
    (lower / "a").write_bytes(b"longer than before")
    (lower / "d" / "g").write_bytes(b"")
    assert (mount / "a").read_bytes() == b"longer than before"
    assert sorted(os.listdir(mount / "d")) == ["f", "g"]
    (lower / "d" / "f").unlink()
    (lower / "new").write_bytes(b"renamed")
    (lower / "new").rename(lower / "a")
    assert os.listdir(mount / "d") == ["g"]
    assert (mount / "a").read_bytes() == b"renamed"


@pytest.mark.parametrize("options", ["timeout=0", "driver=pyfuse3,timeout=0", "io=cached"])
def test_a_directory_gets_what_a_lower_layer_has_got(union_mounts: Mounts, options: str) -> None:
    stack = union_mounts.stack([{"d/top": b"", "e/top": b""}, {"g": b""}], upper={"e/mine": b""})
    with cleanup(stack.base):
        mounted(stack, "-o", options)
        held = [os.open(stack.mountpoint / name, os.O_RDONLY | os.O_DIRECTORY) for name in ("d", "e")]
        assert [sorted(os.listdir(fd)) for fd in held] == [["top"], ["mine", "top"]]
        for name in ("d", "e"):
            (stack.lowers[1] / name).mkdir()
            (stack.lowers[1] / name / "below").write_bytes(b"text")
        if "timeout" not in options:
            assert run("refresh", stack.mountpoint).returncode == 0
        for name in ("d", "e"):
            assert (stack.mountpoint / name / "below").read_bytes() == b"text"
        assert sorted(os.listdir(stack.mountpoint / "d")) == ["below", "top"]
        assert sorted(os.listdir(stack.mountpoint / "e")) == ["below", "mine", "top"]
        for fd in held:
            os.close(fd)


def test_refresh_is_for_the_owner_of_the_mount(union_mounts: Mounts, boxes: dict[str, Sandbox]) -> None:
    stack, box = union_mounts.stack([LAYER]), boxes["user"]
    with root_beside(box) as root, cleanup(stack.base, root):
        mounted(stack, box=root)
        assert "as root" in refused("refresh", stack.mountpoint, box=box)
        assert run("refresh", stack.mountpoint, box=root).returncode == 0


def test_refresh_of_what_is_no_mount(stack: Stack) -> None:
    assert "not the mount point of a unionfs" in refused("refresh", stack.mountpoint)
    assert "not the mount point of a unionfs" in refused("refresh", "/proc")
    assert "takes one name" in refused("refresh")


def test_a_user_and_root_refresh_the_users_mount(union_mounts: Mounts, boxes: dict[str, Sandbox]) -> None:
    stack, box = union_mounts.stack([LAYER], box="user"), boxes["user"]
    with root_beside(box) as root, cleanup(stack.base, box):
        mounted(stack, box=box)
        for who in (box, root):
            done = run("refresh", stack.mountpoint, box=who)
            assert (done.returncode, done.stderr) == (0, "")


# -- the other commands


LOADED = """
import sys
from unionfs import cli, mountpoint
def mount(request):
    print(*sorted({"logging", "unionfs.libc"} & set(sys.modules)))
    raise OSError(5, "that is enough")
mountpoint.mount = mount
cli.main(sys.argv[1:])
"""


def test_nothing_that_the_server_needs_is_loaded_through_its_own_mount(stack: Stack) -> None:
    """Python may lie below the mount point, and who serves would wait for himself."""
    words = [sys.executable, "-P", "-c", LOADED, "-f", "-o", stack.options(), stack.mountpoint]
    done = subprocess.run(words, capture_output=True, text=True, timeout=20)
    assert done.stdout == "logging unionfs.libc\n", done.stderr
