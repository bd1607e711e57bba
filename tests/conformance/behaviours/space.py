"""Allocation, holes, copying in the kernel, and the size of the file system."""

import os
from errno import EBADF, EINVAL, EISDIR, ENODEV, ENXIO, EOPNOTSUPP
from pathlib import Path

from tests.conformance.kit import (
    COLLAPSE_RANGE,
    INSERT_RANGE,
    KEEP_SIZE,
    PUNCH_HOLE,
    ZERO_RANGE,
    behaviour,
    fallocate,
    opened,
    refuses,
)
from tests.support import process

CREATE = os.O_CREAT | os.O_RDWR
BLOCK = 65_536  # a multiple of every block size in use


@behaviour()
def fallocate_extends_with_zeros(d: Path) -> None:
    (d / "f").write_bytes(b"abc")
    with opened(d / "f", os.O_RDWR) as fd:
        fallocate(fd, 0, 0, BLOCK)
        assert os.fstat(fd).st_size == BLOCK
        assert os.fstat(fd).st_blocks * 512 >= BLOCK
        assert os.pread(fd, BLOCK, 0) == b"abc" + bytes(BLOCK - 3)


@behaviour()
def fallocate_can_keep_the_size(d: Path) -> None:
    (d / "f").write_bytes(b"abc")
    with opened(d / "f", os.O_RDWR) as fd:
        fallocate(fd, KEEP_SIZE, 0, 4 * BLOCK)
        assert os.fstat(fd).st_size == 3
        assert os.read(fd, 10) == b"abc"


@behaviour()
def punched_hole_reads_as_zeros(d: Path) -> None:
    (d / "f").write_bytes(b"x" * 3 * BLOCK)
    with opened(d / "f", os.O_RDWR) as fd:
        before = os.fstat(fd).st_blocks
        fallocate(fd, PUNCH_HOLE | KEEP_SIZE, BLOCK, BLOCK)
        assert os.fstat(fd).st_size == 3 * BLOCK
        assert os.pread(fd, 3 * BLOCK, 0) == b"x" * BLOCK + bytes(BLOCK) + b"x" * BLOCK
        os.fsync(fd)
        assert os.fstat(fd).st_blocks < before or before * 512 < 3 * BLOCK


@behaviour()
def punched_hole_within_a_page_reads_as_zeros(d: Path) -> None:
    (d / "f").write_bytes(b"x" * 100)
    with opened(d / "f", os.O_RDWR) as fd:
        fallocate(fd, PUNCH_HOLE | KEEP_SIZE, 10, 20)
    assert (d / "f").read_bytes() == b"x" * 10 + bytes(20) + b"x" * 70


def _range(path: Path, how: int) -> bytes | None:
    """What the file holds after the operation on its second block of three; None: the backing cannot do it."""
    path.write_bytes(b"".join(letter * BLOCK for letter in (b"a", b"b", b"c")))
    with opened(path, os.O_RDWR) as fd:
        try:
            fallocate(fd, how, BLOCK, BLOCK)
        except OSError as error:
            if error.errno != EOPNOTSUPP or os.fstat(fd).st_size != 3 * BLOCK:
                raise
            return None
    return path.read_bytes()


A, B, C, ZERO = b"a" * BLOCK, b"b" * BLOCK, b"c" * BLOCK, bytes(BLOCK)


@behaviour()
def range_operations_work_or_are_refused_cleanly(d: Path) -> None:
    assert _range(d / "zero", ZERO_RANGE) in (None, A + ZERO + C)
    assert _range(d / "collapse", COLLAPSE_RANGE) in (None, A + C)
    assert _range(d / "insert", INSERT_RANGE) in (None, A + ZERO + B + C)


@behaviour()
def fallocate_checks_its_arguments(d: Path) -> None:
    with opened(d / "f", CREATE) as fd:
        for offset, length in ((-1, 10), (0, 0), (0, -1)):
            with refuses(EINVAL):
                fallocate(fd, 0, offset, length)
        with refuses(EOPNOTSUPP, EINVAL):
            fallocate(fd, PUNCH_HOLE, 0, 10)  # only together with KEEP_SIZE
    with opened(d / "f") as fd, refuses(EBADF):
        fallocate(fd, 0, 0, 10)
    with opened(d) as fd, refuses(EBADF, EISDIR, ENODEV):
        fallocate(fd, 0, 0, 10)


@behaviour()
def holes_are_found(d: Path) -> None:
    with opened(d / "f", CREATE) as fd:
        os.pwrite(fd, b"data", 2 * BLOCK)
        os.ftruncate(fd, 5 * BLOCK)
        os.fsync(fd)
        assert os.lseek(fd, 0, os.SEEK_HOLE) == 0
        assert os.lseek(fd, 0, os.SEEK_DATA) == 2 * BLOCK
        assert 2 * BLOCK < os.lseek(fd, 2 * BLOCK, os.SEEK_HOLE) <= 3 * BLOCK
        with refuses(ENXIO):
            os.lseek(fd, 3 * BLOCK, os.SEEK_DATA)


@behaviour()
def hole_of_a_full_file_is_its_end(d: Path) -> None:
    (d / "f").write_bytes(b"x" * 1000)
    with opened(d / "f") as fd:
        assert os.lseek(fd, 0, os.SEEK_DATA) == 0
        assert os.lseek(fd, 0, os.SEEK_HOLE) == 1000
        with refuses(ENXIO):
            os.lseek(fd, 1000, os.SEEK_HOLE)


@behaviour()
def sparse_file_takes_no_space(d: Path) -> None:
    with opened(d / "f", CREATE) as fd:
        os.ftruncate(fd, 1 << 30)
        assert os.fstat(fd).st_size == 1 << 30
        assert os.fstat(fd).st_blocks * 512 < 1 << 20


@behaviour()
def copy_file_range_copies(d: Path) -> None:
    data = bytes(range(256)) * 1000
    (d / "f").write_bytes(data)
    with opened(d / "f") as source, opened(d / "g", CREATE) as target:
        done = 0
        while got := os.copy_file_range(source, target, len(data)):
            done += got
        assert done == len(data)
    assert (d / "g").read_bytes() == data


@behaviour()
def copy_file_range_honours_offsets(d: Path) -> None:
    (d / "f").write_bytes(b"0123456789")
    (d / "g").write_bytes(b"abcdefghij")
    with opened(d / "f") as source, opened(d / "g", os.O_RDWR) as target:
        assert os.copy_file_range(source, target, 3, offset_src=2, offset_dst=5) == 3
        assert os.copy_file_range(source, target, 100, offset_src=10, offset_dst=0) == 0
        assert os.copy_file_range(source, target, 100, offset_src=8, offset_dst=20) == 2
    assert (d / "g").read_bytes() == b"abcde234ij" + bytes(10) + b"89"


@behaviour()
def copy_file_range_within_a_file(d: Path) -> None:
    (d / "f").write_bytes(b"0123456789")
    with opened(d / "f", os.O_RDWR) as fd:
        assert os.copy_file_range(fd, fd, 4, offset_src=0, offset_dst=6) == 4
        with refuses(EINVAL):
            os.copy_file_range(fd, fd, 6, offset_src=0, offset_dst=3)
    assert (d / "f").read_bytes() == b"0123450123"


@behaviour()
def copy_file_range_checks_its_descriptors(d: Path) -> None:
    (d / "f").write_bytes(b"abc")
    with opened(d / "f") as source, opened(d / "f") as reader, refuses(EBADF):
        os.copy_file_range(source, reader, 1)
    with opened(d) as folder, opened(d / "g", CREATE) as target, refuses(EISDIR):
        os.copy_file_range(folder, target, 1)


@behaviour()
def statfs_tells_sizes(d: Path) -> None:
    info = os.statvfs(d)
    assert info.f_namemax == 255
    assert info.f_bsize >= 512
    assert info.f_blocks >= info.f_bfree >= info.f_bavail > 0
    (d / "f").write_bytes(b"")
    with opened(d / "f") as fd:
        assert os.fstatvfs(fd).f_blocks == info.f_blocks


@behaviour()
def blocks_grow_with_the_data(d: Path) -> None:
    (d / "f").write_bytes(b"x" * 1_000_000)
    with opened(d / "f") as fd:
        os.fsync(fd)
    assert 1_000_000 <= (d / "f").stat().st_blocks * 512 < 2_000_000


@behaviour()
def file_system_can_be_synced(d: Path) -> None:
    (d / "f").write_bytes(b"x")
    with opened(d) as fd:
        os.fsync(fd)
        os.fdatasync(fd)
    with opened(d) as fd:
        process.checked(process.LIBC.syncfs(fd))
    assert (d / "f").read_bytes() == b"x"
