"""top=overlay: the kernel's overlayfs takes the changes, over our read-only tree of the layers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

import unionfs
from tests.conftest import Mounts
from tests.support import process
from tests.support.command import cleanup, daemons, has_ended, mounts_below, run
from tests.support.mounts import Mounted, Stack, served
from tests.support.notation import Tree
from tests.support.sandbox import CHECKOUT
from tests.support.snapshot import snapshot

pytestmark = pytest.mark.timeout(120)

LAYERS: list[Tree] = [
    {"a": b"top", "d/f": b"x", "merged/one": b"1"},
    {"a": b"hidden", "d/g": b"y" * 70_000, "merged/two": b"2", "gone": b"", "full/of/it": b"z"},
]
TOP = "top=overlay"


@pytest.fixture
def stack(union_mounts: Mounts) -> Iterator[Stack]:
    made = union_mounts.stack(LAYERS)
    with cleanup(made.base):
        yield made


def daemon(stack: Stack, options: str = TOP) -> int:
    """Mounts the stack in the background; gives the server's pid."""
    done = run("-o", f"{stack.options()},{options}", stack.mountpoint)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    (pid,) = daemons(stack.base)
    return pid


def umount(stack: Stack) -> None:
    subprocess.run(["umount", stack.mountpoint], check=True, timeout=20)


def refused(stack: Stack, words: str) -> str:
    """The one line of a mount that is not made; nothing is left of it."""
    done = run("-o", words, stack.mountpoint)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("unionfs: ")
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr
    assert mounts_below(stack.base) == {}
    assert daemons(stack.base) == []
    return done.stderr


def ended(pid: int) -> None:
    process.wait_until(lambda: has_ended(pid), 20, "the end of the server")


# -- one tree, whoever is on top


def change(path: Path, name: str) -> None:
    """Something of every kind that is noted down in the top layer."""
    (path / f"new-{name}").write_bytes(name.encode())
    with (path / "a").open("ab") as file:
        file.write(name.encode())
    (path / "merged" / name).mkdir()
    (path / "merged").rename(path / "moved")
    (path / "moved").rename(path / "merged")
    (path / "d" / "g").chmod(0o600)
    (path / "d" / "f").rename(path / "d" / "h")
    (path / "d" / "h").rename(path / "d" / "f")


def first(path: Path) -> None:
    (path / "gone").unlink()
    (path / "full/of/it").unlink()
    (path / "full/of").rmdir()
    (path / "full").rmdir()
    (path / "full").mkdir()
    (path / "d").rename(path / "e")
    (path / "e").rename(path / "d")
    (path / "link").symlink_to("a")


@pytest.mark.parametrize("kinds", ["dir", "tar", "mixed"])
@pytest.mark.parametrize("order", [("overlay", "fuse"), ("fuse", "overlay")])
def test_the_tops_take_turns(union_mounts: Mounts, kinds: str, order: tuple[str, str]) -> None:
    made = union_mounts.stack(LAYERS, kinds=kinds)
    with cleanup(made.base):
        before = None
        for number, top in enumerate(order * 2):
            with unionfs.mount(
                made.lowers, upper=made.upper, work=made.work, target=made.mountpoint, top=top
            ) as m:
                path = Path(m.path)
                if before is None:
                    first(path)
                else:
                    assert snapshot(path) == before
                change(path, f"{top}{number}")
                before = snapshot(path)
        assert mounts_below(made.base) == {}


def test_writes_do_not_come_to_the_server(stack: Stack) -> None:
    with unionfs.mount(
        stack.lowers, upper=stack.upper, work=stack.work, target=stack.mountpoint, top="overlay"
    ) as m:
        os.listdir(m.path)
        before = sum(m.stats()[name] for name in ("lookup", "getattr") if name in m.stats())
        for number in range(100):
            Path(m.path, "full", str(number)).write_bytes(b"new")
        after = m.stats()
        assert "create" not in after
        assert "mknod" not in after
        assert (
            after.get("lookup", 0) + after.get("getattr", 0) < before + 120
        )  # a name that is not there: one
        assert after.get("open", 0) <= 1


@pytest.mark.parametrize("mark", ["opaque", "metacopy", "redirect"])
def test_marks_of_a_nested_overlay_are_ordinary_attributes(stack: Stack, mark: str) -> None:
    """As another overlayfs would leave them in the layer; the one on top must not take them for its own."""
    for name in ("a", "d"):
        os.setxattr(stack.lowers[0] / name, f"trusted.overlay.overlay.{mark}", b"y")
    for top in ("fuse", "overlay"):
        with unionfs.mount(
            stack.lowers, upper=stack.upper, work=stack.work, target=stack.mountpoint, top=top
        ) as m:
            path = Path(m.path)
            assert (path / "a").read_bytes() == b"top"
            assert sorted(os.listdir(path / "d")) == ["f", "g"]
            assert os.listxattr(path / "a") == os.listxattr(path / "d") == [f"trusted.overlay.{mark}"]
            assert os.getxattr(path / "a", f"trusted.overlay.{mark}") == b"y"


def test_files_have_one_device(stack: Stack) -> None:
    """So that `find -xdev` and `tar --one-file-system` see the whole tree."""
    with unionfs.mount(
        stack.lowers, upper=stack.upper, work=stack.work, target=stack.mountpoint, top="overlay"
    ) as m:
        Path(m.path, "new").touch()
        assert len({os.lstat(Path(m.path, name)).st_dev for name in (".", "a", "d", "d/f", "new")}) == 1


def test_volatile_can_be_mounted_again(stack: Stack) -> None:
    for _ in range(2):
        daemon(stack, f"{TOP},volatile")
        (stack.mountpoint / "new").touch()
        umount(stack)


@pytest.mark.parametrize("name", ["com,ma", "co:lon", "back\\slash", "long" * 60 + "/" + "path" * 60])
def test_odd_places(stack: Stack, name: str) -> None:
    upper, work = stack.base / name / "upper", stack.base / name / "work"
    for path in (upper, work):
        path.mkdir(parents=True)
    with unionfs.mount(stack.lowers, upper=upper, work=work, target=stack.mountpoint, top="overlay") as m:
        Path(m.path, "new").write_bytes(b"x")
    assert (upper / "new").read_bytes() == b"x"


def test_mount_flags_are_those_of_the_overlay(stack: Stack) -> None:
    daemon(stack, f"{TOP},nosuid,noexec,noatime,fsname=some name,ro")
    row = mounts_below(stack.base)[str(stack.mountpoint)]
    assert {"ro", "nosuid", "nodev", "noexec", "noatime"} <= set(row[5].split(","))
    assert "some\\040name" in row
    with pytest.raises(OSError, match="Read-only"):
        (stack.mountpoint / "new").touch()


def test_kernels_that_want_an_attached_layer(union_mounts: Mounts, stack: Stack) -> None:
    """Before Linux 6.15 overlayfs refuses a layer that is mounted nowhere: here its first try fails like that."""
    script = """
import errno, sys
from unionfs import cli, mountapi
make, calls = mountapi.make, []
def old(fstype, words, flags):
    calls.append(fstype)
    if fstype == "overlay" and calls.count("overlay") == 1:
        raise OSError(errno.EINVAL, "Invalid argument")
    return make(fstype, words, flags)
mountapi.make = old
sys.exit(cli.main(sys.argv[1:]))
"""
    command = [sys.executable, "-c", script, "-f", "-o", f"{stack.options()},{TOP}", str(stack.mountpoint)]
    with served(command, stack) as mounted:
        assert (mounted.path / "d/f").read_bytes() == b"x"
        (mounted.path / "new").touch()
        rows = [row for row in mounts_below(stack.base).values() if row[4] == str(stack.mountpoint)]
        assert [row[row.index("-") + 1] for row in rows] == ["overlay"]


# -- its life


def test_umount_ends_the_server(stack: Stack) -> None:
    pid = daemon(stack)
    umount(stack)
    ended(pid)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_unmounts(stack: Stack, number: signal.Signals) -> None:
    pid = daemon(stack)
    os.kill(pid, number)
    ended(pid)
    assert mounts_below(stack.base) == {}


def test_who_has_a_file_open_keeps_it_after_a_signal(stack: Stack) -> None:
    pid = daemon(stack)
    with (stack.mountpoint / "d/g").open("rb") as file:
        os.kill(pid, signal.SIGTERM)
        process.wait_until(lambda: mounts_below(stack.base) == {}, 20, "unmount")
        assert file.read() == b"y" * 70_000
        assert not has_ended(pid)
    ended(pid)


def test_counters_on_a_signal(stack: Stack) -> None:
    log = stack.base / "log"
    pid = daemon(stack, f"{TOP},log={log}")
    os.kill(pid, signal.SIGUSR1)
    process.wait_until(lambda: "counters:" in log.read_text(), 20, "counters")


def test_refresh_shows_what_changed_below(stack: Stack) -> None:
    daemon(stack)
    new, changed = stack.mountpoint / "later", stack.mountpoint / "a"
    assert not new.exists()
    assert changed.read_bytes() == b"top"
    (stack.lowers[0] / "later").touch()
    (stack.lowers[0] / "a").unlink()
    (stack.lowers[0] / "a").write_bytes(b"other")
    done = run("refresh", stack.mountpoint)
    assert (done.returncode, done.stderr) == (0, "")
    assert new.exists()
    assert changed.read_bytes() == b"other"


def test_a_killed_server_leaves_errors_and_no_hang(stack: Stack) -> None:
    pid = daemon(stack)
    path = stack.mountpoint

    def look() -> list[str]:
        found = []
        for name in ("d/f", "d/g", "full/of/it"):
            with suppress(OSError):
                (path / name).read_bytes()
                found.append(name)
        return found

    os.kill(pid, signal.SIGKILL)
    ended(pid)
    assert process.in_child(look) == []
    for top in ("fuse", "overlay"):  # the kernel still writes there
        done = run("-o", f"{stack.options()},top={top}", path)
        assert (done.returncode, "in use by the overlayfs on" in done.stderr) == (1, True)
    umount(stack)
    assert mounts_below(stack.base) == {}
    daemon(stack)
    assert (path / "d/f").read_bytes() == b"x"


def test_readers_end_when_the_server_is_killed(stack: Stack) -> None:
    pid = daemon(stack)
    path = stack.mountpoint
    loop = f"while tar -C {path} -cf - . 2>/dev/null | cat >/dev/null; [ -e {path}/d/f ]; do :; done"
    reader = subprocess.Popen(["sh", "-c", loop])
    try:
        os.kill(pid, signal.SIGKILL)
        reader.wait(20)
    finally:
        with suppress(ProcessLookupError):
            reader.kill()
        reader.wait()


def test_the_top_layer_is_locked(stack: Stack) -> None:
    daemon(stack)
    other = stack.base / "other"
    other.mkdir()
    for top in ("fuse", "overlay"):
        done = run("-o", f"{stack.options()},top={top}", other)
        assert done.returncode == 1
        assert "is in use by" in done.stderr


def test_the_program_that_made_it_ends(stack: Stack) -> None:
    script = f"""
import os, unionfs
unionfs.mount({[str(p) for p in stack.lowers]!r}, upper={str(stack.upper)!r}, work={str(stack.work)!r},
              target={str(stack.mountpoint)!r}, top="overlay")
os._exit(0)
"""
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT)}
    subprocess.run([sys.executable, "-c", script], env=environment, check=True, timeout=40)
    process.wait_until(lambda: daemons(stack.base) == [], 20, "the end of the server")
    assert mounts_below(stack.base) == {}


# -- in a user namespace


def test_root_of_a_user_namespace(union_mounts: Mounts) -> None:
    made = union_mounts.stack(LAYERS, kinds="mixed", box="userns")
    for top in ("overlay", "fuse", "overlay"):
        mounted = union_mounts.union(made, f"top={top}", box="userns")
        mounted.call(partial(_use, mounted))
        mounted.call(partial(subprocess.run, ["umount", made.mountpoint], check=True))
        assert mounted.server
        mounted.server.wait(20)


def _use(mounted: Mounted) -> None:
    path = mounted.path
    assert (path / "d/f").read_bytes() == b"x"
    (path / "gone").unlink(missing_ok=True)
    assert sorted(os.listdir(path / "merged")) == ["one", "two"]
    with (path / "a").open("ab") as file:
        file.write(b"!")
    assert (path / "a").read_bytes().startswith(b"top!")


def test_a_user_goes_on_after_his_user_namespace(union_mounts: Mounts) -> None:
    """The kernel leaves a work directory that its own owner may not look into."""
    made = union_mounts.stack(LAYERS, box="user")
    assert made.work
    inner = made.work / "work"
    inner.mkdir()
    os.chown(inner, made.work.stat().st_uid, made.work.stat().st_gid)
    inner.chmod(0)
    mounted = union_mounts.union(made, box="user")
    mounted.call(lambda: (mounted.path / "new").touch())


@pytest.mark.parametrize("how", ["moved", "thin"])
def test_what_overlayfs_does_not_follow_in_a_user_namespace(union_mounts: Mounts, how: str) -> None:
    made = union_mounts.stack([{"d/f": b"x", "big": b"0" * (2 << 20)}], box="userns")
    box = union_mounts._boxes["userns"]

    def use(path: Path) -> None:
        (path / "d").rename(path / "e") if how == "moved" else (path / "big").chmod(0o600)

    mounted = union_mounts.union(made, box="userns")
    mounted.call(partial(use, mounted.path))
    mounted.call(partial(subprocess.run, ["umount", made.mountpoint], check=True))
    done = run("-o", f"{made.options()},{TOP}", made.mountpoint, box=box)
    assert done.returncode == 1
    assert "go on with top=fuse" in done.stderr
    again = union_mounts.union(made, box="userns")
    assert again.call(lambda: (again.path / "big").stat().st_size) == 2 << 20


# -- what cannot be


@pytest.mark.parametrize(
    "word",
    [
        "uidmapping=0:1:1",
        "gidmapping=0:1:1",
        "squash_to_root",
        "squash_to_uid=1",
        "squash_to_gid=1",
        "xattr_permissions=2",
        "noxattrs",
        "noacl",
        "noallow_other",
        "nodefault_permissions",
        "driver=pyfuse3",
        "io=cached",
        "io=passthrough",
        "writeback=on",
        "metacopy=4096",
    ],
)
def test_options_that_overlayfs_has_not(stack: Stack, word: str) -> None:
    line = refused(stack, f"{stack.options()},{TOP},{word}")
    assert f"{word.partition('=')[0]}" in line
    assert "does not go with top=overlay" in line
    assert "top=fuse" in line


def test_nothing_to_be_on_top(stack: Stack) -> None:
    line = refused(stack, f"lowerdir={stack.lowers[0]},{TOP}")
    assert "without an upper directory" in line
    assert "upperdir=" in line


@pytest.mark.parametrize("top", ["fuse", "overlay"])
def test_a_top_layer_that_another_overlayfs_has(union_mounts: Mounts, stack: Stack, top: str) -> None:
    other = stack.base / "other place"
    other.mkdir()
    words = f"lowerdir={stack.lowers[0]},upperdir={stack.upper},workdir={stack.work}"
    subprocess.run(["mount", "-i", "-t", "overlay", "overlay", "-o", words, other], check=True)
    done = run("-o", f"{stack.options()},top={top}", stack.mountpoint)
    assert done.returncode == 1
    assert f"in use by the overlayfs on {other}" in done.stderr


def test_an_unknown_top(stack: Stack) -> None:
    assert "it takes fuse, overlay" in refused(stack, f"{stack.options()},top=aufs")


def test_a_top_layer_on_a_file_system_that_is_none_for_overlayfs(union_mounts: Mounts, stack: Stack) -> None:
    below = union_mounts.union(union_mounts.stack([{"upper": {}, "work": {}}]))
    words = f"lowerdir={stack.lowers[0]},upperdir={below.path}/upper,workdir={below.path}/work,{TOP}"
    line = refused(stack, words)
    assert "overlayfs" in line
    assert "top=fuse" in line


def test_a_top_layer_that_cannot_be_written(stack: Stack) -> None:
    place = stack.base / "readonly"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", place], check=True)
    (place / "upper").mkdir()
    (place / "work").mkdir()
    subprocess.run(["mount", "-o", "remount,ro", place], check=True)
    words = f"lowerdir={stack.lowers[0]},upperdir={place}/upper,workdir={place}/work,{TOP}"
    done = run("-o", words, stack.mountpoint)
    assert done.returncode == 1
    assert "Read-only file system" in done.stderr
    assert "writable file system" in done.stderr


def test_an_ordinary_user(union_mounts: Mounts) -> None:
    made = union_mounts.stack(LAYERS, box="user")
    box = union_mounts._boxes["user"]
    done = run("-o", f"{made.options()},{TOP}", made.mountpoint, box=box)
    assert done.returncode == 1
    assert "right to mount" in done.stderr
    assert "top=fuse" in done.stderr
    assert daemons(made.base) == []
