"""Memory maps of files."""

import mmap
import os
import signal
from pathlib import Path

from tests.conformance.kit import behaviour, opened

PAGE = mmap.PAGESIZE


def _file(d: Path, size: int = 4 * PAGE) -> Path:
    (d / "f").write_bytes(b"a" * size)
    return d / "f"


@behaviour()
def mapped_file_shows_its_bytes(d: Path) -> None:
    with opened(_file(d, PAGE + 10)) as fd, mmap.mmap(fd, 0, prot=mmap.PROT_READ) as view:
        assert len(view) == PAGE + 10
        assert view[:] == b"a" * (PAGE + 10)


@behaviour()
def mapped_write_is_read_back(d: Path) -> None:
    f = _file(d)
    with opened(f, os.O_RDWR) as fd, mmap.mmap(fd, 0) as view:
        view[PAGE : PAGE + 3] = b"new"
        assert os.pread(fd, 3, PAGE) == b"new"
        view.flush()
    assert f.read_bytes() == b"a" * PAGE + b"new" + b"a" * (3 * PAGE - 3)


@behaviour()
def write_is_seen_in_the_map(d: Path) -> None:
    f = _file(d)
    with opened(f, os.O_RDWR) as fd, mmap.mmap(fd, 0) as view, opened(f, os.O_WRONLY) as other:
        assert view[0] == ord("a")
        os.pwrite(other, b"new", 0)
        assert view[:3] == b"new"


@behaviour()
def private_map_does_not_change_the_file(d: Path) -> None:
    f = _file(d)
    with (
        opened(f) as fd,
        mmap.mmap(fd, 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE) as view,
    ):
        view[:3] = b"new"
        assert view[:3] == b"new"
    assert f.read_bytes() == b"a" * 4 * PAGE


@behaviour()
def map_outlives_descriptor_and_name(d: Path) -> None:
    f = _file(d)
    fd = os.open(f, os.O_RDWR)
    view = mmap.mmap(fd, 0)
    os.close(fd)
    f.unlink()
    view[PAGE] = ord("b")
    assert view[PAGE : PAGE + 2] == b"ba"
    view.flush()
    view.close()


@behaviour()
def two_processes_share_a_map(d: Path) -> None:
    f = _file(d)
    pid = os.fork()
    if pid == 0:
        with opened(f, os.O_RDWR) as fd, mmap.mmap(fd, 0) as view:
            view[:5] = b"child"
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    with opened(f) as fd, mmap.mmap(fd, 0, prot=mmap.PROT_READ) as view:
        assert view[:5] == b"child"


@behaviour()
def map_beyond_the_end_is_a_bus_error(d: Path) -> None:
    f = _file(d)
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGBUS, signal.SIG_DFL)
        with opened(f, os.O_RDWR) as fd, mmap.mmap(fd, 0) as view:
            os.ftruncate(fd, 0)
            os._exit(view[2 * PAGE] and 1)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGBUS


@behaviour()
def last_page_of_a_map_ends_with_zeros(d: Path) -> None:
    f = _file(d, 100)
    with opened(f, os.O_RDWR) as fd, mmap.mmap(fd, 0) as view:
        assert view[:] == b"a" * 100
    os.truncate(f, PAGE)
    with opened(f, os.O_RDWR) as fd, mmap.mmap(fd, PAGE) as view:
        assert view[:] == b"a" * 100 + bytes(PAGE - 100)


@behaviour()
def mapped_writes_grow_with_the_file(d: Path) -> None:
    with opened(d / "f", os.O_CREAT | os.O_RDWR) as fd:
        for size in (PAGE, 2 * PAGE, 8 * PAGE):
            os.ftruncate(fd, size)
            with mmap.mmap(fd, size) as view:
                view[size - 1] = ord("e")
    data = (d / "f").read_bytes()
    assert [i for i, byte in enumerate(data) if byte] == [PAGE - 1, 2 * PAGE - 1, 8 * PAGE - 1]


@behaviour()
def mapped_writes_are_seen_through_a_hard_link(d: Path) -> None:
    f = _file(d)
    os.link(f, d / "g")
    with opened(f, os.O_RDWR) as fd, mmap.mmap(fd, 0) as view:
        view[:3] = b"new"
        assert (d / "g").read_bytes()[:3] == b"new"
