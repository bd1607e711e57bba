"""The portable driver by itself, on real mounts: what its server must survive, and in which order it answers.

What it does as a file system is in the conformance table. Servers with a fault in them are the real program
with a few lines before it.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import shutil
import signal
import stat
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.conformance.kit import (
    ACL_ACCESS,
    ALICE,
    BOB,
    GROUP,
    GROUP_OBJ,
    MASK,
    OTHER,
    USER,
    USER_OBJ,
    acl,
    as_user,
    mode,
    opened,
    refuses,
)
from tests.conftest import Mounts, Scratch
from tests.support import command, mounts, process
from tests.support.fsck import fsck
from tests.support.mounts import Mounted, Stack
from tests.support.notation import Tree, symlink
from unionfs.copyup import HEAVY

pytestmark = [
    pytest.mark.timeout(90),
    pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning"),
]

BIG = b"0123456789abcdef" * (HEAVY // 8)
LAYER: Tree = {"a": b"lower", "big": BIG, "other": BIG, "d/f": b"x", "link": symlink("a")}

MAIN = "\nimport sys\nfrom unionfs.cli import main\nsys.exit(main())\n"

BROKEN = """
from unionfs.tree import UnionTree
from unionfs.files import Files
def broken(*arguments):
    raise KeyError("a fault")
UnionTree.getxattr = UnionTree.forget = Files.read = broken
"""

SLOW = """
import time, os
from unionfs.copyup import CopyUp
fill, base = CopyUp.fill, {base!r}
def wait(self):
    if self.heavy:
        open(base + "/begun", "w").close()
        while not os.path.exists(base + "/go"):
            time.sleep(0.005)
    fill(self)
CopyUp.fill = wait
"""

WITHDRAWING = """
import os, signal, time, trio
import unionfs.loop
base, serve = {base!r}, unionfs.loop.main
def ended(pid):
    try:
        with open("/proc/%d/stat" % pid) as line:
            return line.read().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
class Withdraw(trio.abc.Instrument):
    '''Kills whoever is named in a file between the moment that a request is seen and that it is read.'''
    def after_io_wait(self, timeout):
        if os.path.exists(base + "/victim"):
            with open(base + "/victim") as file:
                pid = int(file.read())
            os.kill(pid, signal.SIGKILL)
            while not ended(pid):
                time.sleep(0.005)
            os.rename(base + "/victim", base + "/withdrawn")
async def instrumented(*arguments):
    trio.lowlevel.add_instrument(Withdraw())
    await serve(*arguments)
unionfs.loop.main = instrumented
"""

VICTIM = """
import os
with open("{base}/name", "w") as file:
    file.write(str(os.getpid()))
os.rename("{base}/name", "{base}/victim")
os.stat("{base}/mnt/never-looked-up")
"""

COUNTING = """
import unionfs.loop
from unionfs.model import ROOT_ID
def stats(self):
    nodes = self._stack.tree.nodes
    return dict(known=sum(node.lookups > 0 for node in nodes.values() if node.ino != ROOT_ID))
unionfs.loop.Service.stats = stats
"""


@contextmanager
def served(made: Stack, before: str = "", options: str = "", *allowed: str) -> Iterator[Mounted]:
    words = ",".join(filter(None, [made.options(), "driver=pyfuse3", options]))
    program = [sys.executable, "-c", before.replace("{base!r}", repr(str(made.base))) + MAIN]
    with mounts.served([*program, "-f", "-o", words, str(made.mountpoint)], made, allowed=allowed) as mounted:
        yield mounted


@pytest.fixture
def made(union_mounts: Mounts) -> Stack:
    return union_mounts.stack([LAYER])


def counters(mounted: Mounted) -> dict[str, int]:
    """What the server says that it has served by now."""
    assert mounted.server
    assert mounted.log
    before = mounted.log.read_text().count("counters: ")
    mounted.server.send_signal(signal.SIGUSR1)
    log = mounted.log
    process.wait_until(lambda: log.read_text().count("counters: ") > before, 20, "the counters")
    found: dict[str, int] = json.loads(log.read_text().rpartition("counters: ")[2])
    return found


# -- faults


def test_an_unexpected_exception_is_eio_and_a_line_in_the_log(made: Stack) -> None:
    with served(made, BROKEN, "", "KeyError('a fault')") as mounted:

        def look() -> None:
            with refuses(errno.EIO):
                os.getxattr(mounted.path / "a", "user.a")
            assert (mounted.path / "a").read_bytes() == b"lower"

        mounted.call(look)
        assert mounted.log
        text = mounted.log.read_text()
        assert text.count("getxattr of node 0x") == 1
        assert text.count("KeyError('a fault')") == 1
        assert "Traceback" not in text


def test_an_exception_in_forget_which_nobody_waits_for(made: Stack) -> None:
    with served(made, BROKEN, "timeout=0", "KeyError('a fault')") as mounted:
        mounted.call(lambda: (mounted.path / "a").read_bytes())
        assert command.run("refresh", mounted.path).returncode == 0  # what is dropped is forgotten
        assert mounted.log
        log = mounted.log
        process.wait_until(lambda: "forget of the file system: KeyError" in log.read_text(), 20, "forget")
        mounted.call(lambda: (mounted.path / "d/f").read_bytes())


def test_a_request_withdrawn_before_it_is_read_stops_nothing(made: Stack) -> None:
    with served(made, WITHDRAWING) as mounted:
        mounted.call(lambda: (mounted.path / "a").stat())  # the kernel has the attributes of the root now
        withdraw(made)
        # No request comes from here, which would end a read that waits.
        assert command.run("refresh", mounted.path).returncode == 0
        mounted.call(lambda: (mounted.path / "a").read_bytes())


def test_a_withdrawn_request_leaves_those_that_are_under_way(made: Stack) -> None:
    with served(made, SLOW + WITHDRAWING, "", "counters") as mounted:
        writer = held(mounted, made, lambda: overwrite(mounted.path / "big", b"new"))
        waiter = threading.Thread(target=lambda: mounted.call(lambda: (mounted.path / "big").chmod(0o600)))
        waiter.start()
        process.wait_until(lambda: counters(mounted).get("setattr") == 1, 20, "the chmod")
        withdraw(made)
        (made.base / "go").touch()
        writer.join(30)
        waiter.join(30)


def withdraw(made: Stack) -> None:
    """Has a request taken back at the worst of times."""
    victim = subprocess.Popen([sys.executable, "-c", VICTIM.format(base=str(made.base))])
    assert victim.wait(20) == -signal.SIGKILL
    process.wait_until((made.base / "withdrawn").exists, 20, "the withdrawal")


# -- what waits, and what does not


def held(mounted: Mounted, made: Stack, function: Callable[[], object]) -> threading.Thread:
    """Starts what begins a copy-up, and returns when that is held."""
    thread = threading.Thread(target=lambda: mounted.call(function))
    thread.start()
    process.wait_until((made.base / "begun").exists, 20, "the copy-up")
    return thread


def test_a_copy_up_does_not_hold_up_others(made: Stack) -> None:
    with served(made, SLOW) as mounted:
        writer = held(mounted, made, lambda: overwrite(mounted.path / "big", b"new"))
        mounted.call(lambda: look_at(mounted.path))
        mounted.call(lambda: (mounted.path / "a").write_bytes(b"changed"))
        (made.base / "go").touch()
        writer.join(30)


def test_a_copy_up_for_a_rename_does_not_hold_up_others(made: Stack) -> None:
    with served(made, SLOW) as mounted:
        folder = mounted.path / "d"  # which the kernel does not lock, but it has to know it by now
        mounted.call(lambda: os.listdir(folder))
        mover = held(mounted, made, lambda: (mounted.path / "big").rename(mounted.path / "moved"))
        mounted.call(lambda: (folder / "new").touch())
        (made.base / "go").touch()
        mover.join(30)
        assert mounted.call(lambda: (mounted.path / "moved").read_bytes()) == BIG


def look_at(root: Path) -> None:
    assert (root / "big").read_bytes() == BIG
    assert (root / "big").stat().st_size == len(BIG)
    assert sorted(os.listdir(root)) == ["a", "big", "d", "link", "other"]
    assert os.readlink(root / "link") == "a"
    (root / "new").write_bytes(b"new")
    (root / "new").unlink()


class Waiting(NamedTuple):
    """A change of a file that is being copied up, and what is to be seen when both are done."""

    request: str
    change: Callable[[Path], object]
    look: Callable[[Path], object]
    expected: object


NEW = b"new" + BIG[3:]
CHANGES = [
    Waiting("setattr", lambda d: (d / "big").chmod(0o600), lambda d: mode(d / "big"), 0o600),
    Waiting(
        "setxattr",
        lambda d: os.setxattr(d / "big", "user.a", b"1"),
        lambda d: os.getxattr(d / "big", "user.a"),
        b"1",
    ),
    Waiting("link", lambda d: os.link(d / "big", d / "new"), lambda d: (d / "new").read_bytes(), NEW),
    Waiting("unlink", lambda d: (d / "big").unlink(), lambda d: (d / "big").exists(), False),
    Waiting("rename", lambda d: (d / "big").rename(d / "new"), lambda d: (d / "new").read_bytes(), NEW),
    Waiting("rename", lambda d: (d / "a").rename(d / "big"), lambda d: (d / "big").read_bytes(), b"lower"),
    Waiting("open", lambda d: append(d / "big", b"end"), lambda d: (d / "big").read_bytes(), NEW + b"end"),
]


@pytest.mark.parametrize("row", CHANGES, ids=lambda row: row.request)
def test_what_changes_the_file_waits_for_its_copy_up(made: Stack, row: Waiting) -> None:
    done = threading.Event()

    def change() -> None:
        mounted.call(lambda: row.change(mounted.path))
        done.set()

    with served(made, SLOW, "", "counters") as mounted:
        writer = held(mounted, made, lambda: overwrite(mounted.path / "big", b"new"))
        arrived = counters(mounted).get(row.request, 0) + 1
        thread = threading.Thread(target=change)
        thread.start()
        process.wait_until(lambda: counters(mounted).get(row.request) == arrived, 20, row.request)
        assert not done.is_set()
        (made.base / "go").touch()
        writer.join(30)
        thread.join(30)
        assert done.is_set()
        assert mounted.call(lambda: row.look(mounted.path)) == row.expected


def overwrite(path: Path, text: bytes) -> None:
    with opened(path, os.O_RDWR) as fd:
        os.pwrite(fd, text, 0)
        assert os.pread(fd, len(BIG) + 100, 0)[len(text) : len(BIG)] == BIG[len(text) :]


def append(path: Path, text: bytes) -> None:
    with opened(path, os.O_WRONLY | os.O_APPEND) as fd:
        os.write(fd, text)


def test_a_copy_up_under_way_is_seen_through_when_the_server_is_told_to_end(made: Stack) -> None:
    with served(made, SLOW) as mounted:
        assert mounted.server
        writer = held(mounted, made, lambda: os.truncate(mounted.path / "big", len(BIG) - 1))
        mounted.server.send_signal(signal.SIGTERM)
        process.wait_until(lambda: not os.path.ismount(mounted.path), 20, "the unmount")
        mounted.server.send_signal(signal.SIGTERM)
        (made.base / "go").touch()
        writer.join(30)
        assert mounted.server.wait(20) == 0
    assert made.upper
    assert made.work
    assert (made.upper / "big").read_bytes() == BIG[:-1]
    assert fsck(made.upper, made.work) == []


# -- what the kernel is told, and leaves to the driver


def test_every_lookup_is_forgotten_again(made: Stack) -> None:
    with served(made, COUNTING, "", "counters") as mounted:

        def walk() -> None:
            for _ in range(3):
                subprocess.run(["ls", "-lR", mounted.path], check=True, stdout=subprocess.DEVNULL)
            assert set(os.listdir(mounted.path)) == {"a", "big", "other", "d", "link"}
            with subprocess.Popen(["ls", "-fa", mounted.path], stdout=subprocess.PIPE) as listing:
                assert listing.stdout
                assert {b".", b".."} <= set(listing.stdout.read().split())

        mounted.call(walk)
        assert counters(mounted)["known"] == 6
        assert command.run("refresh", mounted.path).returncode == 0
        process.wait_until(lambda: counters(mounted)["known"] == 0, 20, "the last FORGET")


def test_names_that_do_not_exist_are_asked_for_once(made: Stack) -> None:
    def look() -> None:
        for _ in range(5):
            with refuses(errno.ENOENT):
                os.stat(mounted.path / "missing")

    with served(made, "", "", "counters") as mounted:
        mounted.call(look)
        assert counters(mounted)["lookup"] == 1
    with served(made, "", "timeout=0", "counters") as mounted:
        mounted.call(look)
        assert counters(mounted)["lookup"] == 5


def test_unlimited_is_not_the_five_minutes_of_pyfuse3_nor_an_overflow(made: Stack) -> None:
    with served(made, "", "timeout=1e300", "counters") as mounted:
        mounted.call(lambda: [os.stat(mounted.path / "a") for _ in range(5)])
        assert counters(mounted)["lookup"] == 1


def test_o_trunc_by_a_user_clears_setuid_in_the_kernel_too(made: Stack) -> None:
    with served(made, "", "suid") as mounted:
        path = mounted.path / "f"

        def truncate() -> None:
            path.write_bytes(b"x")
            path.chmod(0o6777)
            assert cached_mode(path) == 0o6777
            as_user(lambda: os.close(os.open(path, os.O_WRONLY | os.O_TRUNC)), BOB)
            assert cached_mode(path) == 0o777

        mounted.call(truncate)


def cached_mode(path: Path) -> int:
    """The mode as the kernel has it: unlike stat(2), it does not ask because the size is out of date."""
    buffer = ctypes.create_string_buffer(256)
    mode_only = 2  # STATX_MODE
    process.checked(process.LIBC.statx(-100, os.fsencode(path), 0, mode_only, buffer))
    return stat.S_IMODE(int(struct.unpack_from("=H", buffer, 28)[0]))


def test_ftruncate_to_the_same_size_is_a_change(made: Stack) -> None:
    with served(made) as mounted:

        def truncate() -> None:
            os.utime(mounted.path / "a", ns=(5, 7))
            with opened(mounted.path / "a", os.O_WRONLY) as fd:
                os.ftruncate(fd, len(b"lower"))
                assert os.fstat(fd).st_mtime_ns > 7

        mounted.call(truncate)


@pytest.mark.parametrize(("groups", "expected"), [((), 0), ((GROUP,), stat.S_ISGID)])
def test_an_acl_set_by_a_stranger_to_the_group_clears_setgid(
    made: Stack, groups: tuple[int, ...], expected: int
) -> None:
    text = acl((USER_OBJ, 7), (USER, 4, BOB), (GROUP_OBJ, 5), (MASK, 5), (OTHER, 5))
    with served(made) as mounted:
        path = mounted.path / "f"

        def change() -> None:
            path.write_bytes(b"x")
            os.chown(path, ALICE, GROUP)
            path.chmod(0o2755)
            as_user(lambda: os.setxattr(path, ACL_ACCESS, text), ALICE, ALICE, *groups)
            assert path.stat().st_mode & stat.S_ISGID == expected

        mounted.call(change)


def test_a_large_read_of_what_is_not_in_memory(union_mounts: Mounts, scratch: Scratch) -> None:
    size = 8 << 20
    place = Path(tempfile.mkdtemp(dir=scratch.disk))
    (place / "lower").mkdir()
    (place / "lower/f").write_bytes(os.urandom(size))
    made = union_mounts.stack([{}], upper=None)
    made.lowers = [place / "lower"]
    with opened(place / "lower/f") as fd:
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        with served(made) as mounted:
            text = mounted.call(lambda: (mounted.path / "f").read_bytes())
        assert text == os.pread(fd, size, 0)
    shutil.rmtree(place)
