"""The kernel driver on real mounts: what only the kernel's side of it can show."""

from __future__ import annotations

import os
import signal
import stat
import sys
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Mounts
from tests.support.mounts import Mounted, served
from tests.support.process import wait_until
from unionfs import serve
from unionfs.control import ask
from unionfs.errors import SetupError
from unionfs.fuse.options import ServerOptions
from unionfs.options import MountOptions
from unionfs.stack import Places

pytestmark = pytest.mark.timeout(90)

FILES = 120
TREE = {f"d/f{number:03}": bytes([number]) * (1000 + 97 * number) for number in range(FILES)}
MODES = ["io=cached", "io=cached,writeback=1", "io=passthrough"]


def counters(mounted: Mounted) -> dict[str, Any]:
    """The server listens a moment after the mount answers, and from then on it also reads ahead."""
    until = time.monotonic() + 10
    while True:
        try:
            return ask(str(mounted.path), "stats")
        except SetupError:
            if time.monotonic() > until:
                raise
            time.sleep(0.01)


@pytest.mark.parametrize("mode", MODES)
def test_every_open_file_follows_a_copy_up(union_mounts: Mounts, mode: str) -> None:
    mounted = union_mounts.union(union_mounts.stack([{"f": b"lower"}]), mode)

    def check() -> None:
        reader = os.open(mounted.path / "f", os.O_RDONLY)
        assert os.read(reader, 9) == b"lower"
        writer = os.open(mounted.path / "f", os.O_RDWR)
        assert os.pwrite(writer, b"U", 0) == 1
        assert os.pread(reader, 9, 0) == os.pread(writer, 9, 0) == b"Uower"
        os.close(reader)
        later = os.open(mounted.path / "f", os.O_RDONLY)
        os.unlink(mounted.path / "f")
        assert os.pwrite(writer, b"V", 0) == 1
        assert os.pread(later, 9, 0) == b"Vower"
        os.close(writer)
        os.close(later)

    mounted.call(check)


@pytest.mark.parametrize("mode", MODES)
def test_what_is_written_passing_through_is_what_the_cache_shows_later(
    union_mounts: Mounts, mode: str
) -> None:
    """Cached, then passing through, then cached again: no page of the first time may be left."""
    mounted = union_mounts.union(union_mounts.stack([{"f": b"1" * 5000}]), mode)

    def check() -> None:
        path = mounted.path / "f"
        assert path.read_bytes() == b"1" * 5000
        for digit in (b"2", b"3"):
            with path.open("r+b") as file:
                file.write(digit * 5000)
            assert path.read_bytes() == digit * 5000
        path.write_bytes(b"4" * 10)
        assert path.read_bytes() == b"4" * 10
        assert path.stat().st_size == 10

    mounted.call(check)


def test_opens_and_releases_balance(union_mounts: Mounts) -> None:
    mounted = union_mounts.union(union_mounts.stack([TREE]), "io=passthrough")

    def check() -> None:
        for number in range(FILES):
            with (mounted.path / f"d/f{number:03}").open("r+b") as one, open(one.name, "rb") as other:
                one.write(b"x")
                one.flush()
                assert other.read(1) == b"x"

    mounted.call(check)
    after = counters(mounted)
    assert after["open"] == after["release"] == 2 * FILES
    assert "write" not in after  # they passed through


def test_zero_message_opens(union_mounts: Mounts) -> None:
    mounted = union_mounts.union(union_mounts.stack([TREE]), "io=cached")

    def check() -> None:
        for number in range(FILES):
            (mounted.path / f"d/f{number:03}").read_bytes()
            (mounted.path / f"new{number}").write_bytes(b"new")
            os.listdir(mounted.path)

    mounted.call(check)
    after = counters(mounted)
    assert after["open"] == after["opendir"] == after["create"] == after["flush"] == 1
    assert "release" not in after


def test_setuid_set_on_an_open_file_goes_with_the_next_writer(union_mounts: Mounts) -> None:
    mounted = union_mounts.union(union_mounts.stack([{}]), "io=passthrough,allow_other,suid")
    path = mounted.path / "f"

    def prepare() -> None:
        path.write_bytes(b"x")
        path.chmod(0o777)

    def as_user() -> None:
        os.setgroups([])
        os.setresgid(1234, 1234, 1234)
        os.setresuid(1234, 1234, 1234)
        with path.open("r+b") as file:
            file.write(b"y")

    def check() -> None:
        with path.open("rb"):  # it passes through, and so must the writer
            path.chmod(0o6777)
            mounted.call(as_user)
            assert stat.S_IMODE(path.stat().st_mode) == 0o777

    mounted.call(prepare)
    mounted.call(check)


AHEAD = "readahead=4194304"


@pytest.mark.parametrize(
    ("driver", "awake", "upper", "ahead"),
    [
        ("none", False, "", False),
        ("haltpoll", True, "", False),
        ("haltpoll", False, "", True),
        ("haltpoll", False, "/u", False),
        ("intel_idle", None, "", True),
        ("", None, "", True),
    ],
)
def test_files_are_read_ahead_by_default_where_a_read_waits_for_a_processor(
    driver: str, awake: bool | None, upper: str, ahead: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unionfs.fuse.awake.idle_driver", lambda: driver)
    monkeypatch.setattr("unionfs.fuse.awake.DEVICE", "/dev/null")
    for given, expected in ((None, ServerOptions().readahead if ahead else 0), (0, 0), (99, 99)):
        options = MountOptions(lowers=("/",), readahead=given, awake=awake)
        job = serve.Job(options, Places(("/",), upper, "", "/"), "")
        assert serve.server_options(job).readahead == expected


@pytest.mark.parametrize("kinds", ["dir", "tar"])
def test_a_scan_is_read_ahead(union_mounts: Mounts, kinds: str) -> None:
    mounted = union_mounts.union(union_mounts.stack([TREE], upper=None, kinds=kinds), AHEAD)

    def scan() -> None:
        for name in os.listdir(mounted.path / "d"):
            os.stat(mounted.path / "d" / name)
            assert (mounted.path / "d" / name).read_bytes() == TREE[f"d/{name}"]

    counters(mounted)
    mounted.call(scan)
    after = counters(mounted)
    assert after["stored_files"] > FILES / 2
    assert after["read"] < FILES / 2


def test_without_read_ahead_every_file_is_asked_for(union_mounts: Mounts) -> None:
    mounted = union_mounts.union(union_mounts.stack([TREE], upper=None), "readahead=0")
    mounted.call(lambda: [(mounted.path / name).read_bytes() for name in TREE])
    assert counters(mounted)["read"] >= FILES
    assert counters(mounted)["stored_files"] == 0


def reader(base: str, rounds: int) -> None:
    """Each file must be whole: all of one value, but for a first byte that only grows."""
    for _ in range(rounds):
        for number in range(FILES):
            found = Path(f"{base}/d/f{number:03}").read_bytes()
            assert found[1:] == TREE[f"d/f{number:03}"][1:]


def writer(base: str, first: int) -> None:
    for number in range(first, FILES, 3):
        path = f"{base}/d/f{number:03}"
        for value in (b"A", b"B"):
            with open(path, "r+b") as file:
                file.write(value)
            with open(path, "rb") as file:
                assert file.read(1) == value


@pytest.mark.parametrize("kinds", ["dir", "tar"])
def test_writers_beside_a_scan_that_is_read_ahead(union_mounts: Mounts, kinds: str) -> None:
    """A store that met a write would bring the old bytes back."""
    mounted = union_mounts.union(union_mounts.stack([TREE], kinds=kinds), f"io=passthrough,{AHEAD}")
    counters(mounted)
    base, context = str(mounted.path), get_context("fork")
    jobs = [context.Process(target=reader, args=(base, 3)) for _ in range(2)]
    jobs += [context.Process(target=writer, args=(base, first)) for first in range(3)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join(60)
    if any(job.is_alive() for job in jobs):
        mounted.kill()
    assert [job.exitcode for job in jobs] == [0] * len(jobs)

    def check() -> None:
        for number in range(FILES):
            expected = b"B" + TREE[f"d/f{number:03}"][1:]
            assert (mounted.path / f"d/f{number:03}").read_bytes() == expected

    mounted.call(check)


def processor_time(pid: int) -> int:
    """Nanoseconds that all threads of a process have run."""
    return sum(int(task.read_text().split()[0]) for task in Path(f"/proc/{pid}/task").glob("*/schedstat"))


def test_an_idle_mount_uses_no_processor_time(union_mounts: Mounts) -> None:
    mounted = union_mounts.union(union_mounts.stack([TREE]))
    mounted.call(lambda: os.listdir(mounted.path / "d"))
    assert mounted.server
    pid = mounted.server.pid

    def stood_still() -> bool:
        """Not at once, perhaps: what a busy machine has put off is done first."""
        before = processor_time(pid)
        time.sleep(1.5)
        return processor_time(pid) == before

    wait_until(stood_still, 20, "an idle server that uses no processor time")


def test_the_machine_is_kept_awake_only_while_there_are_many_requests(union_mounts: Mounts) -> None:
    mounted = union_mounts.union(union_mounts.stack([TREE]), "awake=on,timeout=0")

    def ask_much() -> None:
        until = time.monotonic() + 0.3
        while time.monotonic() < until:
            os.stat(mounted.path / "d")

    mounted.call(ask_much)
    before = counters(mounted)["awake"]
    assert before >= 1
    time.sleep(0.3)
    assert mounted.server
    held = [
        entry for entry in Path(f"/proc/{mounted.server.pid}/fd").iterdir() if "cpu_dma" in os.readlink(entry)
    ]
    assert len(held) == 1
    mounted.call(ask_much)
    assert counters(mounted)["awake"] > before  # it had been taken back


WATCHED = """
import gc
from unionfs.fuse.server import Server
begin = Server.begin
def watched(self, early):
    print("collects:", gc.isenabled())
    return begin(self, early)
Server.begin = watched
import sys
from unionfs.cli import main
sys.exit(main())
"""


def test_garbage_is_collected_before_there_is_a_loop_too(union_mounts: Mounts) -> None:
    made = union_mounts.stack([{"f": b"lower"}])
    program = [sys.executable, "-u", "-c", WATCHED, "-f", "-o", made.options(), str(made.mountpoint)]
    with served(program, made, allowed=("collects: True",)) as mounted:
        mounted.call((mounted.path / "f").read_bytes)
        assert mounted.log
        assert "collects: True" in mounted.log.read_text()


LATE = """
import os, sys, time
import unionfs.early
base, import_module = sys.argv.pop(1), unionfs.early.import_module
def late(name):
    open(base + "/asked", "w").close()
    while not os.path.exists(base + "/go"):
        time.sleep(0.005)
    return import_module(name)
unionfs.early.import_module = late
from unionfs.cli import main
sys.exit(main())
"""


def threads(pid: int) -> list[Path]:
    """The threads of a process but for its first."""
    return [thread for thread in Path(f"/proc/{pid}/task").iterdir() if thread.name != str(pid)]


def blocks(thread: Path, number: int) -> bool:
    mask = (thread / "status").read_text().partition("SigBlk:")[2].split()[0]
    return bool(int(mask, 16) >> (number - 1) & 1)


def overwrite(mounted: Mounted) -> None:
    def write() -> None:
        with open(mounted.path / "big", "r+b") as file:
            file.write(b"B")

    mounted.call(write)


@pytest.mark.parametrize("begin", [overwrite, counters], ids=["a copy-up", "a question"])
def test_others_are_served_while_something_waits_for_the_loop(
    union_mounts: Mounts, begin: Callable[[Mounted], object]
) -> None:
    made = union_mounts.stack([{"big": b"b" * (1 << 20), "d/f": b"lower"}])
    program = [sys.executable, "-c", LATE, str(made.base), "-f", "-o", made.options(), str(made.mountpoint)]
    with served(program, made) as mounted:
        waiter = get_context("fork").Process(target=begin, args=(mounted,))
        waiter.start()
        wait_until((made.base / "asked").exists, 20, "what needs the loop")
        assert mounted.server
        assert [thread for thread in threads(mounted.server.pid) if not blocks(thread, signal.SIGTERM)] == []
        assert mounted.call((mounted.path / "d/f").read_bytes) == b"lower"
        assert waiter.is_alive()
        (made.base / "go").touch()
        waiter.join(20)
        assert waiter.exitcode == 0
