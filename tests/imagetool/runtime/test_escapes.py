"""Ways out of a container that others had, each closed: remove the guard and its test fails."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import resource
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from imagetool.errors import ImageToolError, UsageError
from imagetool.runtime import cgroups, devices, inroot, linux, users
from imagetool.runtime.errors import SandboxError
from imagetool.runtime.options import ImageDefaults, Mount, Resources
from tests.imagetool.runtime.kit import ID, NO_STDIO, Runner
from tests.support.process import wait_until

_PTRACE_SEIZE = 0x4206

pytestmark = pytest.mark.timeout(60)


def test_working_directory_through_a_descriptor(runner: Runner, tmp_path: Path) -> None:
    """A directory of the host as the standard input must not become the working directory."""
    outside = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(SandboxError, match="outside the container"):
            runner.run("ls", stdin=outside, workdir="/proc/self/fd/0")
    finally:
        os.close(outside)


@pytest.mark.parametrize("number", range(3, 12))
def test_no_descriptor_of_the_host_is_reachable(either: Runner, number: int) -> None:
    with pytest.raises(ImageToolError):
        either.run("ls", workdir=f"/proc/self/fd/{number}")


def test_inherited_descriptors_are_closed(runner: Runner, tmp_path: Path) -> None:
    leaked = os.open(tmp_path, os.O_RDONLY)
    os.set_inheritable(leaked, True)
    try:
        assert runner.run("sh", "-c", "ls /proc/self/fd | wc -l").out == "4\n"
        runner.prepare("sleep", "60")
        with runner.created() as container:
            container.start()
            assert runner.join(container, "sh", "-c", "ls /proc/self/fd | wc -l").out == "4\n"
    finally:
        os.close(leaked)


def test_a_caller_with_few_descriptors(runner: Runner) -> None:
    """The helper's own numbers are the lowest: what the caller has there must not be overwritten before use."""
    runner.prepare("sh", "-c", "ls /proc/self/fd | wc -l | grep -qx 4")
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.closerange(3, 256)
            with runner.created() as container:
                container.start()
                code = container.wait()
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0


def test_devices_of_the_host_keep_their_mode_and_owner(either: Runner) -> None:
    """Those that every container has are its own; those that stand for masked files, or are asked for, are fixed."""
    asked = devices.nodes(devices.parse("/dev/urandom:/dev/asked"))
    shown = ("/dev/full", "/dev/zero", "/dev/asked", "/proc/timer_list")
    script = f"chgrp 7 {' '.join(shown)}; ls -ln /dev/full; echo x >/dev/asked && echo x >/dev/zero && echo written"
    nodes = [Path(name) for name in ("/dev/full", "/dev/zero", "/dev/urandom", "/dev/null")]
    before = [(node.stat().st_mode, node.stat().st_gid) for node in nodes]
    try:
        result = either.run("sh", "-c", script, host={"devices": tuple(asked)})
        assert [(node.stat().st_mode, node.stat().st_gid) for node in nodes] == before
    finally:
        for node, (_, group) in zip(nodes, before, strict=True):
            os.chown(node, -1, group)
    assert result.out.split()[:4] == ["crw-rw-rw-", "1", "0", "7"]
    assert result.out.endswith("written\n")


def test_environment_does_not_leak(either: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_THE_HOST", "1234")
    assert "SECRET" not in either.run("env").out
    assert "SECRET" not in either.run("cat", "/proc/1/environ").out


def test_the_waiting_process_has_no_secrets(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_THE_HOST", "1234")
    runner.prepare("true")
    with runner.created() as container:
        assert b"SECRET" not in Path(f"/proc/{container.pid}/environ").read_bytes()
        targets = {
            os.readlink(f"/proc/{container.pid}/fd/{n}").split(":")[0] for n in _descriptors(container.pid)
        }
        assert targets == {"/dev/null", "socket"}
        container.start()
        container.wait()


@pytest.mark.parametrize("name", ["proc", "sys", "dev"])
def test_a_link_in_place_of_a_system_directory(
    runner: Runner, rootfs: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / "target").mkdir()
    (rootfs / "elsewhere").mkdir()
    (rootfs / name).symlink_to("/elsewhere")
    with pytest.raises(SandboxError, match=rf"mounting \w+ on /{name}: a symbolic link"):
        runner.run("true")
    assert os.listdir(rootfs / "elsewhere") == []


def test_a_link_below_dev(runner: Runner, rootfs: Path, tmp_path: Path) -> None:
    """The image's /dev is covered by a fresh one: what it has prepared there is not used."""
    (rootfs / "dev").mkdir()
    (rootfs / "dev/pts").symlink_to(tmp_path)
    (rootfs / "dev/shm").symlink_to("/etc")
    assert runner.run("sh", "-c", "ls /etc; test -L /dev/shm || echo real").out == "group\npasswd\nreal\n"


def test_links_that_point_out_of_the_root(either: Runner, rootfs: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "f").write_text("host")
    (rootfs / "out").symlink_to("../../../../../../../../" + str(secret))
    (rootfs / "abs").symlink_to(secret)
    volume = tmp_path / "volume"
    volume.mkdir()
    for number, target in enumerate(("/out/x", "/abs/y")):
        with suppress(ImageToolError):  # crun refuses a link that dangles
            either.run("true", mounts=(Mount("bind", str(volume), target),))
        assert sorted(os.listdir(secret)) == ["f"], number


@pytest.mark.parametrize("target", ["/proc", "/proc/sys", "/proc/self/attr"])
def test_no_volume_on_proc(runner: Runner, tmp_path: Path, target: str) -> None:
    with pytest.raises(UsageError, match="cannot mount on"):
        runner.prepare("true", mounts=(Mount("bind", str(tmp_path), target),))


def test_no_volume_on_proc_through_a_link(runner: Runner, rootfs: Path, tmp_path: Path) -> None:
    (tmp_path / "v").mkdir()
    (rootfs / "data").symlink_to("/proc")
    (rootfs / "deep").symlink_to("/proc/sys")
    for target in ("/data", "/deep", "/data/self/attr"):
        for kind in ("bind", "tmpfs"):
            with pytest.raises(SandboxError, match="into /proc"):
                runner.run("true", mounts=(Mount(kind, str(tmp_path / "v"), target),))


@pytest.mark.parametrize(
    ("place", "name", "terminal"),
    [
        ("/dev", "null", False),
        ("/dev", "pts", True),
        ("/dev", "console", True),
        ("/sys", "firmware", False),
    ],
)
def test_a_link_in_a_volume_in_place_of_a_system_directory(
    runner: Runner, tmp_path: Path, place: str, name: str, terminal: bool
) -> None:
    """What goes below a system directory goes there, and covers nothing else of the container's."""
    volume = tmp_path / "volume"
    volume.mkdir()
    (volume / name).symlink_to("/srv")
    with pytest.raises(SandboxError, match="a symbolic link is in the way"):
        runner.run("true", tty=terminal, mounts=(Mount("bind", str(volume), place),))


def test_no_mount_reaches_the_host(runner: Runner) -> None:
    """Neither the container's own mounts nor those that it makes, where the host's mounts are shared ones."""
    runner.prepare("sh", "-c", "mount -t tmpfs seen /tmp && touch /ready && sleep 60", cap_add=("SYS_ADMIN",))
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            linux.unshare(linux.CLONE_NEWNS)
            here = os.open("/", os.O_PATH)
            linux.set_mount(here, propagation=linux.MS_PRIVATE, recursive=True)
            place = os.open(runner.rootfs, os.O_PATH)
            linux.attach(linux.clone_tree(os.fsencode(runner.rootfs)), place)
            linux.set_mount(here, propagation=linux.MS_SHARED, recursive=True)
            before = Path("/proc/self/mountinfo").read_text()
            with runner.created() as container:
                container.start()
                wait_until((runner.rootfs / "ready").exists, 20, "the container's mount")
                code = 0 if Path("/proc/self/mountinfo").read_text() == before else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_no_module_is_imported_from_the_image(runner: Runner, rootfs: Path) -> None:
    """The image has the interpreter's own library directory: nothing in it may be executed."""
    library = Path(os.__file__).parent
    trap = rootfs / str(library).lstrip("/")
    trap.mkdir(parents=True)
    for name in (
        "contextlib",
        "traceback",
        "encodings",
        "signal",
        "re",
        "enum",
        "typing",
        "warnings",
        "linecache",
    ):
        (trap / f"{name}.py").write_text("open('/trapped', 'w')\n")
    for command in (["true"], ["missing"]):
        try:
            runner.run(*command, init=True)
        except SandboxError:
            continue
    assert not (rootfs / "trapped").exists()


def test_the_interpreter_cannot_be_written_to(runner: Runner) -> None:
    """What /proc/PID/exe of the waiting process leads to is read-only for everybody (else: the host's Python)."""
    runner.prepare("true")
    with runner.created() as container:
        with pytest.raises(OSError, match=r"Read-only|busy|not permitted"):
            os.close(os.open(f"/proc/{container.pid}/exe", os.O_WRONLY))
        mounted = os.statvfs(f"/proc/{container.pid}/exe")
        assert mounted.f_flag & os.ST_RDONLY
        container.start()
        container.wait()


def test_a_joining_process_cannot_be_traced(runner: Runner, rootfs: Path) -> None:
    """Until it has become the command it holds what is the host's; root of the container's own user namespace
    may trace everything else in there."""
    ids = ((0, 100_000, 65_536),)
    os.chown(rootfs, 100_000, 100_000)
    for parent in (rootfs, *rootfs.parents[:-1]):
        parent.chmod(parent.stat().st_mode | 0o055)
    spec = runner.prepare(
        "sleep",
        "60",
        cap_add=("ALL",),
        host={"uid_map": ids, "gid_map": ids, "cgroup_version": 0, "rootless": True},
    ).spec
    with runner.created() as container:
        container.start()
        joining = runner.executor.join(runner.bundle, ID, container.pid, spec["process"], NO_STDIO)
        try:
            status = Path(f"/proc/{joining.pid}/status").read_text()
            inner = re.search(r"NSpid:.*\t(\d+)", status)
            assert inner
            script = f"ls /proc/{inner[1]}/fd/; cat /proc/{inner[1]}/environ"
            result = runner.join(container, "sh", "-c", script)
            assert _traced_from_inside(container.pid, joining.pid) == errno.EPERM
        finally:
            joining.abandon()
    assert result.out == ""
    assert result.err.count("ermission denied") == 2


def test_nothing_can_be_imported_any_more() -> None:
    """After the change of root the module path would name the image's files: it is forgotten before anything else."""
    root = Path(__file__).parents[3]
    script = f"import sys; sys.path.insert(0, {str(root)!r}); from imagetool.runtime import entry; "
    script += "entry._enter_namespaces = lambda request: __import__('colorsys'); "
    script += "entry._become({'init': False, 'process': {'oom_score_adj': None}})"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True, check=False
    )
    assert "ModuleNotFoundError: No module named 'colorsys'" in done.stderr


@pytest.mark.parametrize("isolation", ["namespace", "chroot"])
def test_host_files_are_out_of_reach_by_chroot(runner: Runner, isolation: str) -> None:
    """CAP_SYS_CHROOT is in the default set: who calls chroot(2) and stays outside can climb, but not to the host."""
    runner.prepare("sleep", "60", isolation=isolation, host={"cgroup_version": 0})
    with runner.created() as container:
        container.start()
        assert _climbed(container.pid, runner.rootfs) == 0


def test_a_working_directory_behind_a_link(runner: Runner, rootfs: Path, tmp_path: Path) -> None:
    """It is made, and not where the link leads on the host."""
    (tmp_path / "outside").mkdir()
    (rootfs / "way").symlink_to(tmp_path / "outside")
    assert runner.run("pwd", workdir="/way/made").out == f"{tmp_path}/outside/made\n"
    assert os.listdir(tmp_path / "outside") == []


def test_old_root_is_not_mounted(either: Runner) -> None:
    table = either.run("cat", "/proc/self/mountinfo", resources=Resources(memory=64 << 20))
    rows = [line.split() for line in table.out.splitlines()]
    assert [row[4] for row in rows].count("/") == 1
    assert not [row for row in rows if row[4].startswith(("/var", "/mnt"))]
    groups = [row for row in rows if row[4].startswith("/sys/fs/cgroup/")]  # its own, read-only
    assert {(row[3], row[5].split(",")[0]) for row in groups} == {("/", "ro")}


def test_no_cgroup_of_the_host_s_is_seen(runner: Runner) -> None:
    """Hierarchies without a cgroup of the container's own would show the host's."""
    listed = runner.run("sh", "-c", "cd /sys/fs/cgroup && ls && cat */cgroup.procs && ls -d */*/")
    assert set(listed.out.split()) <= {*cgroups.V1, "0", "1", "2", "3"}
    assert {"memory", "pids"} <= set(listed.out.split())
    assert "Read-only file system" in runner.run("touch", "/sys/fs/cgroup/x").err


def test_devices_in_the_image_are_dead(runner: Runner, rootfs: Path) -> None:
    os.mknod(rootfs / "kmsg", 0o20666, os.makedev(1, 11))
    result = runner.run("head", "-c1", "/kmsg", host={"cgroup_version": 0})
    assert result.code != 0
    assert "ermission denied" in result.err


def test_the_right_to_mount_gives_no_devices(either: Runner) -> None:
    """On a file system of its own, without nodev, a made device is still refused: by the device cgroup."""
    script = "mount -t tmpfs -o dev t /tmp && mknod /tmp/kmsg c 1 11 && head -c1 /tmp/kmsg"
    result = either.run("sh", "-c", script, cap_add=("SYS_ADMIN",))
    assert "not permitted" in result.err
    assert "mknod" not in result.err


def test_sysctls_of_the_host_stay(runner: Runner) -> None:
    for name in ("kernel.core_pattern", "vm.swappiness", "net/../kernel/core_pattern", "net.ipv4/ip_forward"):
        with pytest.raises(UsageError, match="not one that the container has for itself"):
            runner.prepare("true", sysctls=((name, "x"),))
    with pytest.raises(UsageError):
        runner.prepare("true", sysctls=(("net.ipv4.ip_forward", "1"),), network="host")


class TestAccounts:
    """/etc/passwd and /etc/group belong to the image."""

    def test_a_link_to_the_hosts_file(self, rootfs: Path, tmp_path: Path) -> None:
        (tmp_path / "passwd").write_text("web:x:0:0::/:\n")
        (rootfs / "etc/passwd").unlink()
        (rootfs / "etc/passwd").symlink_to(tmp_path / "passwd")
        assert self.read(rootfs) == b""

    def test_a_climbing_link(self, rootfs: Path) -> None:
        (rootfs / "etc/passwd").unlink()
        (rootfs / "etc/passwd").symlink_to("../../../../../../../../../etc/passwd")
        with pytest.raises(OSError, match="symbolic link"):
            self.read(rootfs)

    def test_a_link_inside_is_followed(self, rootfs: Path) -> None:
        (rootfs / "etc/passwd").rename(rootfs / "srv/accounts")
        (rootfs / "etc/passwd").symlink_to("/srv/accounts")
        assert b"web" in self.read(rootfs)

    def test_a_pipe_does_not_hang(self, rootfs: Path) -> None:
        (rootfs / "etc/passwd").unlink()
        os.mkfifo(rootfs / "etc/passwd")
        with pytest.raises(OSError, match="not a regular file"):
            self.read(rootfs)

    def test_a_device_is_not_read(self, rootfs: Path) -> None:
        (rootfs / "etc/passwd").unlink()
        os.mknod(rootfs / "etc/passwd", 0o20666, os.makedev(1, 5))
        with pytest.raises(OSError, match="not a regular file"):
            self.read(rootfs)

    def test_a_file_of_the_kernel_s_that_waits_does_not_hang(self) -> None:
        """/proc/kmsg calls itself a regular file."""
        root = os.open("/", os.O_PATH | os.O_DIRECTORY)
        try:
            for _ in range(2):  # at the second time at the latest nothing is in it
                inroot.read_in_root(root, "proc/kmsg", users.FILE_MAX)
        finally:
            os.close(root)

    @pytest.mark.parametrize("size", [users.FILE_MAX + 1, 1 << 42])
    def test_a_huge_file_is_refused(self, rootfs: Path, size: int) -> None:
        os.truncate(rootfs / "etc/passwd", size)
        with pytest.raises(OSError, match="larger than"):
            self.read(rootfs)

    def test_a_loop_ends(self, rootfs: Path) -> None:
        (rootfs / "etc/passwd").unlink()
        (rootfs / "etc/passwd").symlink_to("passwd")
        with pytest.raises(OSError, match="symbolic link"):
            self.read(rootfs)

    def read(self, rootfs: Path) -> bytes:
        root = os.open(rootfs, os.O_PATH | os.O_DIRECTORY)
        try:
            return inroot.read_in_root(root, "etc/passwd", users.FILE_MAX)
        finally:
            os.close(root)


def test_a_hostile_passwd_gives_no_root(either: Runner, rootfs: Path) -> None:
    """Numbers that wrap, or that are not numbers, are nobody's."""
    (rootfs / "etc/passwd").write_text(
        "a:x:4294967296:0::/:\nb:x:-1:0::/:\nc:x:0x0:0::/:\nd:x:\u0660:0::/:\n"
    )
    for name in "abcd":
        with pytest.raises(UsageError, match="unable to find user"):
            either.prepare("id", user=name)


def test_no_capability_survives_a_user(either: Runner) -> None:
    result = either.run("sh", "-c", "grep -E 'Cap(Eff|Prm|Amb)' /proc/self/status", user="12345")
    assert set(result.out.split()[1::2]) == {"0000000000000000"}


def test_limits_of_the_host_hold(runner: Runner) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert runner.run("sh", "-c", "ulimit -Sn; ulimit -Hn").out.split() == [str(soft), str(hard)]


def test_privileged_has_what_there_is(either: Runner) -> None:
    result = either.run(
        "sh", "-c", "grep CapEff /proc/self/status; mount -t tmpfs t /tmp && echo mounted", privileged=True
    )
    assert result.out.split()[1] == f"{either.host.capabilities:016x}"
    assert "mounted" in result.out


def test_an_image_without_a_shell_or_files(runner: Runner, rootfs: Path) -> None:
    for path in sorted(rootfs.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    with pytest.raises(SandboxError) as caught:
        runner.run(image=ImageDefaults(command=("/hello",)))
    assert caught.value.exit_code == 127


def _traced_from_inside(container: int, pid: int) -> int:
    """ptrace(2) by root of the container's user namespace, with every capability there: the errno, or 0."""
    attacker = os.fork()
    if attacker == 0:
        code = 255
        try:
            linux.setns(os.pidfd_open(container), linux.CLONE_NEWUSER)
            os.setresgid(0, 0, 0)
            os.setresuid(0, 0, 0)
            libc = ctypes.CDLL(None, use_errno=True)
            code = ctypes.get_errno() if libc.ptrace(_PTRACE_SEIZE, pid, None, None) < 0 else 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(attacker, 0)[1])


def _climbed(container: int, marker: Path) -> int:
    """Whether `marker`, a path of the host's, is below the top that a process with the container's root can reach."""
    climber = os.fork()
    if climber == 0:
        code = 255
        try:
            root = os.open(f"/proc/{container}/root", os.O_PATH)
            linux.setns(os.pidfd_open(container), linux.CLONE_NEWNS)
            os.fchdir(root)
            os.chroot(".")
            os.close(root)
            os.mkdir("jail")
            os.chroot("jail")
            for _ in range(30):
                os.chdir("..")
            code = int(os.path.exists(f".{marker}"))
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(climber, 0)[1])


def _descriptors(pid: int) -> list[str]:
    return os.listdir(f"/proc/{pid}/fd")
