"""Times: what changes them, and that they are kept to the nanosecond."""

import mmap
import os
import time
from collections.abc import Callable
from errno import EACCES, EPERM
from pathlib import Path

from tests.conformance.kit import Needs, as_user, behaviour, opened, refuses

OLD = 1_000_000_000_123_456_789
TICK = 0.011  # longer than a tick of the kernel, the grain of its clock for files


def _aged(path: Path) -> Path:
    os.utime(path, ns=(OLD, OLD))
    return path


def _file(d: Path) -> Path:
    (d / "f").write_bytes(b"x" * 5000)
    return _aged(d / "f")


def _changes(path: Path, action: Callable[[], object]) -> set[str]:
    """Which of mtime and ctime the action moved."""
    before = os.lstat(path)
    time.sleep(TICK)
    action()
    after = os.lstat(path)
    return {name for name in ("mtime", "ctime") if _ns(after, name) != _ns(before, name)}


def _ns(info: os.stat_result, name: str) -> int:
    return int(getattr(info, f"st_{name}_ns"))


def _write(path: Path, data: bytes = b"y") -> None:
    with opened(path, os.O_WRONLY) as fd:
        os.write(fd, data)


@behaviour()
def utime_keeps_nanoseconds(d: Path) -> None:
    for path in (_file(d), d):
        os.utime(path, ns=(1_111_111_111_111_111_111, 1_222_222_222_222_222_222))
        info = path.stat()
        assert info.st_mtime_ns == 1_222_222_222_222_222_222
        assert info.st_atime_ns == 1_111_111_111_111_111_111


@behaviour()
def utime_of_a_symlink_leaves_its_target(d: Path) -> None:
    _file(d)
    (d / "l").symlink_to("f")
    os.utime(d / "l", ns=(5, 7), follow_symlinks=False)
    assert os.lstat(d / "l").st_mtime_ns == 7
    assert (d / "f").stat().st_mtime_ns == OLD


@behaviour()
def utime_works_before_1970_and_after_2038(d: Path) -> None:
    f = _file(d)
    for seconds in (-86_400, 4_102_444_800, 0):
        os.utime(f, ns=(seconds * 10**9, seconds * 10**9 + 1))
        assert f.stat().st_mtime_ns == seconds * 10**9 + 1


@behaviour()
def utime_now_is_now(d: Path) -> None:
    f = _file(d)
    before = time.time_ns() - 10**9
    os.utime(f)
    assert before < f.stat().st_mtime_ns < time.time_ns() + 10**9


@behaviour()
def write_changes_mtime_and_ctime(d: Path) -> None:
    f = _file(d)
    assert _changes(f, lambda: _write(f)) == {"mtime", "ctime"}


@behaviour()
def write_is_seen_in_mtime_while_the_file_is_open(d: Path) -> None:
    f = _file(d)
    with opened(f, os.O_WRONLY) as fd:
        os.write(fd, b"y")
        now = f.stat().st_mtime_ns
        assert now != OLD
        assert os.fstat(fd).st_mtime_ns == now
    assert f.stat().st_mtime_ns == now


@behaviour()
def utime_after_a_write_stays_after_close(d: Path) -> None:
    f = _file(d)
    with opened(f, os.O_WRONLY) as fd:
        os.write(fd, b"y" * 100_000)
        os.utime(fd, ns=(3, 4))
    assert f.stat().st_mtime_ns == 4
    with opened(f, os.O_WRONLY) as fd:
        os.fsync(fd)
    assert f.stat().st_mtime_ns == 4


@behaviour()
def truncate_changes_mtime_and_ctime(d: Path) -> None:
    f = _file(d)
    assert _changes(f, lambda: os.truncate(f, 10)) == {"mtime", "ctime"}
    assert _changes(f, lambda: os.truncate(f, 10_000)) == {"mtime", "ctime"}


@behaviour()
def o_trunc_changes_mtime_of_an_empty_file(d: Path) -> None:
    f = _file(d)
    os.truncate(f, 0)
    _aged(f)
    assert _changes(f, lambda: os.close(os.open(f, os.O_WRONLY | os.O_TRUNC))) == {"mtime", "ctime"}


@behaviour()
def read_changes_neither_mtime_nor_ctime(d: Path) -> None:
    f = _file(d)
    assert _changes(f, f.read_bytes) == set()
    assert _changes(d, lambda: os.listdir(d)) == set()


@behaviour()
def chmod_link_and_rename_change_ctime_only(d: Path) -> None:
    f = _file(d)
    assert _changes(f, lambda: f.chmod(0o600)) == {"ctime"}
    assert _changes(f, lambda: os.link(f, d / "g")) == {"ctime"}
    assert _changes(f, lambda: (d / "g").unlink()) == {"ctime"}


@behaviour(needs=Needs.IDS)
def chown_changes_ctime_only(d: Path) -> None:
    f = _file(d)
    assert _changes(f, lambda: os.chown(f, 1, 1)) == {"ctime"}


@behaviour()
def directory_mtime_follows_its_names(d: Path) -> None:
    sub = d / "d"
    sub.mkdir()
    steps: list[Callable[[], object]] = [
        lambda: (sub / "f").write_bytes(b""),
        lambda: os.link(sub / "f", sub / "g"),
        lambda: (sub / "g").rename(sub / "h"),
        lambda: (sub / "h").unlink(),
        lambda: (sub / "s").mkdir(),
        lambda: (sub / "s").rmdir(),
        lambda: (sub / "l").symlink_to("f"),
        lambda: os.mkfifo(sub / "p"),
    ]
    for step in steps:
        _aged(sub)
        assert _changes(sub, step) == {"mtime", "ctime"}


@behaviour()
def directory_mtime_does_not_follow_contents(d: Path) -> None:
    sub = d / "d"
    sub.mkdir()
    (sub / "f").write_bytes(b"")
    assert _changes(sub, lambda: _write(sub / "f")) == set()
    assert _changes(sub, lambda: (sub / "f").chmod(0o600)) == set()


@behaviour()
def failed_changes_leave_the_directory_time(d: Path) -> None:
    (d / "f").write_bytes(b"")

    def fail() -> None:
        for action in (
            lambda: (d / "f").mkdir(),
            lambda: (d / "x").unlink(),
            lambda: (d / "x").rename(d / "y"),
        ):
            try:
                action()
            except OSError:
                continue
            raise AssertionError("worked")

    assert _changes(d, fail) == set()


@behaviour()
def mapped_write_changes_mtime(d: Path) -> None:
    f = _file(d)

    def store() -> None:
        with opened(f, os.O_RDWR) as fd, mmap.mmap(fd, 4096) as page:
            page[0] = 1
            page.flush()

    assert "mtime" in _changes(f, store)


@behaviour()
def new_entries_have_the_present_time(d: Path) -> None:
    before = time.time_ns() - 10**9
    (d / "f").write_bytes(b"")
    (d / "d").mkdir()
    (d / "l").symlink_to("f")
    for name in ("f", "d", "l"):
        info = os.lstat(d / name)
        for field in ("atime", "mtime", "ctime"):
            assert before < _ns(info, field) < time.time_ns() + 10**9


@behaviour(needs=Needs.IDS)
def utime_by_others_is_refused(d: Path) -> None:
    f = _file(d)
    f.chmod(0o666)

    def try_it() -> None:
        with refuses(EPERM):
            os.utime(f, ns=(1, 1))
        os.utime(f)  # to the present time: whoever may write

    as_user(try_it)
    f.chmod(0o644)

    def try_again() -> None:
        with refuses(EACCES):
            os.utime(f)

    as_user(try_again)


@behaviour()
def space_operations_change_mtime(d: Path) -> None:
    f = _file(d)
    assert "mtime" in _changes(f, lambda: _preallocate(f))


def _preallocate(path: Path) -> None:
    with opened(path, os.O_WRONLY) as fd:
        os.posix_fallocate(fd, 0, 50_000)
