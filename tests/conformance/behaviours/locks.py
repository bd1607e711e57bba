"""Advisory locks."""

import fcntl
import os
import struct
from collections.abc import Callable
from errno import EACCES, EAGAIN
from pathlib import Path

from tests.conformance.kit import behaviour, opened, refuses
from tests.support import process

EXCLUSIVE = fcntl.LOCK_EX | fcntl.LOCK_NB
SHARED = fcntl.LOCK_SH | fcntl.LOCK_NB
FLOCK = "hhqqi4x"  # struct flock on 64-bit Linux
F_OFD_SETLK = 37


def _file(d: Path) -> Path:
    (d / "f").write_bytes(b"x" * 100)
    return d / "f"


def _elsewhere(path: Path, action: Callable[[int], object]) -> None:
    """Runs the action on a descriptor of another process."""

    def inside() -> None:
        with opened(path, os.O_RDWR) as fd:
            action(fd)

    process.in_child(inside)


def _refused(action: Callable[[int], object]) -> Callable[[int], None]:
    def check(fd: int) -> None:
        with refuses(EAGAIN, EACCES):
            action(fd)

    return check


@behaviour()
def flock_excludes_other_descriptors(d: Path) -> None:
    f = _file(d)
    with opened(f) as one, opened(f) as two:
        fcntl.flock(one, EXCLUSIVE)
        with refuses(EAGAIN):
            fcntl.flock(two, EXCLUSIVE)
        with refuses(EAGAIN):
            fcntl.flock(two, SHARED)
        fcntl.flock(one, fcntl.LOCK_UN)
        fcntl.flock(two, EXCLUSIVE)


@behaviour()
def flock_is_shared_by_readers(d: Path) -> None:
    f = _file(d)
    with opened(f) as one, opened(f) as two:
        fcntl.flock(one, SHARED)
        fcntl.flock(two, SHARED)
        with refuses(EAGAIN):
            fcntl.flock(one, EXCLUSIVE)


@behaviour()
def flock_is_released_by_close(d: Path) -> None:
    f = _file(d)
    with opened(f) as one:
        with opened(f) as two:
            fcntl.flock(two, EXCLUSIVE)
        fcntl.flock(one, EXCLUSIVE)


@behaviour()
def flock_works_on_directories(d: Path) -> None:
    with opened(d) as one, opened(d) as two:
        fcntl.flock(one, EXCLUSIVE)
        with refuses(EAGAIN):
            fcntl.flock(two, EXCLUSIVE)


@behaviour()
def record_lock_excludes_other_processes(d: Path) -> None:
    f = _file(d)
    with opened(f, os.O_RDWR) as fd:
        fcntl.lockf(fd, EXCLUSIVE, 10, 0)
        _elsewhere(f, _refused(lambda other: fcntl.lockf(other, EXCLUSIVE, 10, 5)))
        _elsewhere(f, lambda other: fcntl.lockf(other, EXCLUSIVE, 10, 10))
        fcntl.lockf(fd, fcntl.LOCK_UN)
        _elsewhere(f, lambda other: fcntl.lockf(other, EXCLUSIVE))


@behaviour()
def record_locks_of_readers_are_shared(d: Path) -> None:
    f = _file(d)
    with opened(f, os.O_RDWR) as fd:
        fcntl.lockf(fd, SHARED)
        _elsewhere(f, lambda other: fcntl.lockf(other, SHARED))
        _elsewhere(f, _refused(lambda other: fcntl.lockf(other, EXCLUSIVE)))


@behaviour()
def record_lock_tells_its_holder(d: Path) -> None:
    f, holder = _file(d), os.getpid()

    def ask(fd: int) -> None:
        answer = fcntl.fcntl(fd, fcntl.F_GETLK, struct.pack(FLOCK, fcntl.F_WRLCK, 0, 0, 0, 0))
        kind, _, start, length, pid = struct.unpack(FLOCK, answer)
        assert (kind, start, length, pid) == (fcntl.F_WRLCK, 20, 30, holder)

    with opened(f, os.O_RDWR) as fd:
        fcntl.lockf(fd, EXCLUSIVE, 30, 20)
        _elsewhere(f, ask)


@behaviour()
def record_lock_goes_with_its_process(d: Path) -> None:
    f = _file(d)
    _elsewhere(f, lambda other: fcntl.lockf(other, EXCLUSIVE))
    with opened(f, os.O_RDWR) as fd:
        fcntl.lockf(fd, EXCLUSIVE)


@behaviour()
def record_lock_goes_with_the_first_close(d: Path) -> None:
    f = _file(d)
    with opened(f, os.O_RDWR) as fd:
        fcntl.lockf(fd, EXCLUSIVE)
        os.close(os.open(f, os.O_RDONLY))  # POSIX: any close by the process releases its locks
        _elsewhere(f, lambda other: fcntl.lockf(other, EXCLUSIVE))


@behaviour()
def open_file_description_locks_exclude_each_other(d: Path) -> None:
    f = _file(d)
    whole = struct.pack(FLOCK, fcntl.F_WRLCK, 0, 0, 0, 0)
    with opened(f, os.O_RDWR) as one, opened(f, os.O_RDWR) as two:
        fcntl.fcntl(one, F_OFD_SETLK, whole)
        with refuses(EAGAIN, EACCES):
            fcntl.fcntl(two, F_OFD_SETLK, whole)


@behaviour()
def locks_follow_hard_links_and_renames(d: Path) -> None:
    f = _file(d)
    os.link(f, d / "g")
    with opened(f) as one:
        fcntl.flock(one, EXCLUSIVE)
        f.rename(d / "h")
        with opened(d / "g") as two, refuses(EAGAIN):
            fcntl.flock(two, EXCLUSIVE)
