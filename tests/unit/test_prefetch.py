"""Read ahead across files: what is asked for, and what never is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from unionfs.prefetch import LOOK_BACK, MAX_FILE, MAX_REMEMBERED, WINDOWS, ReadAhead

MIB = 1 << 20
DIRECTORIES = 1000


def following(inode: int, n: int) -> list[int]:
    """Directories of a hundred files: inode 1234 is file 34 of directory 12."""
    last = inode - inode % 100 + 100
    return list(range(inode + 1, min(inode + 1 + n, last)))


class Reader:
    """A process that reads whole files; what was stored before costs it no message, as in the kernel."""

    def __init__(self, ahead: ReadAhead, process: int = 1, size: int = 4096) -> None:
        self.ahead, self.process, self.size = ahead, process, size
        self.stored: set[int] = set()
        self.messages = 0

    def read(self, inode: int) -> None:
        if inode in self.stored:
            return
        self.messages += 1
        taken = [
            one
            for one in self.ahead.used(self.process, inode // 100, inode)
            if self.ahead.take(one, self.size)
        ]
        assert not self.stored & set(taken)
        self.stored |= set(taken)
        for _ in taken:
            self.ahead.landed(self.size)


def test_a_scan_of_a_directory_is_seen_at_its_second_file() -> None:
    reader = Reader(ReadAhead(4 * MIB, following))
    reader.read(100)
    assert not reader.stored
    reader.read(101)
    assert min(reader.stored) == 102
    for inode in range(102, 200):
        reader.read(inode)
    assert reader.messages <= 8


def test_the_next_directory_needs_no_second_file() -> None:
    reader = Reader(ReadAhead(4 * MIB, following))
    for inode in range(100, 200):
        reader.read(inode)
    before = reader.messages
    reader.read(300)
    assert 301 in reader.stored
    assert reader.messages == before + 1


def test_single_files_of_many_directories_get_nothing_soon() -> None:
    reader = Reader(ReadAhead(4 * MIB, following))
    for inode in range(100, 200):
        reader.read(inode)
    for directory in range(10, 40):
        reader.read(directory * 100 + 50)
    late = {one for one in reader.stored if one >= 20 * 100}
    assert not late


def test_reads_without_order_are_left_alone_and_cost_little() -> None:
    asked: list[int] = []

    def counting(inode: int, n: int) -> list[int]:
        asked.append(inode)
        return following(inode, n)

    reader = Reader(ReadAhead(4 * MIB, counting))
    for step in range(90):
        reader.read(100 + step * 37 % 90)
    assert not reader.stored
    assert len(asked) <= 16


def test_an_ordered_scan_is_looked_ahead_in_strides() -> None:
    asked: list[int] = []

    def counting(inode: int, n: int) -> list[int]:
        asked.append(inode)
        return list(range(inode + 1, inode + 1 + n))

    ahead = ReadAhead(4 * MIB, counting)
    for inode in range(1000):
        ahead.used(1, 1, inode)
    assert len(asked) <= 1000 // (WINDOWS[-1] // 2) + 10


def test_files_left_out_do_not_break_a_scan() -> None:
    reader = Reader(ReadAhead(4 * MIB, following))
    reader.read(100)
    reader.read(100 + LOOK_BACK)
    assert reader.stored


def test_processes_are_told_apart() -> None:
    ahead = ReadAhead(4 * MIB, following)
    one, other = Reader(ahead, process=1), Reader(ahead, process=2)
    for step in range(6):
        one.read(100 + step)
        other.read(500 - step * 7)
    assert one.stored
    assert not other.stored


def test_large_and_empty_files_are_not_stored() -> None:
    ahead = ReadAhead(4 * MIB, following)
    assert not ahead.take(1, 0)
    assert not ahead.take(1, MAX_FILE + 1)
    assert ahead.take(1, MAX_FILE)


def test_a_file_forgotten_by_the_kernel_may_come_again() -> None:
    ahead = ReadAhead(4 * MIB, following)
    ahead.used(1, 1, 100)
    first = ahead.used(1, 1, 101)
    assert all(ahead.take(one, 1) for one in first)
    assert not set(ahead.used(2, 1, 102)) & set(first)
    for inode in (100, 101, first[5]):
        ahead.forgotten(inode)
    ahead.used(3, 1, 100)
    assert set(ahead.used(3, 1, 101)) & set(first) == {first[5]}


def test_files_that_have_been_read_cost_nothing_the_next_time() -> None:
    asked: list[int] = []

    def counting(inode: int, n: int) -> list[int]:
        asked.append(inode)
        return following(inode, n)

    ahead = ReadAhead(4 * MIB, counting)
    for inode in range(100, 150):
        for one in ahead.used(1, 1, inode):
            ahead.take(one, 1)
    asked.clear()
    for process in range(2, 10):
        for inode in range(100, 150):
            assert ahead.used(process, 1, inode) == []
    assert not asked


def test_a_scan_goes_on_from_what_was_stored_for_it() -> None:
    ahead = ReadAhead(4 * MIB, following)
    for inode in range(100, 200):
        for one in ahead.used(1, 1, inode):
            ahead.take(one, 1)
            ahead.landed(1)
        assert len(ahead._done) >= min(inode - 99 + (inode > 100) * 8, 100)


def test_the_open_and_the_read_of_a_file_are_one_use() -> None:
    ahead = ReadAhead(4 * MIB, following)
    for inode in (100, 101):
        seen = ahead.used(1, 1, inode)
        assert ahead.used(1, 1, inode) == []
    assert seen


def test_memory_is_bounded() -> None:
    ahead = ReadAhead(4 * MIB, following)
    for inode in range(MAX_REMEMBERED * 2):
        ahead.used(inode % 500, inode // 100, inode)
    assert len(ahead._done) <= MAX_REMEMBERED
    assert len(ahead._scans) <= 64


@given(
    st.lists(st.tuples(st.integers(1, 3), st.integers(0, 399), st.integers(0, 2 * MAX_FILE)), max_size=80),
    st.integers(0, MIB),
)
def test_never_more_under_way_than_the_budget(uses: list[tuple[int, int, int]], budget: int) -> None:
    ahead, under_way = ReadAhead(budget, following), []
    for process, inode, size in uses:
        found = ahead.used(process, inode // 100, inode)
        assert len(found) <= WINDOWS[-1]
        assert inode not in found
        under_way += [size for one in found if ahead.take(one, size)]
        assert sum(under_way) == ahead.under_way <= budget
        if len(under_way) > 3:
            ahead.landed(under_way.pop())
