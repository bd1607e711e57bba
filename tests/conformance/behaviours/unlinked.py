"""Files without a name: unlinked while open, replaced while open, and O_TMPFILE."""

import mmap
import os
from errno import ENOENT, ENOTDIR
from pathlib import Path

from tests.conformance.kit import behaviour, fallocate, link_fd, mode, names, opened, refuses, umask

CREATE = os.O_CREAT | os.O_RDWR


@behaviour()
def unlinked_file_stays_readable_and_writable(d: Path) -> None:
    with opened(d / "f", CREATE) as fd:
        os.write(fd, b"before ")
        (d / "f").unlink()
        os.write(fd, b"after")
        assert os.pread(fd, 100, 0) == b"before after"
        info = os.fstat(fd)
        assert (info.st_size, info.st_nlink) == (12, 0)
    assert names(d) == []


@behaviour()
def unlinked_file_can_be_changed_in_all_ways(d: Path) -> None:
    with opened(d / "f", CREATE) as fd:
        os.write(fd, b"x" * 10_000)
        (d / "f").unlink()
        os.ftruncate(fd, 5000)
        os.fchmod(fd, 0o640)
        os.utime(fd, ns=(5, 7))
        os.setxattr(fd, "user.a", b"1")
        info = os.fstat(fd)
        assert (info.st_size, info.st_mode & 0o777, info.st_mtime_ns) == (5000, 0o640, 7)
        assert os.getxattr(fd, "user.a") == b"1"
        fallocate(fd, 0, 0, 20_000)
        assert os.fstat(fd).st_size == 20_000
        os.fsync(fd)


@behaviour()
def unlinked_file_can_be_mapped(d: Path) -> None:
    with opened(d / "f", CREATE) as fd:
        os.write(fd, b"x" * 8192)
        (d / "f").unlink()
        with mmap.mmap(fd, 0) as view:
            view[:3] = b"new"
            view.flush()
        assert os.pread(fd, 4, 0) == b"newx"


@behaviour()
def unlinked_file_is_reopened_through_proc(d: Path) -> None:
    with opened(d / "f", CREATE) as fd:
        os.write(fd, b"data")
        (d / "f").unlink()
        with opened(f"/proc/self/fd/{fd}", os.O_RDWR) as again:
            assert os.read(again, 10) == b"data"
            os.write(again, b"+")
        assert os.fstat(fd).st_size == 5


@behaviour()
def new_file_of_the_same_name_is_another(d: Path) -> None:
    with opened(d / "f", CREATE) as old:
        os.write(old, b"old")
        (d / "f").unlink()
        (d / "f").write_bytes(b"new file")
        os.pwrite(old, b"OLD", 0)
        assert os.pread(old, 10, 0) == b"OLD"
        assert os.fstat(old).st_ino != (d / "f").stat().st_ino
    assert (d / "f").read_bytes() == b"new file"


@behaviour()
def replaced_file_stays_writable(d: Path) -> None:
    (d / "new").write_bytes(b"new")
    with opened(d / "f", CREATE) as old:
        (d / "new").rename(d / "f")
        os.write(old, b"lost")
        assert os.fstat(old).st_nlink == 0
        assert os.fstat(old).st_size == 4
    assert (d / "f").read_bytes() == b"new"


@behaviour()
def file_is_gone_for_good_after_the_last_close(d: Path) -> None:
    one, two = os.open(d / "f", CREATE), os.open(d / "f", os.O_RDWR)
    (d / "f").unlink()
    os.write(one, b"x")
    os.close(one)
    assert os.read(two, 2) == b"x"
    os.close(two)
    assert names(d) == []


@behaviour()
def many_unlinked_files_live_at_once(d: Path) -> None:
    fds = []
    for i in range(50):
        fds.append(os.open(d / "f", CREATE | os.O_EXCL))
        os.write(fds[-1], b"%d" % i)
        (d / "f").unlink()
    assert [int(os.pread(fd, 10, 0)) for fd in fds] == list(range(50))
    for fd in fds:
        os.close(fd)


@behaviour()
def unlinked_file_cannot_be_linked_again(d: Path) -> None:
    with opened(d / "f", CREATE) as fd:
        (d / "f").unlink()
        with refuses(ENOENT):
            link_fd(fd, d / "g")


@behaviour()
def unlinked_fifo_still_connects(d: Path) -> None:
    os.mkfifo(d / "p")
    with opened(d / "p", os.O_RDWR) as fd:
        (d / "p").unlink()
        os.write(fd, b"through")
        assert os.read(fd, 10) == b"through"


@behaviour()
def removed_directory_that_is_open_can_be_examined(d: Path) -> None:
    (d / "gone").mkdir()
    with opened(d / "gone") as fd:
        (d / "gone").rmdir()
        os.fchmod(fd, 0o700)
        assert os.fstat(fd).st_mode & 0o777 == 0o700


@behaviour()
def tmpfile_has_no_name(d: Path) -> None:
    with opened(d, os.O_TMPFILE | os.O_RDWR) as fd:
        os.write(fd, b"temporary")
        assert os.pread(fd, 20, 0) == b"temporary"
        assert os.fstat(fd).st_nlink == 0
        assert names(d) == []


@behaviour()
def tmpfile_gets_a_name_by_link(d: Path) -> None:
    with opened(d, os.O_TMPFILE | os.O_RDWR, 0o640) as fd:
        os.write(fd, b"published")
        link_fd(fd, d / "f")
        assert os.fstat(fd).st_nlink == 1
        os.write(fd, b"!")
        assert os.fstat(fd).st_ino == (d / "f").stat().st_ino
    assert (d / "f").read_bytes() == b"published!"
    assert mode(d / "f") == 0o640


@behaviour()
def exclusive_tmpfile_cannot_get_a_name(d: Path) -> None:
    with opened(d, os.O_TMPFILE | os.O_RDWR | os.O_EXCL) as fd, refuses(ENOENT):
        link_fd(fd, d / "f")


@behaviour()
def tmpfile_honours_the_umask(d: Path) -> None:
    with umask(0o027), opened(d, os.O_TMPFILE | os.O_RDWR, 0o666) as fd:
        assert os.fstat(fd).st_mode & 0o777 == 0o640


@behaviour()
def tmpfile_needs_a_directory(d: Path) -> None:
    (d / "f").write_bytes(b"")
    with refuses(ENOTDIR):
        os.open(d / "f", os.O_TMPFILE | os.O_RDWR)
