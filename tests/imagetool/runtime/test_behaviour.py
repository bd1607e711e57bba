"""One table of behaviours for every executor: the same bundle, the same outcome."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest

from imagetool.runtime import cgroups, terminal
from imagetool.runtime.base import Stdio
from imagetool.runtime.errors import CommandNotFound, NotExecutable, SandboxError
from imagetool.runtime.options import ImageDefaults, Mount, Resources
from tests.imagetool.runtime.kit import CGROUP, ID, Runner, default_seccomp
from tests.support.process import wait_until

pytestmark = pytest.mark.timeout(60)


class Case(NamedTuple):
    """A shell script, the options it runs with, and a pattern that its whole output matches."""

    name: str
    script: str
    expected: str
    options: Mapping[str, Any] = MappingProxyType({})
    code: int = 0


DEFAULT_CAPS = "00000000a80425fb"
TABLE = [
    Case("exit code", "exit 7", "", code=7),
    Case("killed child", "sh -c 'kill -9 $$'; exit $?", "", code=137),
    Case("process 1", "echo $$", "1"),
    Case("own processes only", "ls /proc | grep -c '^[0-9]*$'", "[2-5]"),
    Case("host name is the short id", "hostname", ID[:12]),
    Case("chosen host name", "hostname", "web1", {"hostname": "web1"}),
    Case("nothing of the host's environment", "env | grep -v -E '^(SHLVL|PWD|_|OLDPWD)=' | sort",
         f"HOME=/root\nHOSTNAME={ID[:12]}\nPATH=[a-z/:]*"),
    Case("the image's environment, the user's over it", 'echo "$A $B"', "1 3",
         {"image": ImageDefaults(env=("A=1", "B=2")), "env": ("B=3",)}),
    Case("root", "id -u; id -g", "0\n0"),
    Case("user by name, with its groups", "id -u; id -g; id -G; echo $HOME", "101\n102\n102 50\n/srv", {"user": "web"}),
    Case("user and group by number", "id -u; id -g", "7\n8", {"user": "7:8"}),
    Case("working directory is made", "pwd; ls -ld .", "/a/b\ndrwxr-xr-x.*", {"workdir": "/a/b"}),
    Case("default capabilities", "grep CapEff /proc/self/status", f"CapEff:\t{DEFAULT_CAPS}"),
    Case("bounding set", "grep CapBnd /proc/self/status", f"CapBnd:\t{DEFAULT_CAPS}"),
    Case("a user has none", "grep -E 'Cap(Eff|Prm|Inh|Amb)' /proc/self/status",
         "(Cap...:\t0000000000000000\n?){4}", {"user": "web"}),
    Case("cap-drop ALL", "grep CapBnd /proc/self/status", "CapBnd:\t0000000000000000", {"cap_drop": ("ALL",)}),
    Case("cap-add", "grep CapEff /proc/self/status", "CapEff:\t0000000000001000",
         {"cap_drop": ("all",), "cap_add": ("net_admin",)}),
    Case("no_new_privs", "grep NoNewPrivs /proc/self/status", "NoNewPrivs:\t1", {"no_new_privileges": True}),
    Case("new privileges allowed", "grep NoNewPrivs /proc/self/status", "NoNewPrivs:\t0"),
    Case("umask", "umask", "0022"),
    Case("read-only root", "touch /x 2>&1", "touch: /x: Read-only file system", {"readonly": True}, 1),
    Case("writable root", "touch /x && ls /x", "/x"),
    Case("tmpfs", "df -k /scratch | tail -1 | tr -s ' ' | cut -d' ' -f2", "1024",
         {"mounts": (Mount("tmpfs", "", "/scratch", options=("size=1m",)),)}),
    Case("masked file", "wc -c < /proc/timer_list", "0"),
    Case("masked directory", "ls /sys/firmware", ""),
    Case("read-only /proc/sys", "echo x 2>&1 > /proc/sys/kernel/hostname", ".*Read-only file system", code=1),
    Case("read-only /sys", "mkdir /sys/fs/x 2>&1", ".*", code=1),
    Case("no network but loopback", "ls /sys/class/net; cat /sys/class/net/lo/operstate", "lo\nunknown"),
    Case("loopback answers", "ping -c1 -w5 127.0.0.1 >/dev/null && echo yes", "yes"),
    Case("ulimit", "ulimit -Sn; ulimit -Hn", "100\n200", {"ulimits": (("nofile", 100, 200),)}),
    Case("system calls are filtered", "grep Seccomp: /proc/self/status", "Seccomp:\t2", {"seccomp": default_seccomp()}),
    Case("no new namespaces", "unshare -m true 2>&1", ".*(Operation not permitted|Function not impl).*",
         {"seccomp": default_seccomp()}, 1),
    Case("threads and children under the filter", "ls | wc -l | grep -q . && echo yes", "yes",
         {"seccomp": default_seccomp()}),
    Case("/dev/null", "echo x > /dev/null; wc -c < /dev/null", "0"),
    Case("/dev is minimal", "ls -1 /dev | grep -v -E '^(console|core)$' | tr '\\n' ' '",
         "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero "),
    Case("/dev/zero", "head -c4 /dev/zero | wc -c", "4"),
    Case("a made device does not open", "mknod /tmp/d b 254 0 && head -c1 /tmp/d 2>&1", ".*(not permitted|denied).*",
         {}, 1),
    Case("shm size", "df -k /dev/shm | tail -1 | tr -s ' ' | cut -d' ' -f2", "2048", {"shm_size": 2 << 20}),
    Case("sysctl of its own", "cat /proc/sys/net/ipv4/ip_forward", "1", {"sysctls": (("net.ipv4.ip_forward", "1"),)}),
    Case("only the standard descriptors", "ls /proc/self/fd | wc -l", "4"),
    Case("no signal is ignored", "", "SigIgn:\t0000000[01]80000000|SigIgn:\t0000000000000000",
         {"_argv": ("grep", "SigIgn", "/proc/self/status")}),  # 32 and 33 are the C library's own
    Case("oom score", "cat /proc/self/oom_score_adj", "500", {"oom_score_adj": 500}),
    Case("process limit", "for i in 1 2 3 4 5 6 7 8; do sleep 1 & done 2>&1", ".*[Cc]an't fork.*",
         {"resources": Resources(pids=4)}, 2),
    Case("entrypoint and command", "", "a b", {"image": ImageDefaults(("echo", "a"), ("b",)), "_argv": ()}),
]  # fmt: skip


@pytest.mark.parametrize("case", TABLE, ids=lambda c: c.name)
def test_table(either: Runner, case: Case) -> None:
    options = dict(case.options)
    command = options.pop("_argv", ("sh", "-c", case.script))
    result = either.run(*command, **options)
    assert re.fullmatch(case.expected, result.out.rstrip("\n"), re.S), result
    assert result.code == case.code, result


def test_missing_command(either: Runner) -> None:
    with pytest.raises(CommandNotFound) as caught:
        either.run("python")
    assert str(caught.value) == "Container command 'python' not found or does not exist."
    assert caught.value.exit_code == 127


@pytest.mark.parametrize("command", ["/etc/passwd", "/etc"])
def test_not_executable(either: Runner, command: str) -> None:
    with pytest.raises(NotExecutable) as caught:
        either.run(command)
    assert caught.value.exit_code == 126


def test_stdin(either: Runner) -> None:
    reader, writer = os.pipe()
    os.write(writer, b"hello\n")
    os.close(writer)
    result = either.run("cat", stdin=reader)
    os.close(reader)
    assert result.out == "hello\n"


def test_bind_mounts(either: Runner, tmp_path: Path) -> None:
    shared, closed = tmp_path / "shared", tmp_path / "closed"
    shared.mkdir()
    closed.mkdir()
    mounts = (Mount("bind", str(shared), "/data/in"), Mount("bind", str(closed), "/ro", readonly=True))
    result = either.run("sh", "-c", "echo hi > /data/in/f; touch /ro/f", mounts=mounts)
    assert result.code == 1
    assert (shared / "f").read_text() == "hi\n"
    assert list(closed.iterdir()) == []


def test_a_file_is_mounted_on_a_file(either: Runner, tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("10.1.2.3 db\n")
    assert either.run("cat", "/etc/hosts", host={"files": {"/etc/hosts": str(hosts)}}).out == "10.1.2.3 db\n"


def test_a_mount_target_behind_a_link_stays_inside(either: Runner, rootfs: Path, tmp_path: Path) -> None:
    (rootfs / "run").mkdir()
    (rootfs / "var").mkdir()
    (rootfs / "var/run").symlink_to("/run")
    (tmp_path / "v").mkdir()
    (tmp_path / "v/f").write_text("volume")
    mounts = (Mount("bind", str(tmp_path / "v"), "/var/run/app"),)
    assert either.run("cat", "/run/app/f", mounts=mounts).out == "volume"


def test_signals_reach_the_command(either: Runner) -> None:
    script = "trap 'echo got; exit 3' TERM; echo ready; while :; do sleep 0.05; done"
    either.prepare("sh", "-c", script)
    reader, writer = os.pipe()
    with os.fdopen(reader) as lines, either.created(_stdout(writer)) as container:
        os.close(writer)
        container.start()
        assert lines.readline() == "ready\n"
        container.signal(signal.SIGTERM)
        assert container.wait() == 3
        assert lines.readline() == "got\n"


def test_killed(either: Runner) -> None:
    either.prepare("sleep", "60")
    with either.created() as container:
        container.start()
        assert container.poll() is None
        container.signal(signal.SIGKILL)
        assert container.wait() == 137


def test_it_waits_for_the_start(either: Runner, rootfs: Path) -> None:
    either.prepare("touch", "/started")
    with either.created() as container:
        time.sleep(0.2)
        assert not (rootfs / "started").exists()
        container.start()
        assert container.wait() == 0
    assert (rootfs / "started").exists()


def test_limits_are_in_the_cgroup(either: Runner) -> None:
    assert cgroups.version() == 1
    limits = Resources(memory=64 << 20, nano_cpus=500_000_000, cpu_shares=512, pids=50)
    either.prepare("sleep", "60", resources=limits)
    with either.created() as container:
        container.start()
        expected = {
            "memory/{}/memory.limit_in_bytes": str(64 << 20),
            "cpu/{}/cpu.cfs_quota_us": "50000",
            "cpu/{}/cpu.shares": "512",
            "pids/{}/pids.max": "50",
        }
        for file, text in expected.items():
            assert Path("/sys/fs/cgroup", file.format(f"{CGROUP[1:]}/{ID}")).read_text().strip() == text
        assert container.pid in cgroups.Cgroup(f"{CGROUP}/{ID}").pids()


def test_what_begins_early_is_in_the_cgroup_and_what_is_given_up_leaves_none(runner: Runner) -> None:
    path, executor = f"{CGROUP}/{ID}", runner.executor
    executor.begin(Stdio(), path)
    wait_until(lambda: cgroups.Cgroup(path).pids(), 10, "the helper in its cgroup")
    (begun,) = cgroups.Cgroup(path).pids()
    runner.prepare("sleep", "60", resources=Resources(pids=50))
    with runner.created() as container:
        container.start()
        assert container.pid in cgroups.Cgroup(path).pids()
        assert Path(f"/sys/fs/cgroup/pids/{path}/pids.max").read_text() == "50\n"
    executor.begin(Stdio(), path)
    executor.give_up()
    assert not os.path.exists(f"/proc/{begun}")
    assert not any(os.path.exists(each) for each in cgroups.Cgroup(path).directories())


def test_a_cgroup_that_takes_nobody_is_named(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups.Cgroup, "directories", lambda _: ["/proc/nowhere"])
    monkeypatch.setattr(cgroups.Cgroup, "create", lambda path, _: cgroups.Cgroup(path))
    runner.executor.begin(Stdio(), f"{CGROUP}/{ID}")
    with pytest.raises(SandboxError, match=r"entering the cgroup failed: /proc/nowhere/cgroup\.procs"):
        runner.run("true")


def test_a_container_sees_its_limits_and_changes_none(either: Runner) -> None:
    script = "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes pids/pids.max; echo 7 > pids/pids.max; mkdir cpu/x"
    result = either.run("sh", "-c", script, resources=Resources(memory=64 << 20, pids=50))
    assert result.out == f"{64 << 20}\n50\n"
    assert result.err.count("Read-only file system") == 2


def test_controllers_that_are_mounted_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As systemd has them: one directory, and a link to it for each."""
    together = tmp_path / "cpu,cpuacct"
    together.mkdir()
    for name in ("cpu", "cpuacct"):
        (tmp_path / name).symlink_to("cpu,cpuacct")
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", together], check=True)
    try:
        monkeypatch.setattr(cgroups, "ROOT", str(tmp_path))
        group = cgroups.Cgroup.create("/imagetool/x", {"cpu": {"shares": 512}})
        assert group.directories() == [f"{tmp_path}/{name}/imagetool/x" for name in ("cpu", "cpuacct")]
        assert (together / "imagetool/x/cpu.shares").read_text() == "512"
        (together / "imagetool/x/cpu.shares").unlink()
        group.remove()
        assert list(together.iterdir()) == []
    finally:
        subprocess.run(["umount", together], check=True)


def test_memory_limit_kills(either: Runner) -> None:
    result = either.run(
        "sh", "-c", "head -c 64m /dev/zero | tail | wc -c", resources=Resources(memory=16 << 20)
    )
    assert result.out.strip() in ("0", "")


def test_terminal(either: Runner) -> None:
    either.prepare(
        "sh",
        "-c",
        "tty; stty size; test -t 0 && test -t 1 && test -t 2 && echo all; ls -l /dev/console",
        tty=True,
    )
    with either.created() as container:
        assert container.console is not None
        terminal.set_size(container.console, 33, 99)
        container.start()
        reader, writer = os.pipe()
        assert terminal.copy(container.console, -1, writer, terminal.DetachKeys()) == terminal.Ended(False)
        os.close(writer)
        with os.fdopen(reader) as file:
            lines = file.read().splitlines()
        assert container.wait() == 0
    assert lines[0].startswith("/dev/pts/") or lines[0] == "/dev/console"
    assert lines[1:3] == ["33 99", "all"]
    assert lines[3].startswith("c")


def test_control_c_reaches_the_terminals_process(either: Runner) -> None:
    either.prepare("sh", "-c", "trap 'exit 5' INT; echo ready; while :; do sleep 0.05; done", tty=True)
    with either.created() as container:
        container.start()
        assert container.console is not None
        assert os.read(container.console, 100).startswith(b"ready")
        os.write(container.console, b"\x03")  # the terminal's line discipline makes SIGINT of it
        assert container.wait() == 5


def test_another_process_joins(either: Runner) -> None:
    either.prepare("sh", "-c", "cd /tmp; sleep 60 & wait", user="web", hostname="joined")
    with either.created() as container:
        container.start()
        script = "hostname; id -u; grep CapBnd /proc/self/status; cat /proc/1/comm; ls /proc/self/fd | wc -l"
        result = either.join(container, "sh", "-c", script)
        assert result.out.splitlines() == ["joined", "101", f"CapBnd:\t{DEFAULT_CAPS}", "sh", "4"]
        assert either.join(container, "sh", "-c", "exit 9").code == 9
        with pytest.raises(CommandNotFound):
            either.join(container, "nothing")


def test_a_joined_process_has_the_containers_limits(either: Runner) -> None:
    either.prepare("sleep", "60", resources=Resources(pids=20))
    with either.created() as container:
        container.start()
        result = either.join(container, "sh", "-c", "for i in $(seq 30); do sleep 1 & done 2>&1")
        assert "fork" in result.out


def test_everything_dies_with_process_1(either: Runner) -> None:
    seconds = str(10_000_000 + os.getpid())
    either.prepare("sh", "-c", f"sleep {seconds} & exit 0")
    with either.created() as container:
        container.start()
        assert container.wait() == 0
        time.sleep(0.1)
        assert seconds not in _commands()


def test_twenty_at_once(either: Runner) -> None:
    either.prepare("sleep", "60")
    made = []
    try:
        for number in range(20):
            spec = either.prepare("sleep", "60", host={"cgroup_path": f"{CGROUP}/many{number}"}).spec
            bundle = either.bundle / str(number)
            bundle.mkdir()
            spec["root"]["path"] = str(either.rootfs)
            either.write(spec)
            (either.bundle / "config.json").rename(bundle / "config.json")
            made.append(
                (bundle, f"many{number}", either.executor.create(bundle, f"many{number}", _stdout(-1)))
            )
        for _, _, container in made:
            container.start()
        assert [c.poll() for _, _, c in made] == [None] * 20
    finally:
        for bundle, name, container in made:
            container.abandon()
            either.executor.delete(bundle, name)


def test_a_failed_set_up_leaves_nothing(either: Runner) -> None:
    either.prepare("true", mounts=(Mount("bind", "/nowhere/at/all", "/x"),))
    with pytest.raises(SandboxError) as caught:
        either.executor.create(either.bundle, ID, _stdout(-1))
    assert caught.value.exit_code == 125
    assert "/x" in str(caught.value) or "/nowhere/at/all" in str(caught.value)


def _stdout(fd: int) -> Stdio:
    return Stdio(-1, fd, fd)


def _commands() -> list[str]:
    words = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words += entry.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
    return words
