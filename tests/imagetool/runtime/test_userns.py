"""User namespaces: with ranges, with a single id, and as an ordinary user who becomes root of one."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from imagetool.runtime import linux, userns
from imagetool.runtime.options import Mount
from imagetool.runtime.userns import Maps, plan_maps
from tests.imagetool.runtime.kit import Runner
from tests.support.sandbox import Sandbox

pytestmark = pytest.mark.timeout(60)

RANGE = {
    "uid_map": ((0, 100_000, 65_536),),
    "gid_map": ((0, 100_000, 65_536),),
    "cgroup_version": 0,
    "rootless": True,
}


def test_maps() -> None:
    both = ("me:100000:65536\nother:1:1\n# x\n", "1000:200000:10\nme:300000:20\n")
    assert plan_maps(1000, 50, "me", *both, helpers=True) == Maps(
        ((0, 1000, 1), (1, 100_000, 65_536)), ((0, 50, 1), (1, 200_000, 10), (11, 300_000, 20))
    )
    assert plan_maps(1000, 50, "me", *both, helpers=False).single
    assert plan_maps(1000, 50, "me", "", both[1], helpers=True) == Maps(((0, 1000, 1),), ((0, 50, 1),))
    assert plan_maps(1000, 50, "me", "me:x:1\nme:5:0\nme:1", both[1], helpers=True).single


def test_root_inside_is_nobody_outside(runner: Runner, rootfs: Path) -> None:
    os.chown(rootfs, 100_000, 100_000)
    (rootfs / "tmp").chmod(0o1777)
    _open(rootfs)
    result = runner.run(
        "sh", "-c", "id -u; id -G; cat /proc/self/uid_map | tr -s ' '; touch /f; chown 5:6 /f", host=RANGE
    )
    assert result.out.splitlines() == ["0", "0", " 0 100000 65536"], result
    info = (rootfs / "f").stat()
    assert (info.st_uid, info.st_gid) == (100_005, 100_006)


def test_users_inside_are_mapped(runner: Runner, rootfs: Path) -> None:
    _open(rootfs)
    result = runner.run("sh", "-c", "id -u; id -G; echo x > /tmp/f", host=RANGE, user="web")
    assert result.out.split() == ["101", "102", "50"], result
    assert (rootfs / "tmp/f").stat().st_uid == 100_101


def test_a_single_id(runner: Runner, rootfs: Path) -> None:
    os.chown(rootfs, 1234, 1234)
    _open(rootfs)
    host = {
        "uid_map": ((0, 1234, 1),),
        "gid_map": ((0, 1234, 1),),
        "cgroup_version": 0,
        "rootless": True,
        "single_id": True,
    }
    made = runner.prepare("sh", "-c", "id -u; touch /f; tty", host=host, user="web", tty=False)
    assert "only one user id is available" in made.notes[0]
    assert runner.carry_out().out.splitlines()[0] == "0"
    assert (rootfs / "f").stat().st_uid == 1234


def test_the_capabilities_are_worth_nothing_outside(runner: Runner, rootfs: Path, tmp_path: Path) -> None:
    _open(rootfs)
    secret = tmp_path / "secret"
    secret.write_text("x")
    secret.chmod(0o600)
    result = runner.run("cat", "/s", host=RANGE, mounts=(Mount("bind", str(secret), "/s"),))
    assert "ermission denied" in result.err


def test_an_ordinary_user_runs_containers(runner: Runner, rootfs: Path, boxes: dict[str, Sandbox]) -> None:
    """The caller becomes root of a user namespace with its own id only, then runs as ever."""
    user = boxes["user"]
    for path in (rootfs, *rootfs.rglob("*")):
        os.chown(path, user.owner, user.owner, follow_symlinks=False)
    os.chown(runner.bundle, user.owner, user.owner)
    _open(rootfs)

    def unprivileged() -> None:
        user.enter()
        linux.prctl(linux.PR_SET_DUMPABLE, 1)  # lost with the ids; a program started by a user has it
        userns.enter(Maps(((0, os.getuid(), 1),), ((0, os.getgid(), 1),)))
        host = {"cgroup_version": 0, "rootless": True, "single_id": True, "seccomp": None}
        result = runner.run("sh", "-c", "id -u; touch /made; mount -t tmpfs t /tmp 2>&1; echo $$", host=host)
        assert result.out.splitlines()[0] == "0", result
        assert result.out.splitlines()[-1] == "1", result
        terminal = runner.prepare("tty", host=host, tty=True)
        assert terminal.spec["process"]["terminal"]
        with runner.created() as container:
            container.start()
            assert container.wait() == 0

    _in_child(unprivileged)
    assert (rootfs / "made").stat().st_uid == user.owner


def _open(path: Path) -> None:
    """Everybody may reach the directory, as a store for the unprivileged is reached."""
    path.chmod(0o777)
    for parent in path.parents:
        if parent == Path("/"):
            break
        parent.chmod(parent.stat().st_mode | 0o055)


def _in_child(function: Callable[[], None]) -> None:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            function()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0
