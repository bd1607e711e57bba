"""The Python API, and the attaching and detaching below it."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

import unionfs
from tests.conftest import Mounts
from tests.support import process
from tests.support.command import cleanup, daemons, has_ended, mounts_below
from tests.support.mounts import Stack
from tests.support.notation import Tree
from tests.support.sandbox import CHECKOUT
from unionfs import mountpoint

LAYER: Tree = {"a": b"lower", "d/f": b"x", "module.py": b"answer = 42\n"}


@pytest.fixture
def stack(union_mounts: Mounts) -> Iterator[Stack]:
    made = union_mounts.stack([LAYER])
    with cleanup(made.base):
        yield made


def mount(stack: Stack, **options: str | bool) -> unionfs.Mount:
    return unionfs.mount(stack.lowers, upper=stack.upper, work=stack.work, target=stack.mountpoint, **options)


def script(stack: Stack, text: str) -> subprocess.CompletedProcess[str]:
    """Runs a program that has `lowers`, `upper`, `work` and `target`, and its mount as `m`."""
    head = f"""
import os, signal, sys, unionfs
lowers = {[str(path) for path in stack.lowers]!r}
m = unionfs.mount(lowers, upper={str(stack.upper)!r}, work={str(stack.work)!r}, target={str(stack.mountpoint)!r})
"""
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT)}
    return subprocess.run(
        [sys.executable, "-c", head + text], env=environment, capture_output=True, text=True, timeout=40
    )


# -- the plain API


def test_a_mount_for_the_time_of_a_block(stack: Stack) -> None:
    with mount(stack) as m:
        assert m.path == str(stack.mountpoint)
        assert Path(m.path, "a").read_bytes() == b"lower"
        Path(m.path, "new").write_bytes(b"upper")
        pid = m.pid
        assert daemons(stack.base) == [pid]
    assert mounts_below(stack.base) == {}
    assert has_ended(pid)
    assert stack.upper is not None
    assert (stack.upper / "new").read_bytes() == b"upper"


def test_one_after_the_other_without_a_pause(stack: Stack) -> None:
    for number in range(4):
        with mount(stack) as m:
            Path(m.path, str(number)).touch()
    assert stack.upper is not None
    assert sorted(os.listdir(stack.upper)) == list("0123")


def test_a_temporary_target(stack: Stack) -> None:
    with unionfs.mount(map(os.fsencode, stack.lowers)) as m:
        assert Path(m.path, "a").read_bytes() == b"lower"
        with pytest.raises(OSError, match="Read-only file system"):
            Path(m.path, "new").touch()
    assert not os.path.exists(m.path)


def test_odd_names(stack: Stack) -> None:
    odd = stack.base / 'lo,w:e\\r"='
    stack.lowers[0].rename(odd)
    with unionfs.mount([odd], target=stack.mountpoint) as m:
        assert Path(m.path, "a").exists()


def test_the_program_uses_its_mount_itself(stack: Stack) -> None:
    """Imports hold the interpreter lock where a server in this process would need it."""
    done = script(
        stack, "sys.path.insert(0, m.path); import module; print(module.answer, os.stat(m.path).st_ino)"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "42 1\n", "")
    assert mounts_below(stack.base) == {}


def test_stats_count_requests(stack: Stack) -> None:
    with mount(stack) as m:
        before = m.stats()
        os.listdir(m.path)
        Path(m.path, "new").touch()
        after = m.stats()
        assert sum(after.values()) > sum(before.values())
        assert all(isinstance(value, int) for value in after.values())


@pytest.mark.parametrize("driver", ["kernel", "pyfuse3"])
def test_stats_tell_how_much_is_kept(stack: Stack, driver: str) -> None:
    with mount(stack, driver=driver) as m:
        before = m.stats()
        Path(m.path, "new").touch()
        Path(m.path, "d/f").read_bytes()
        Path(m.path, "d/f").chmod(0o600)
        after = m.stats()
    gained = {name: after[name] - before[name] for name in ("nodes", "open_directories", "open_files")}
    assert gained == {"nodes": 3, "open_directories": 2, "open_files": 3}  # new, d, d/f; d twice; d/f twice


def test_refresh(stack: Stack) -> None:
    with mount(stack) as m:
        assert not Path(m.path, "later").exists()
        (stack.lowers[0] / "later").touch()
        assert m.refresh() > 0
        assert Path(m.path, "later").exists()


def test_an_exception_in_the_block_unmounts(stack: Stack) -> None:
    with pytest.raises(ZeroDivisionError), mount(stack):
        raise ZeroDivisionError
    assert mounts_below(stack.base) == {}


def test_close_twice_and_after_somebody_elses_umount(stack: Stack) -> None:
    m = mount(stack)
    subprocess.run(["umount", m.path], check=True, timeout=20)
    m.close()
    m.close()
    with pytest.raises(unionfs.SetupError, match="does not answer"):
        m.stats()
    assert has_ended(m.pid)


def test_a_forgotten_mount_is_collected(stack: Stack) -> None:
    mount(stack)
    gc.collect()
    assert mounts_below(stack.base) == {}


def test_open_files_outlive_the_mount(stack: Stack) -> None:
    with mount(stack) as m:
        held = open(Path(m.path, "d", "f"), "r+b", buffering=0)  # noqa: SIM115 - closed below
    assert mounts_below(stack.base) == {}
    with held:
        held.write(b"later")
        assert not has_ended(m.pid)
    process.wait_until(lambda: has_ended(m.pid), 20, "the end of the server")
    assert stack.upper is not None
    assert (stack.upper / "d" / "f").read_bytes() == b"later"


def test_the_end_of_the_program_unmounts(stack: Stack) -> None:
    done = script(stack, "print(m.pid)")
    assert (done.returncode, done.stderr) == (0, "")
    assert mounts_below(stack.base) == {}
    assert has_ended(int(done.stdout))


def test_the_kill_of_the_program_unmounts(stack: Stack) -> None:
    done = script(stack, "print(m.pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)")
    assert done.returncode == -signal.SIGKILL
    process.wait_until(lambda: has_ended(int(done.stdout)), 20, "the end of the server")
    assert mounts_below(stack.base) == {}


def test_a_fork_of_the_program_leaves_the_mount_alone(stack: Stack) -> None:
    text = """
if os.fork() == 0:
    sys.exit(0)
os.wait()
print(os.listdir(m.path))
"""
    done = script(stack, text)
    assert (done.returncode, done.stderr) == (0, "")
    assert "module.py" in done.stdout


def test_the_kill_of_the_server_is_told(stack: Stack) -> None:
    with mount(stack) as m:
        os.kill(m.pid, signal.SIGKILL)
        with pytest.raises(unionfs.SetupError):
            m.stats()
    assert mounts_below(stack.base) == {}


def test_what_cannot_be_mounted_leaves_nothing(stack: Stack) -> None:
    before = set(os.listdir("/tmp"))
    with pytest.raises(unionfs.SetupError, match="gone does not exist"):
        unionfs.mount([stack.base / "gone"])
    with pytest.raises(unionfs.SetupError, match="nothing to mount"):
        unionfs.mount([])
    with pytest.raises(unionfs.SetupError, match="unknown mount option 'frobnicate'"):
        unionfs.mount(stack.lowers, frobnicate=True)
    with pytest.raises(unionfs.SetupError, match="timeout=soon"):
        unionfs.mount(stack.lowers, timeout="soon")
    with mount(stack), pytest.raises(unionfs.SetupError, match="in use by another mount"):
        mount(stack)
    assert {name for name in set(os.listdir("/tmp")) - before if name.startswith("unionfs-")} == set()


def test_a_failed_mount_leaves_the_mount_that_was_there(stack: Stack) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "other", stack.mountpoint], check=True, timeout=9)
    with pytest.raises(unionfs.SetupError):
        unionfs.mount([stack.base / "gone"], target=stack.mountpoint)
    assert mounts_below(stack.base)[str(stack.mountpoint)][-2] == "other"


# -- the trio API


def test_in_a_trio_program(stack: Stack) -> None:
    async def main() -> None:
        lowers, upper, work, target = stack.lowers, stack.upper, stack.work, stack.mountpoint
        async with unionfs.mount_async(lowers, upper=upper, work=work, target=target) as m:
            assert await trio.Path(m.path, "a").read_bytes() == b"lower"
            assert (await m.stats())["poll_hits"] >= 0
            assert await m.refresh() >= 0

    trio.run(main)
    assert mounts_below(stack.base) == {}


def test_a_cancelled_trio_program_unmounts(stack: Stack) -> None:
    async def main() -> None:
        with trio.CancelScope() as scope:
            async with unionfs.mount_async(stack.lowers, target=stack.mountpoint):
                scope.cancel()
                await trio.sleep_forever()

    trio.run(main)
    assert mounts_below(stack.base) == {}
    assert daemons(stack.base) == []


# -- importing, attaching and detaching


def test_importing_the_package_imports_no_trio() -> None:
    text = "import sys, unionfs, unionfs.cli; print(sorted({'trio', 'ctypes', 'json', 'logging'} & set(sys.modules)))"
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run([sys.executable, "-S", "-c", text], env=environment, capture_output=True, text=True)
    assert done.stdout == "[]\n"


def test_every_exported_name_is_there() -> None:
    for name in unionfs.__all__:
        assert getattr(unionfs, name) is not None
    assert callable(unionfs.mount)
    with pytest.raises(AttributeError, match="frobnicate"):
        unionfs.frobnicate  # noqa: B018


def test_find_reads_escaped_names_and_takes_the_topmost(tmp_path: Path) -> None:
    odd = tmp_path / "a b\\c\td#é"
    odd.mkdir()
    assert mountpoint.find(str(odd)) is None
    for source in ("one", "two with blanks"):
        subprocess.run(["mount", "-t", "tmpfs", source, odd], check=True, timeout=9)
    found = mountpoint.find(str(odd))
    try:
        assert found is not None
        assert (found.source, found.fstype, found.target) == ("two with blanks", "tmpfs", str(odd))
        assert found.device == os.stat(odd).st_dev
    finally:
        for _ in range(2):
            mountpoint.unmount(str(odd))
    assert mountpoint.find(str(odd)) is None


def test_unmount_of_what_is_busy_or_no_mount(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="Invalid argument"):
        mountpoint.unmount(str(tmp_path))
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", tmp_path], check=True, timeout=9)
    with open(tmp_path / "f", "w"), pytest.raises(OSError, match="busy"):
        mountpoint.unmount(str(tmp_path))
    mountpoint.unmount(str(tmp_path), lazy=True)
    assert mountpoint.find(str(tmp_path)) is None
