"""Images as directories: by root and by users, read-only and writable, and what is left when something goes wrong."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support import command, process
from tests.support.imagetool import Cli, program
from tests.support.registry import Server
from tests.support.sandbox import Sandbox

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def user(tmp_path: Path, server: Server, boxes: dict[str, Sandbox], scratch: object) -> Iterator[Cli]:
    """An ordinary user with a store of his own."""
    place = Path(f"/var/tmp/imagetool-user-{os.getpid()}")
    with program(place, server, boxes["user"]) as made:
        yield made
    subprocess.run(["rm", "-rf", place], check=True)


def listed(cli: Cli) -> list[str]:
    return cli("mounts", "-q").split()


def test_a_mount_outlives_its_command_and_is_undone(cli: Cli) -> None:
    target = Path(cli("mount", "ubuntu").strip().splitlines()[-1])
    assert (target / "etc/os-release").read_text() == "ID=test\n"
    assert listed(cli) == [str(target)]
    head, row = cli("mounts").splitlines()
    assert head.split() == ["MOUNT", "ID", "IMAGE", "MODE", "CREATED", "DIRECTORY"]
    assert row.split()[1:3] == ["ubuntu", "ro"]
    assert cli("umount", "ubuntu:latest") == f"{target}\n"
    assert listed(cli) == []
    assert os.listdir(cli.root / "mounts") == []


def test_by_directory_by_id_and_twice(cli: Cli, tmp_path: Path) -> None:
    cli("pull", "-q", "ubuntu")
    (tmp_path / "here").mkdir()
    assert cli("mount", "ubuntu", tmp_path / "here") == f"{tmp_path}/here\n"
    assert cli("mount", "ubuntu", tmp_path / "new") == f"{tmp_path}/new\n"
    first = cli("mounts", "--format", "{{.ID}}").split()[0]
    assert cli("umount", first[:6]) == f"{tmp_path}/here\n"
    assert cli("umount", tmp_path / "new") == f"{tmp_path}/new\n"
    assert (tmp_path / "here").is_dir()
    assert not (tmp_path / "new").exists()  # it was made for the mount


def test_an_image_that_is_mounted_stays(cli: Cli) -> None:
    target = Path(cli("mount", "ubuntu").strip().splitlines()[-1])
    assert "image is mounted" in cli.error("rmi", "ubuntu")
    cli("image", "prune", "-a", "-f")
    assert (target / "ubuntu").stat().st_size == 1000
    assert cli("images", "-q") != ""
    cli("umount", "--all")
    cli("rmi", "ubuntu")


def test_a_busy_mount_is_not_undone_by_half(cli: Cli) -> None:
    target = Path(cli("mount", "--rw", "ubuntu").strip().splitlines()[-1])
    with (target / "etc/passwd").open() as file:
        said = cli.error("umount", target)
        assert "busy" in said
        assert "--lazy" in said
        assert listed(cli) == [str(target)]
        cli("umount", "--lazy", target)
        assert listed(cli) == []
        assert file.read().startswith("root:")


def test_what_a_killed_server_leaves_is_cleared_away(cli: Cli) -> None:
    target = cli("mount", "--rw", "ubuntu").strip().splitlines()[-1]
    for pid in command.daemons(cli.folder):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.in_child(lambda: subprocess.run(["umount", "-l", target], check=False))
    assert listed(cli) == []
    assert os.listdir(cli.root / "mounts") == []
    assert cli("system", "check") == ""


def test_nothing_is_left_where_there_can_be_no_mount(cli: Cli, tmp_path: Path) -> None:
    cli("pull", "-q", "ubuntu")
    (tmp_path / "file").write_text("")
    assert "is not a directory" in cli.error("mount", "ubuntu", tmp_path / "file")
    assert "No such file" in cli.error("mount", "ubuntu", tmp_path / "no/parent")
    assert os.listdir(cli.root / "mounts") == []
    assert listed(cli) == []


def test_lost_layers_are_built_again(cli: Cli) -> None:
    cli("pull", "-q", "ubuntu")
    subprocess.run(["rm", "-rf", cli.root / "layers"], check=True)
    target = Path(cli("mount", "ubuntu").strip())
    assert (target / "ubuntu").stat().st_size == 1000


def test_setuid_and_devices_of_an_image_mean_nothing(cli: Cli) -> None:
    target = cli("mount", "busybox").strip().splitlines()[-1]
    row = command.mounts_below(Path(target))[target]
    assert {"nosuid", "nodev", "ro"} <= set(row[5].split(","))


def test_a_user_sees_owners_and_modes_of_the_image(user: Cli) -> None:
    done = user.run("mount", "ubuntu")
    target = done.stdout.strip()

    def look() -> None:
        user.box.enter()
        found = os.stat(f"{target}/etc/passwd")
        assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (0, 0, 0o644)
        with open(f"{target}/etc/os-release") as file:
            assert file.read() == "ID=test\n"

    process.in_child(look)
    assert user("umount", "--all") == f"{target}\n"


def test_a_user_writes_to_a_top_layer(user: Cli) -> None:
    target = user.run("mount", "--rw", "busybox").stdout.strip()

    def change() -> None:
        user.box.enter()
        with open(f"{target}/tmp/new", "w") as file:
            file.write("mine")
        os.mkdir(f"{target}/tmp/dir")
        os.rename(f"{target}/tmp/new", f"{target}/tmp/dir/new")
        assert os.stat(f"{target}/tmp/dir/new").st_uid == user.box.owner
        with pytest.raises(PermissionError):
            os.unlink(f"{target}/bin/sh")  # it is root's, also here

    process.in_child(change)
    assert user("umount", "busybox") == f"{target}\n"
    assert user("mounts", "-q") == ""
    assert user("system", "check") == ""


DYING = """
import os, signal, sys
left = [int(sys.argv[1])]
def dying(real):
    def call(*arguments, **named):
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **named)
    return call
for name in ("mkdir", "rename", "write", "open", "close", "fork", "pipe2", "unlink", "rmdir"):
    setattr(os, name, dying(getattr(os, name)))
from imagetool import cli
sys.exit(cli.main(sys.argv[2:]))
"""


@pytest.mark.timeout(600)
@pytest.mark.parametrize("options", [[], ["--rw"]])
def test_a_kill_at_any_step_of_a_mount_leaves_nothing(cli: Cli, options: list[str]) -> None:
    """Of the command, or of the server while it starts: whoever looks next finds it mounted, or not at all."""
    cli("pull", "-q", "ubuntu")
    step, code = 0, -1
    while code != 0:
        command = [sys.executable, "-c", DYING, str(step), "mount", *options, "ubuntu"]
        code = subprocess.run(command, env=cli.env, capture_output=True, timeout=60).returncode
        for name in listed(cli):
            cli("umount", name)
        assert os.listdir(cli.root / "mounts") == [], f"killed at step {step}"
        assert str(cli.root) not in Path("/proc/self/mountinfo").read_text()
        step += 3
    assert step > 15
    assert cli("system", "check") == ""
