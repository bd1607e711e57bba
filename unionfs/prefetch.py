"""Read ahead across files: which files a process is likely to read next. PURE.

A process that reads the files of a directory in the order of its listing gets the following ones before it
asks. How many is learned for each process: four steps up for every read that was foreseen, one step down for
every one that was not. Entering another directory is one step down too, so that a scan of small directories
stays ahead, and one that has come to pick single files soon gets nothing any more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice

Following = Callable[[int, int], Sequence[int]]
"""(inode, n) -> up to n regular files that follow it in its directory's listing and that the kernel knows."""

MAX_FILE = 512 << 10
"""Bytes. The kernel's own read-ahead serves larger files."""

WINDOWS = (0, 8, 12, 16, 24, 32, 48, 64, 96)
"""Files to look at, by confidence."""

LOOK_BACK = 8  # files that may be left out between two reads that still follow each other
MAX_PROCESSES = 64
MAX_REMEMBERED = 1 << 16  # inodes; one that has been dropped from memory may be stored again, to no harm


class Scan:
    """What one process has done."""

    __slots__ = ("directory", "expected", "last", "level", "patience")

    def __init__(self) -> None:
        self.directory = self.last = 0
        self.expected: Sequence[int] = ()  # the files that would confirm the order; known at levels above 0
        self.level = 0
        self.patience = 0  # reads without an order, in a row


class ReadAhead:
    # INVARIANT: 0 <= under_way <= budget

    def __init__(self, budget: int, following: Following) -> None:
        """`budget`: bytes that may be under way to the page cache at any moment."""
        self._budget = budget
        self._following = following
        self._scans: dict[int, Scan] = {}
        self._done: dict[int, bool] = {}  # read (True) or stored: never stored again
        self.under_way = 0

    def used(self, process: int, directory: int, inode: int) -> list[int]:
        """A process begins to read a file: the inodes to `take` next, in their order."""
        if self.is_over(inode):
            return []
        scan = self._scan(process)
        foreseen = scan.directory == directory and self._follows(scan, inode)
        scan.level = min(scan.level + 4, len(WINDOWS) - 1) if foreseen else max(scan.level - 1, 0)
        scan.directory, scan.last = directory, inode
        self._remember(inode, read=True)
        window = WINDOWS[scan.level]
        scan.expected = self._after(scan.expected, inode, window)
        return [one for one in scan.expected[:window] if one not in self._done]

    def is_over(self, inode: int) -> bool:
        """Whether nothing follows from a use of the file: it has been read before.

        It is most likely in the page cache, as are those around it; each who opens it would have to wait for a
        look at them.
        """
        return not self._budget or self._done.get(inode, False)

    def take(self, inode: int, size: int) -> bool:
        """Whether to store the file. If so, its bytes are under way until they have `landed`."""
        if not 0 < size <= MAX_FILE or self.under_way + size > self._budget:
            return False
        self.under_way += size
        self._remember(inode, read=False)
        return True

    def stop(self) -> None:
        """Nothing may be stored: nothing is taken any more, nor looked for."""
        self._budget = 0

    def landed(self, size: int) -> None:
        self.under_way -= size

    def forgotten(self, inode: int) -> None:
        """The kernel has dropped the inode, and its pages with it."""
        self._done.pop(inode, None)

    def _scan(self, process: int) -> Scan:
        scan = self._scans.pop(process, None) or Scan()
        self._scans[process] = scan  # the one used last is at the end
        if len(self._scans) > MAX_PROCESSES:
            del self._scans[next(iter(self._scans))]
        return scan

    def _follows(self, scan: Scan, inode: int) -> bool:
        """Whether the read was foreseen. Without any order yet, this is looked into more and more seldom."""
        if scan.level:
            return inode in scan.expected
        looks = not scan.patience & (scan.patience - 1)  # at 0, 1, 2, 4, 8, …
        found = looks and inode in self._following(scan.last, LOOK_BACK)
        scan.patience = 0 if found else (scan.patience + 1) % 64
        return found

    def _after(self, expected: Sequence[int], inode: int, window: int) -> Sequence[int]:
        """What follows `inode`: what is known of it already, while that is half of what is to be looked at."""
        if not window:
            return ()
        rest = expected[expected.index(inode) + 1 :] if inode in expected else ()
        return rest if len(rest) >= window // 2 + LOOK_BACK else self._following(inode, window + LOOK_BACK)

    def _remember(self, inode: int, *, read: bool) -> None:
        self._done[inode] = read
        if len(self._done) > MAX_REMEMBERED:
            for old in list(islice(self._done, MAX_REMEMBERED // 2)):
                del self._done[old]
