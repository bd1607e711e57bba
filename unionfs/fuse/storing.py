"""Puts the bytes of files into the kernel's page cache before anybody asks, from a thread of its own.

The kernel locks the pages while it stores them, and has others locked while it waits for our reply to a READ;
so only a thread may store, and the loop must go on. The reply that gave rise to a batch waits for the first half
of it: a reader that runs beside the thread would lock each page just when it is to be stored.

What is stored are the bytes of read-only layers: nothing that can change the file may be answered while its
store is under way. With OPEN messages a file is known to have no writer, and whoever wants to become one waits
(`Dispatcher.hold`). Without them a write could meet the store, so then only mounts that nobody can write to
are read ahead.
"""

from __future__ import annotations

import os
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread

from unionfs.annotations import TYPE_CHECKING
from unionfs.fuse import abi
from unionfs.fuse import opcodes as op
from unionfs.fuse.abi import Buffer, Head
from unionfs.fuse.work import Answer, Context, Handler, Work
from unionfs.namedtuple import NamedTuple
from unionfs.prefetch import ReadAhead

if TYPE_CHECKING:
    import trio

    from unionfs.fuse.dispatch import Dispatcher

CHUNK = 1 << 20
"""Bytes that are read at once where files lie behind each other, as in a tar."""

GAP = 16 << 10
"""Bytes between two files that it costs less to read than to skip."""

CLOSE_WAIT = 1.0
"""Seconds for the thread to end. If the mount is still there, it may wait for a reply that no longer comes."""


def may_store(ctx: Context) -> bool:
    """Whether the bytes of lower files can be pushed without meeting a write."""
    if ctx.tree.upper is None:
        return not ctx.session.passthrough
    return not ctx.session.zero_open


class Item(NamedTuple):
    """The pages of `node` from `offset` on: `size` bytes from `start` on `fd`."""

    node: int
    offset: int
    fd: int
    start: int
    size: int


class Batch(NamedTuple):
    """`fds` are the thread's to close; `reply` is to be sent when half of the items are stored."""

    items: list[Item]
    fds: list[int]
    reply: bytes


class Storing:
    def __init__(self, ctx: Context, dispatcher: Dispatcher) -> None:
        self._ctx = ctx
        self._dispatcher = dispatcher
        self._writable = ctx.tree.upper is not None
        self._ahead = ReadAhead(ctx.options.readahead, ctx.tree.siblings)
        self._queue: SimpleQueue[Batch | None] = SimpleQueue()
        self._thread: Thread | None = None
        self._token: trio.lowlevel.TrioToken | None = None
        self._waiting: set[int] = set()  # nodes with a store under way
        self._too_late: set[int] = set()  # those that have been read meanwhile
        self.wanted = False  # before there was a loop to do it on
        self.files = self.bytes = self.late = 0

    def start(self) -> None:
        """Called on the loop, when there is one. Before, nothing is stored."""
        import trio

        self._token = trio.lowlevel.current_trio_token()

    def reading(self, handler: Handler) -> Handler:
        """The handler of READ or OPEN, with an eye on who reads what."""

        def read(head: Head, buf: Buffer) -> Answer:
            offset, size = (0, 0) if head.opcode == op.OPEN else abi.read_in(buf)
            if head.nodeid in self._waiting:
                self._too_late.add(head.nodeid)
                self.late += 1
            answer = handler(head, buf)
            if offset or self._ahead.is_over(head.nodeid):
                return answer
            return self._after(head, size, answer)

        return read

    def forgetting(self, handler: Handler) -> Handler:
        """The handler of FORGET or BATCH_FORGET: pages go with their inodes."""

        def forget(head: Head, buf: Buffer) -> Answer:
            if head.opcode == op.FORGET:
                self._ahead.forgotten(head.nodeid)
            else:
                for node, _ in abi.forgets(buf):
                    self._ahead.forgotten(node)
            return handler(head, buf)

        return forget

    def under_way(self) -> bool:
        return bool(self._waiting)

    def _after(self, head: Head, size: int, answer: Answer) -> Answer:
        """Hands what should follow to the thread, and the reply with it.

        Only to a thread that is idle, else a reply could be queued behind the store that waits for it.
        """
        candidates = self._candidates(head.pid, head.nodeid)
        if not candidates or not (self._thread or self._begin()):
            return answer
        held = not self._waiting and not isinstance(answer, Work)
        batch = Batch([], [], message(answer) if held else b"")
        own: dict[int, int] = {}
        self._add(head.nodeid, size, batch, own)
        for node in candidates:
            self._add(node, 0, batch, own)
        if not batch.items:
            for fd in batch.fds:
                os.close(fd)
            return answer
        self._queue.put(batch)
        return None if held else answer

    def _candidates(self, process: int, inode: int) -> list[int]:
        found: list[int] = []
        with suppress(OSError):
            node = self._ctx.tree.nodes[inode]
            if not node.upper and node.parent is not None:
                found = self._ahead.used(process, node.parent.ino, inode)
        if found and self._token is None:
            self.wanted = True
            return []
        return found

    def _add(self, node: int, offset: int, batch: Batch, own: dict[int, int]) -> None:
        """Adds a file, from `offset` on, if its bytes are in one piece in a read-only layer and nobody is at it."""
        if node in self._waiting or self._dispatcher.is_busy(node):
            return
        with suppress(OSError):  # a layer that cannot be read says so to whoever reads the file
            known = self._ctx.tree.nodes.get(node)
            if known is not None and known.upper:
                return
            source = self._ctx.files.source(node)
            size = source.size - offset
            if source.extents is not None:
                return
            if source.fd not in own:
                own[source.fd] = os.dup(source.fd)
                batch.fds.append(own[source.fd])
            if self._ahead.take(node, size):
                batch.items.append(Item(node, offset, own[source.fd], source.start + offset, size))
                self._waiting.add(node)
                if self._writable:
                    self._dispatcher.hold(node)

    def _begin(self) -> bool:
        """Starts the thread, once it is sure that nobody will hang on it; else nothing is read ahead any more."""
        if self._ctx.guard is None or not self._ctx.guard.stands():
            self._ahead.stop()
            return False
        self._thread = Thread(target=self._run, name="unionfs-store", daemon=True)
        self._thread.start()
        return True

    def _landed(self, items: list[Item]) -> None:
        for item in items:
            self._ahead.landed(item.size)
            self._waiting.discard(item.node)
            self._too_late.discard(item.node)
            if self._writable:
                self._dispatcher.let_go(item.node)

    # In the thread

    def _run(self) -> None:
        from trio import RunFinishedError

        assert self._token is not None
        buffer = memoryview(bytearray(CHUNK))
        while batch := self._queue.get():
            half = len(batch.items) + 1 >> 1
            try:
                self._store_all(batch.items[:half], buffer)
                if batch.reply:
                    self._ctx.device.send(batch.reply)
                self._store_all(batch.items[half:], buffer)
            finally:
                for fd in batch.fds:
                    os.close(fd)
                with suppress(RunFinishedError):
                    self._token.run_sync_soon(self._landed, batch.items)

    def _store_all(self, items: list[Item], buffer: memoryview) -> None:
        for run in runs(items):
            with suppress(OSError):
                start, fd = run[0].start, run[0].fd
                end = run[-1].start + run[-1].size
                if os.preadv(fd, [buffer[: end - start]], start) == end - start:
                    for item in run:
                        self._store(item, buffer[item.start - start :][: item.size])

    def _store(self, item: Item, payload: memoryview) -> None:
        if item.node not in self._too_late:
            self._ctx.device.notify(abi.store(item.node, item.offset, item.size), payload)
            self.files += 1
            self.bytes += item.size

    def close(self) -> None:
        """Ends the thread, which has nothing to wait for once the mount is gone."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join(CLOSE_WAIT)


def message(answer: Answer) -> bytes:
    return b"".join(answer) if isinstance(answer, tuple) else bytes(answer or b"")  # type: ignore[arg-type]


def runs(items: list[Item]) -> list[list[Item]]:
    """The items in groups of those that lie behind each other closely enough for one read."""
    groups: list[list[Item]] = []
    for item in items:
        last = groups[-1] if groups else []
        end = last[-1].start + last[-1].size if last else 0
        if (
            last
            and item.fd == last[0].fd
            and end <= item.start <= end + GAP
            and item.start + item.size - last[0].start <= CHUNK
        ):
            last.append(item)
        else:
            groups.append([item])
    return groups
