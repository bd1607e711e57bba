"""Options of `run` that Docker's users reach for: devices, namespaces of other containers, name servers, patience."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.imagetool.e2e.containers import BOX, FOREVER
from tests.support.imagetool import Cli, program
from tests.support.registry import Server
from tests.support.sandbox import user

pytestmark = pytest.mark.timeout(120)
RUNTIMES = pytest.mark.parametrize("runtime", ["builtin", "crun"])
READ = "busybox head -c 5 "


@pytest.fixture(scope="module", autouse=True)
def plain_cgroups() -> Iterator[None]:
    """crun refuses version 1 hierarchies beside a version 2 one that has a controller: that one is hidden."""
    controllers = "/sys/fs/cgroup/unified/cgroup.controllers"
    there = os.path.exists(controllers)
    if there:
        subprocess.run(["mount", "--bind", "/dev/null", controllers], check=True)
    yield
    if there:
        subprocess.run(["umount", controllers], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[str]:
    """A block device with something on it."""
    file = tmp_path / "disk"
    file.write_bytes(b"bytes" + bytes((1 << 20) - 5))
    made = subprocess.run(["losetup", "-f", "--show", file], check=True, capture_output=True, text=True)
    yield made.stdout.strip()
    subprocess.run(["losetup", "-d", made.stdout.strip()], check=True)


@RUNTIMES
def test_devices(box: Cli, disk: str, runtime: str) -> None:
    run = ("run", "--rm", "--runtime", runtime)
    assert box(*run, "--device", disk, *BOX, "sh", "-c", READ + disk) == "bytes"
    script = f"{READ} /dev/disk; test ! -e {disk}; echo x > /dev/disk"
    assert box(*run, "--device", f"{disk}:/dev/disk", *BOX, "sh", "-c", script) == "bytes"
    script = f"{READ} /dev/disk; echo x > /dev/disk"
    done = box.run(*run, "--device", f"{disk}:/dev/disk:r", *BOX, "sh", "-c", script, code=1)
    assert "/dev/disk: Operation not permitted" in done.stderr
    assert box(*run, "--device", disk, "-u", "7", *BOX, "sh", "-c", READ + disk + " 2>&1 || true").endswith(
        "Permission denied\n"
    )


def test_a_seccomp_profile_is_found_from_where_the_caller_is(box: Cli) -> None:
    rule = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}
    profile = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}
    (box.folder / "profile.json").write_text(json.dumps(profile))
    run = ("run", "--rm", "--security-opt", "seccomp=profile.json", *BOX)
    assert "Operation not permitted" in box.run(*run, "busybox", "mkdir", "/d", code=1).stderr


@RUNTIMES
def test_the_host_s_ipc(box: Cli, runtime: str) -> None:
    script = "busybox readlink /proc/self/ns/ipc; busybox touch /dev/mqueue/imagetool-test"
    shown = box("run", "--rm", "--runtime", runtime, "--ipc", "host", *BOX, "sh", "-c", script)
    assert shown == os.readlink("/proc/self/ns/ipc") + "\n"
    script = "busybox rm /dev/mqueue/imagetool-test"  # one queue for all who are in the namespace
    box("run", "--rm", "--runtime", runtime, "--ipc", "host", *BOX, "sh", "-c", script)


@RUNTIMES
def test_privileged_may_use_all_devices(box: Cli, disk: str, runtime: str) -> None:
    run = ("run", "--rm", "--runtime", runtime, "--privileged")
    assert box(*run, *BOX, "sh", "-c", READ + disk) == "bytes"
    assert box(*run, "-v", "/dev:/dev", *BOX, "sh", "-c", READ + disk) == "bytes"
    script = "echo x > /dev/null && test -L /dev/ptmx && busybox tty"
    assert box.terminal(*run, "-it", *BOX, "sh", "-c", script) == "/dev/pts/0\n"


@RUNTIMES
def test_the_host_s_dev_as_a_volume(box: Cli, disk: str, runtime: str) -> None:
    """It is seen, its devices stay shut, terminals are the container's own, and nothing of it is in the RW layer."""
    run = ("run", "--runtime", runtime, "-v", "/dev:/dev")
    box(
        *run, "--name", "dd", *BOX, "sh", "-c", f"test -b {disk}; {READ} {disk} && exit 1; echo x > /dev/null"
    )
    assert box("diff", "dd") == ""
    assert box.terminal(*run, "--rm", "-it", *BOX, "busybox", "tty") == "/dev/pts/0\n"
    assert box(*run, "--rm", "--device", f"{disk}:/dev/vcs", *BOX, "sh", "-c", f"{READ} /dev/vcs") == "bytes"


@RUNTIMES
def test_what_was_not_given_cannot_be_opened(box: Cli, disk: str, runtime: str) -> None:
    number = os.stat(disk).st_rdev
    script = f"busybox mknod /d b {os.major(number)} {os.minor(number)}; {READ} /d"
    assert "/d: " in box.run("run", "--rm", "--runtime", runtime, *BOX, "sh", "-c", script, code=1).stderr


def test_a_directory_of_devices(box: Cli, tmp_path: Path) -> None:
    (tmp_path / "d/sub").mkdir(parents=True)
    os.mknod(tmp_path / "d/zero", 0o666 | 0o020000, os.makedev(1, 5))
    os.mknod(tmp_path / "d/sub/full", 0o666 | 0o020000, os.makedev(1, 7))
    (tmp_path / "d/plain").write_text("no device")
    out = box(
        "run",
        "--name",
        "dd",
        "--device",
        f"{tmp_path}/d:/dev/mine",
        *BOX,
        "busybox",
        "find",
        "/dev/mine",
        "-type",
        "c",
    )
    assert sorted(out.split()) == ["/dev/mine/sub/full", "/dev/mine/zero"]
    (tmp_path / "link").symlink_to("d/zero")
    assert box(
        "run",
        "--device",
        f"{tmp_path}/link:/zero",
        "--name",
        "ee",
        *BOX,
        "busybox",
        "stat",
        "-c",
        "%F",
        "/zero",
    ) == ("character special file\n")
    assert box("diff", "ee") == ""
    (found,) = json.loads(box("inspect", "-f", "{{json .HostConfig.Devices}}", "ee"))
    assert found == {"PathOnHost": f"{tmp_path}/link", "PathInContainer": "/zero", "CgroupPermissions": "rwm"}


def test_devices_that_are_none(box: Cli, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for text, error in (
        ("/nowhere", "no device /nowhere on this machine"),
        (str(tmp_path / "file"), "is no device"),
        (str(tmp_path), "is no device, and has none in it"),
        ("null", "invalid device 'null'"),
        ("/dev/null:x", "invalid device"),
        ("/dev/null:/a:/b", "invalid device"),
        ("/dev/null:/", "invalid device"),
    ):
        assert error in box.error("run", "--rm", "--device", text, *BOX, "echo"), text
    assert os.listdir(box.root / "containers") == []


def test_devices_of_an_ordinary_user(server: Server) -> None:
    with (
        tempfile.TemporaryDirectory(prefix="unionfs-test-", dir="/var/tmp") as folder,
        user() as who,
        program(Path(folder), server, who) as cli,
    ):
        os.chmod(folder, 0o755)
        cli("pull", "-q", "busybox")
        node = f"{folder}/zero"
        os.mknod(node, 0o666 | 0o020000, os.makedev(1, 5))
        os.chmod(node, 0o666)
        done = cli.run(
            "run", "--rm", "--device", f"{node}:/dev/mine:r", *BOX, "busybox", "head", "-c", "3", "/dev/mine"
        )
        assert done.stdout == "\0\0\0"
        assert "no device cgroup can limit it here" in done.stderr
        os.chmod(node, 0o600)
        failed = cli.run("run", "--rm", "--device", f"{node}:/dev/mine", *BOX, "cat", "/dev/mine", code=1)
        assert "Permission denied" in failed.stderr
        cli("run", "-d", "--name", "one", *BOX, *FOREVER)
        assert "for root only" in cli.error("run", "--rm", "--network", "container:one", "busybox", "echo")
        cli("rm", "-f", "one")


@RUNTIMES
def test_the_network_of_another_container(box: Cli, runtime: str) -> None:
    serve = "busybox mkdir /w; echo served > /w/index.html; exec busybox httpd -f -p 80 -h /w"
    box("run", "-d", "--name", "web", "--add-host", "db:10.9.8.7", "busybox", "sh", "-c", serve)
    script = (
        "until busybox wget -q -O - http://127.0.0.1/; do busybox sleep 0.1; done; busybox hostname; cat /etc/hosts;"
        "readlink /proc/self/ns/net".replace("readlink", "busybox readlink")
    )
    out = box(
        "run", "--rm", "--runtime", runtime, "--network", "container:web", "busybox", "sh", "-c", script
    )
    web = box("inspect", "-f", "{{.Id}}", "web").strip()
    pid = box("inspect", "-f", "{{.State.Pid}}", "web").strip()
    assert out.splitlines()[:2] == ["served", web[:12]]
    assert "10.9.8.7\tdb\n" in out
    assert out.splitlines()[-1] == os.readlink(f"/proc/{pid}/ns/net")
    box("create", "--name", "side", "--network", f"container:{web[:12]}", "busybox", "echo", "ran")
    assert box("inspect", "-f", "{{.HostConfig.NetworkMode}}", "side") == f"container:{web}\n"
    assert box("start", "-a", "side") == "ran\n"
    box("stop", "-t", "0", "web")
    assert "a container that does not run: web" in box.error("start", "side")
    box("start", "web")  # another namespace than before
    assert box("start", "-a", "side") == "ran\n"
    box("rm", "-f", "web")
    assert "there is no such container any more" in box.error("start", "side")


def test_what_another_one_s_network_leaves_no_room_for(box: Cli) -> None:
    box("run", "-d", "--name", "one", *BOX, *FOREVER)
    run = ("run", "--rm", "--network", "container:one")
    for option, what in (
        (("-p", "80:80"), "port publishing"),
        (("-h", "x"), "hostname"),
        (("--dns", "1.1.1.1"), "dns"),
        (("--add-host", "a:1.1.1.1"), "custom host-to-IP mapping"),
    ):
        error = box.error(*run, *option, "busybox", "echo")
        assert error == f"Error: conflicting options: {what} and the container type network mode"
    assert "No such container: two" in box.error(
        "run", "--rm", "--network", "container:two", "busybox", "echo"
    )


@RUNTIMES
def test_the_processes_of_another_container(box: Cli, runtime: str) -> None:
    box("run", "-d", "--name", "one", *BOX, *FOREVER)
    look = (
        "--pid",
        "container:one",
        "--rm",
        *BOX,
        "sh",
        "-c",
        "busybox cat /proc/1/cmdline; busybox sleep 60 & echo $$",
    )
    out = box("run", "--runtime", runtime, *look)
    assert "trap" in out
    assert out.splitlines()[-1] != "1"
    assert box("top", "one", "-eo", "pid,args").count("sleep 60") == 0
    assert "invalid PID mode" in box.error("run", "--pid", "other", *BOX, "echo")
    box("exec", "one", "busybox", "true")


def test_name_servers(box: Cli) -> None:
    options = (
        "--dns",
        "9.9.9.9",
        "--dns-search",
        "a.example",
        "--dns-search",
        "b.example",
        "--dns-option",
        "ndots:3",
    )
    out = box("run", "--rm", *options, *BOX, "cat", "/etc/resolv.conf").splitlines()
    assert out[-3:] == ["search a.example b.example", "options ndots:3", "nameserver 9.9.9.9"]
    assert sum(line.startswith(("search", "domain", "options")) for line in out) == 2
    assert "search" not in box("run", "--rm", "--dns-search", ".", *BOX, "cat", "/etc/resolv.conf")


def test_the_host_has_a_name(box: Cli) -> None:
    script = "busybox ip route | busybox grep default; cat /etc/hosts"
    out = box("run", "--rm", "--add-host", "host.docker.internal:host-gateway", "busybox", "sh", "-c", script)
    gateway = out.splitlines()[0].split()[2]
    assert f"{gateway}\thost.docker.internal\n" in out


def test_patience_is_the_container_s(box: Cli) -> None:
    slow = ("sh", "-c", "trap 'busybox sleep 2; exit 3' TERM; while :; do busybox sleep 0.1; done")
    for timeout, stop, code in (("0", (), 137), ("60", (), 3), ("0", ("-t", "60"), 3)):
        box("run", "-d", "--name", "slow", "--stop-timeout", timeout, *BOX, *slow)
        box("stop", *stop, "slow")
        shown = "{{.State.ExitCode}} {{.Config.StopTimeout}}"
        assert box("inspect", "-f", shown, "slow") == f"{code} {timeout}\n"
        box("rm", "slow")


def test_a_variable_without_a_value_is_the_caller_s(box: Cli) -> None:
    out = box(
        "run",
        "--rm",
        "-e",
        "MINE",
        "-e",
        "NONE",
        *BOX,
        "sh",
        "-c",
        "echo ${MINE-unset} ${NONE-unset}",
        MINE="a b",
    )
    assert out == "a b unset\n"


def test_a_volume_is_shown_with_its_directory(box: Cli) -> None:
    box("create", "--name", "vv", "-v", "data:/d", *BOX, "echo")
    (found,) = json.loads(box("inspect", "-f", "{{json .Mounts}}", "vv"))
    assert (found["Name"], found["Source"]) == ("data", str(box.root / "volumes/data"))
