"""Guards that no way out is known without, each with what it keeps from happening."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
from contextlib import suppress
from pathlib import Path

import pytest

from imagetool.runtime import linux, rootfs, sandbox, sealed, users, wire
from imagetool.runtime.base import Stdio
from imagetool.runtime.cgroups import Cgroup
from imagetool.runtime.errors import SandboxError
from imagetool.runtime.options import Mount
from tests.imagetool.runtime.kit import ID, NO_STDIO, Runner
from tests.imagetool.runtime.test_escapes import _traced_from_inside
from tests.support.command import has_ended
from tests.support.process import wait_until

pytestmark = pytest.mark.timeout(60)


def options_of(table: str, target: str) -> set[str]:
    """Of the mount on `target` in a mountinfo."""
    return next(set(row.split()[5].split(",")) for row in table.splitlines() if row.split()[4] == target)


def test_no_device_of_a_volume_opens(runner: Runner, tmp_path: Path) -> None:
    os.mknod(tmp_path / "kmsg", 0o20666, os.makedev(1, 11))
    volume = Mount("bind", str(tmp_path), "/volume")
    result = runner.run("head", "-c1", "/volume/kmsg", mounts=(volume,), host={"cgroup_version": 0})
    assert "ermission denied" in result.err


def test_what_may_be_done_on_the_system_s_mounts(either: Runner) -> None:
    table = either.run("cat", "/proc/self/mountinfo", mounts=(Mount("tmpfs", "", "/scratch"),)).out
    sealed_off = {"nosuid", "nodev", "noexec"}
    for target in ("/proc", "/dev/shm", "/dev/mqueue", "/scratch", "/sys"):
        assert options_of(table, target) >= sealed_off, target
    assert "nosuid" in options_of(table, "/dev")
    for target in ("/sys", "/sys/firmware", "/proc/acpi"):
        assert "ro" in options_of(table, target), target


@pytest.mark.parametrize("inside", ["/volume", "/srv"])
def test_what_is_mounted_later_is_not_seen(runner: Runner, tmp_path: Path, inside: str) -> None:
    """Whatever the host mounts afterwards below a volume, or the root, stays the host's, shared or not."""
    place = tmp_path if inside == "/volume" else runner.rootfs / "srv"
    (place / "later").mkdir()
    script = f"touch {inside}/ready; while test -e {inside}/ready; do sleep 0.05; done; ls {inside}/later"
    runner.prepare("sh", "-c", script, mounts=(Mount("bind", str(tmp_path), "/volume"),))
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            linux.unshare(linux.CLONE_NEWNS)
            here = os.open("/", os.O_PATH)
            linux.set_mount(here, propagation=linux.MS_PRIVATE, recursive=True)
            linux.set_mount(here, propagation=linux.MS_SHARED, recursive=True)
            with (
                (tmp_path / "out").open("wb") as out,
                runner.created(Stdio(-1, out.fileno(), -1)) as container,
            ):
                container.start()
                wait_until((place / "ready").exists, 20, "the container")
                tree = linux.new_filesystem(b"tmpfs", [])
                linux.attach(tree, os.open(place / "later", os.O_PATH))
                (place / "later/seen").touch()
                (place / "ready").unlink()
                container.wait()
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert (tmp_path / "out").read_text() == ""


def test_who_ends_with_the_caller_does_so_at_any_moment(runner: Runner) -> None:
    """Also when the caller ends after the start, and before the kernel has been told to send a signal then."""
    made = runner.prepare("sleep", "1000")
    made.spec["annotations"]["imagetool.ends-with"] = "caller"
    runner.write(made.spec)
    reader, writer = os.pipe()
    caller = os.fork()
    if caller == 0:
        try:
            container = runner.executor.create(runner.bundle, ID, NO_STDIO)
            assert isinstance(container, sandbox._Child)
            os.kill(container.pid, signal.SIGSTOP)
            wire.send(container._channel.fileno(), ("start",))
            os.write(writer, str(container.pid).encode())
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(caller, 0)
    pid = int(os.read(reader, 20))
    os.close(reader)
    try:
        os.kill(pid, signal.SIGCONT)
        wait_until(lambda: has_ended(pid), 10, "the end of the command")
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        runner.executor.delete(runner.bundle, ID)


def test_a_waiting_process_cannot_be_traced_in_its_user_namespace(runner: Runner) -> None:
    """Where no id changes on the way in, the kernel alone would allow it."""
    ids = ((0, 0, 65_536),)
    host = {"uid_map": ids, "gid_map": ids, "cgroup_version": 0, "rootless": True}
    runner.prepare("true", host=host)
    with runner.created() as container:
        assert _traced_from_inside(container.pid, container.pid) == errno.EPERM
        container.start()
        container.wait()


def test_the_copy_of_an_interpreter_is_sealed() -> None:
    """For who may not copy mounts: nobody can write to what /proc/PID/exe leads to."""
    fd = sealed._copy("/bin/true")
    try:
        assert os.pread(fd, 4, 0) == b"\x7fELF"
        with pytest.raises(PermissionError):
            os.pwrite(fd, b"x", 0)
        with pytest.raises(PermissionError):
            os.ftruncate(fd, 0)
        with pytest.raises(PermissionError):
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, 0)
    finally:
        os.close(fd)


def test_a_file_of_the_caller_s_is_not_given_to_the_user(runner: Runner) -> None:
    """Pipes are, so that he may open /dev/stdout; the caller's /dev/null would be, too."""
    assert runner.run("echo", "said", user="101").out == "said\n"
    assert {(runner.bundle / name).stat().st_uid for name in ("out", "err")} == {os.getuid()}


@pytest.mark.parametrize("path", ["/imagetool/../system", "imagetool", ".."])
def test_a_cgroup_is_below_the_hierarchy(path: str) -> None:
    with pytest.raises(SandboxError, match="absolute and plain"):
        Cgroup(path)


def test_a_group_file_gives_no_more_groups_than_the_kernel_takes() -> None:
    group = "".join(f"g{n}:x:{n}:web\n" for n in range(1, 70_000)).encode()
    found = users.resolve("web", b"web:x:7:7::/:\n", group)
    assert len(found.groups) == 65_536
    assert len(set(found.groups)) == 65_536


@pytest.mark.parametrize("gid", ["-1", "4294967296", "2147483648", "0x0", "\u0660", "", " 0 0"])
def test_a_hostile_group_file_gives_no_group(gid: str) -> None:
    rows = f"bad:x:{gid}:web\n".encode()
    assert users.resolve("web", b"web:x:7:8::/:\n", rows).groups == (8,)
    with pytest.raises(Exception, match="group"):
        users.extra_groups(("bad",), rows)


def test_a_terminal_that_is_none_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device of the container's own making (CUSE) may answer any number to the question for the other side."""
    (tmp_path / "dev/pts").mkdir(parents=True)
    (tmp_path / "dev/pts/ptmx").touch()
    null = os.open("/dev/null", os.O_RDWR)
    asked = {null}
    monkeypatch.setattr(fcntl, "ioctl", lambda fd, *_: asked.add(fd) or null)
    root = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    try:
        with pytest.raises(OSError, match="not a terminal of the container's own"):
            rootfs.open_terminal(root, 0)
    finally:
        monkeypatch.undo()
        for fd in (*asked, root):
            os.close(fd)
