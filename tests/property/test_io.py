"""Random reads and writes, by calls and by maps, against an array of bytes; on new files and on files of a layer.

UNIONFS_IO_OPERATIONS sets how many on each mount.
"""

from __future__ import annotations

import mmap
import os
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.conformance.kit import KEEP_SIZE, PUNCH_HOLE, fallocate
from tests.conftest import Mounts
from tests.support.notation import file

OPERATIONS = int(os.environ.get("UNIONFS_IO_OPERATIONS", "8000"))
LARGEST, LONGEST = 256 << 10, 64 << 10  # bytes: of the file, and of one operation
LOWER = random.Random(0).randbytes(150_000)

TARGETS = {
    "cached": "driver=kernel,io=cached",
    "passthrough": "driver=kernel,io=passthrough",
    "writeback": "driver=kernel,io=cached,writeback=on",
    "uncached": "driver=kernel,io=cached,timeout=0",
    "pyfuse3": "driver=pyfuse3",
}


class Exerciser:
    """One file, the bytes it must hold, and two descriptors of it."""

    def __init__(self, path: Path, model: bytes, seed: int, allocates: bool) -> None:
        self._path, self._model = path, bytearray(model)
        self._random = random.Random(seed)
        self._allocates = allocates
        self._open()

    def run(self, operations: int) -> bytes:
        """Does so many random operations; gives what the file must hold in the end."""
        actions: list[Callable[[], object]] = [
            *[self.read, self.write, self.mapped_read, self.mapped_write] * 4,
            *[self.truncate, self.copy, self.append] * 2,
            *([self.punch, self.extend] * 2 if self._allocates else []),
            *[self.sync, self.reopen, self.size],
        ]
        for number in range(operations):
            action = self._random.choice(actions)
            try:
                action()
            except AssertionError as e:
                raise AssertionError(f"operation {number}, {action.__name__}: {e}") from None
        self._compare(0, os.pread(self._fd, LARGEST + 1, 0), len(self._model))
        os.close(self._fd)
        os.close(self._other)
        return bytes(self._model)

    def _open(self) -> None:
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        self._other = os.open(self._path, os.O_RDWR)

    def _either(self) -> int:
        return self._random.choice((self._fd, self._other))

    def _range(self, end: int) -> tuple[int, int]:
        offset = self._random.randrange(end)
        return offset, self._random.randint(1, min(LONGEST, end - offset))

    def _inside(self) -> tuple[int, int] | None:
        return self._range(len(self._model)) if self._model else None

    def _compare(self, offset: int, got: bytes, length: int) -> None:
        wanted = self._model[offset : offset + length]
        if got != wanted:
            at = next(
                (i for i, pair in enumerate(zip(got, wanted, strict=False)) if pair[0] != pair[1]), None
            )
            where = (
                f"first wrong byte at {offset + at}"
                if at is not None
                else f"{len(got)} bytes of {len(wanted)}"
            )
            raise AssertionError(f"read of {length} bytes at {offset}: {where}")

    def _lengthen(self, size: int) -> None:
        self._model.extend(bytes(max(0, size - len(self._model))))

    def _store(self, offset: int, data: bytes | bytearray) -> None:
        self._lengthen(offset)
        self._model[offset : offset + len(data)] = data

    def read(self) -> None:
        offset, length = self._range(LARGEST)
        self._compare(offset, os.pread(self._either(), length, offset), length)

    def write(self) -> None:
        offset, length = self._range(LARGEST)
        data = self._random.randbytes(length)
        assert os.pwrite(self._either(), data, offset) == length
        self._store(offset, data)

    def append(self) -> None:
        data = self._random.randbytes(self._random.randint(1, 3000))
        if len(self._model) + len(data) < LARGEST:
            fd = os.open(self._path, os.O_WRONLY | os.O_APPEND)
            os.write(fd, data)
            os.close(fd)
            self._model += data

    def mapped_read(self) -> None:
        if found := self._inside():
            offset, length = found
            with mmap.mmap(self._either(), len(self._model), prot=mmap.PROT_READ) as view:
                self._compare(offset, view[offset : offset + length], length)

    def mapped_write(self) -> None:
        if found := self._inside():
            offset, length = found
            data = self._random.randbytes(length)
            with mmap.mmap(self._either(), len(self._model)) as view:
                view[offset : offset + length] = data
                if self._random.random() < 0.2:
                    view.flush()
            self._store(offset, data)

    def truncate(self) -> None:
        size = self._random.randrange(LARGEST)
        if self._random.random() < 0.5:
            os.ftruncate(self._either(), size)
        else:
            os.truncate(self._path, size)
        del self._model[size:]
        self._lengthen(size)

    def punch(self) -> None:
        if found := self._inside():
            offset, length = found
            fallocate(self._either(), PUNCH_HOLE | KEEP_SIZE, offset, length)
            self._store(offset, bytes(length))

    def extend(self) -> None:
        offset, length = self._range(LARGEST)
        fallocate(self._either(), 0, offset, length)
        self._lengthen(offset + length)

    def copy(self) -> None:
        if not (found := self._inside()):
            return
        source, length = found
        target = self._random.randrange(LARGEST - length)
        if abs(source - target) >= length:
            done = os.copy_file_range(self._either(), self._either(), length, source, target)
            assert done == length
            self._store(target, self._model[source : source + length])

    def sync(self) -> None:
        os.fsync(self._either())

    def reopen(self) -> None:
        os.close(self._fd)
        os.close(self._other)
        self._open()

    def size(self) -> None:
        assert os.fstat(self._either()).st_size == os.stat(self._path).st_size == len(self._model)


def exercise(path: Path, start: bytes, allocates: bool) -> bytes:
    """Half of the operations on one file, which holds `start` at first; gives its bytes in the end."""
    return Exerciser(path, start, len(start), allocates).run(OPERATIONS // 2)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kinds", ["dir", "tar"])
@pytest.mark.parametrize("options", TARGETS.values(), ids=TARGETS.keys())
def test_file_holds_what_was_written(union_mounts: Mounts, options: str, kinds: str) -> None:
    made = union_mounts.stack([{"lower": file(LOWER)}], kinds=kinds)
    mounted = union_mounts.union(made, options)
    allocates = "pyfuse3" not in options  # which has no FALLOCATE
    for name, start in (("lower", LOWER), ("new", b"")):
        wanted = mounted.call(partial(exercise, mounted.path / name, start, allocates), timeout=250)
        assert made.upper
        assert (made.upper / name).read_bytes() == wanted
