"""The command line, as mount(8), fstab, podman, buildah and people call it."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

import unionfs
from tests.conftest import Mounts
from tests.support import command, process
from tests.support.command import cleanup, daemons, has_ended, mounts_below, root_beside, run
from tests.support.mounts import Stack
from tests.support.notation import Tree
from tests.support.sandbox import CHECKOUT, Sandbox

CAP_SYS_RESOURCE = 24  # some containers' root may not raise its limits

LAYER: Tree = {"a": b"lower", "d/f": b"x"}


@pytest.fixture
def stack(union_mounts: Mounts) -> Iterator[Stack]:
    """A lower, an upper, a work directory and a mount point, with all daemons ended afterwards."""
    made = union_mounts.stack([LAYER])
    with cleanup(made.base):
        yield made


def in_time(look: Callable[[], bool], what: str) -> None:
    process.wait_until(look, 20, what)


def mounted(stack: Stack, *arguments: str | Path, **kwargs: object) -> subprocess.CompletedProcess[str]:
    """Mounts the stack with the daemon; whatever it prints is a failure."""
    done = run("-o", stack.options(), *arguments, stack.mountpoint, **kwargs)  # type: ignore[arg-type]
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return done


def refused(*arguments: str | Path, **kwargs: object) -> str:
    """The one line of a command that fails."""
    done = run(*arguments, **kwargs)  # type: ignore[arg-type]
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("unionfs: ")
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr
    return done.stderr


def has_capability(number: int) -> bool:
    status = Path("/proc/self/status").read_text()
    return bool(int(status.partition("CapEff:")[2].split()[0], 16) >> number & 1)


def umount(target: Path) -> None:
    subprocess.run(["umount", target], check=True, timeout=20)


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
