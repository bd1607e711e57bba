"""From a request to its reply: the table of handlers, work in threads, and who waits for whom.

See `server` for the concurrency contract.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable
from time import perf_counter

from unionfs import journal
from unionfs.annotations import TYPE_CHECKING
from unionfs.errors import SetupError
from unionfs.fuse import abi
from unionfs.fuse import opcodes as op
from unionfs.fuse.abi import Buffer, Head
from unionfs.fuse.attributes import Attributes
from unionfs.fuse.contents import Contents
from unionfs.fuse.directories import Directories
from unionfs.fuse.names import Names
from unionfs.fuse.opens import Opens
from unionfs.fuse.ordering import changed
from unionfs.fuse.work import Answer, Context, Handler, Work

if TYPE_CHECKING:
    import trio

    from unionfs.fuse.storing import Storing

Log = Callable[[str], None]

PATIENCE = 0.05
"""Seconds of waiting, altogether, for what a thread could have done; a loop takes longer than that to come."""

_REFUSED = {
    op.IOCTL: errno.ENOTTY,  # no file attributes of chattr(1), no cloning by FICLONE
    op.BMAP: errno.EINVAL,
    op.NOTIFY_REPLY: errno.EINVAL,
}
"""What is refused with something else than ENOSYS, which makes the kernel stop asking and do without, or
answer itself: FLUSH, ACCESS, POLL, INTERRUPT, SYNCFS, and STATX (no birth times: GETATTR has the rest)."""


class Dispatcher:
    # INVARIANT: a node is in `_busy`, with the requests that wait for it, exactly while there is work on it

    def __init__(self, ctx: Context, log: Log | None = None) -> None:
        self._ctx = ctx
        self._send = ctx.device.send
        self._nursery: trio.Nursery | None = None
        self._postponed: list[tuple[Head, Work]] = []
        self._waited = 0.0  # seconds, for something that a thread could have waited for
        self._log = log or journal.error
        self._busy: dict[int, deque[tuple[Head, bytes]]] = {}
        self.counts = [0] * (op.LAST + 1)
        self.working = 0
        self.opens = Opens(ctx)
        self._handlers: list[Handler] = [self._refuse] * (op.LAST + 1)
        self.storing: Storing | None = None
        self._handlers[op.DESTROY] = lambda head, buf: abi.done(head.unique)
        for group in (Names(ctx), Attributes(ctx), Directories(ctx), Contents(ctx), self.opens):
            for opcode, handler in group.handlers().items():
                self._handlers[opcode] = handler
        if ctx.options.readahead:
            self._read_ahead(ctx)

    def _read_ahead(self, ctx: Context) -> None:
        from unionfs.fuse.storing import Storing, may_store

        if not may_store(ctx):
            return
        self.storing = storing = Storing(ctx, self)
        for opcode in (op.READ, op.OPEN):
            self._handlers[opcode] = storing.reading(self._handlers[opcode])
        for opcode in (op.FORGET, op.BATCH_FORGET):
            self._handlers[opcode] = storing.forgetting(self._handlers[opcode])

    def start_workers(self, nursery: trio.Nursery) -> None:
        """From now on work has threads; what asked for one before begins."""
        self._nursery = nursery
        for head, work in self._postponed:
            nursery.start_soon(self._run, head, work)
        self._postponed.clear()
        if self.storing is not None:
            self.storing.start()

    def wants_loop(self) -> bool:
        """Whether something waits for one, or enough would be done that takes one."""
        if self._nursery is not None:
            return False
        ahead = self.storing is not None and self.storing.wanted
        return bool(self._postponed) or self._waited > PATIENCE or ahead

    def handle(self, buf: Buffer) -> None:
        """Answers the request in `buf`, now or later; the buffer is free again afterwards."""
        head = abi.head(buf)
        opcode = head[1]
        if opcode > op.LAST:
            self._send(abi.error(head.unique, errno.ENOSYS))
            return
        self.counts[opcode] += 1
        if self._busy and self._queue(head, buf):
            return
        try:
            answer = self._handlers[opcode](head, buf)
        except Exception as error:
            answer = self._failed(head, error)
        if answer.__class__ is bytes:
            self._send(answer)
        else:
            self._reply(head, answer)

    def _answer(self, head: Head, buf: Buffer) -> Answer:
        try:
            return self._handlers[head.opcode](head, buf)
        except Exception as error:
            return self._failed(head, error)

    def _reply(self, head: Head, answer: Answer) -> None:
        if isinstance(answer, Work):
            self._begin(head, answer)
        elif isinstance(answer, tuple):
            self._ctx.device.send_parts(answer)
        elif answer is not None:
            self._send(answer)

    def _failed(self, head: Head, error: BaseException) -> bytes | None:
        """The reply to a request that raised: its errno; what is no OSError is EIO and a line in the log."""
        if isinstance(error, OSError) and error.errno:
            number = error.errno
        else:
            number = errno.EIO
            text = str(error) if isinstance(error, SetupError) else repr(error)
            self._log(f"{op.NAMES.get(head.opcode, head.opcode)} of node {head.nodeid:#x}: {text}")
        if head.opcode in (op.FORGET, op.BATCH_FORGET):
            return None
        return abi.error(head.unique, number)

    def _refuse(self, head: Head, buf: Buffer) -> Answer:
        return abi.error(head.unique, _REFUSED.get(head.opcode, errno.ENOSYS))

    def at_work(self) -> bool:
        """Whether a thread wants to go on: a loop that polls would keep the interpreter from it."""
        return bool(self.working or (self.storing and self.storing.under_way()))

    def is_busy(self, node: int) -> bool:
        return node in self._busy

    def hold(self, node: int) -> None:
        """Makes requests that change the node wait until `let_go`."""
        self._busy.setdefault(node, deque())

    def let_go(self, node: int) -> None:
        """Handles what waited for a node as if it had just arrived, until the node is busy again."""
        waiting = self._busy.pop(node)
        while waiting:
            head, saved = waiting.popleft()
            if not (self._busy and self._queue(head, saved)):
                self._reply(head, self._answer(head, saved))

    # Work in threads

    def _queue(self, head: Head, buf: Buffer) -> bool:
        """Puts a request that changes a busy node behind those that wait for it already."""
        for node in changed(head, buf, self._child):
            waiting = self._busy.get(node)
            if waiting is not None:
                waiting.append((head, bytes(buf[: head.length])))
                return True
        return False

    def _child(self, parent: int, name: bytes) -> int:
        tree = self._ctx.tree
        try:
            node = tree.find(tree.nodes[parent], name)
        except OSError:
            return 0
        return node.ino if node else 0

    def _begin(self, head: Head, work: Work) -> None:
        """Before there is a loop, work that no other request need wait for is done at once: it takes less time."""
        if not self._ctx.options.threads or (self._nursery is None and not work.node):
            began = perf_counter()
            self._reply(head, self._inline(head, work))
            self._waited += perf_counter() - began
            return
        if work.node:
            self.hold(work.node)
        self.working += 1
        if self._nursery is None:
            self._postponed.append((head, work))
        else:
            self._nursery.start_soon(self._run, head, work)

    def _inline(self, head: Head, work: Work) -> Answer:
        try:
            return work.then(work.run())
        except Exception as error:
            return self._failed(head, error)

    async def _run(self, head: Head, work: Work) -> None:
        """Sees work through, with what follows from it, and then lets those go on that waited."""
        nodes = {work.node} - {0}  # held already
        answer: Answer = work
        try:
            while isinstance(answer, Work):
                if answer.node and answer.node not in nodes:
                    if answer.node in self._busy:
                        self._begin_again(head, answer)
                        return
                    nodes.add(answer.node)
                    self.hold(answer.node)
                answer = await self._step(head, answer)
            self._reply(head, answer)
        finally:
            self.working -= 1
            for node in nodes:
                self.let_go(node)

    def _begin_again(self, head: Head, work: Work) -> None:
        """Lets another request finish with a second node, and then begins anew: what is held by both, nobody gets."""
        assert work.again
        if work.undo is not None:
            work.undo()
        self._busy[work.node].append((head, work.again))

    async def _step(self, head: Head, work: Work) -> Answer:
        import trio

        try:
            result = await trio.to_thread.run_sync(work.run)
        except BaseException as error:
            if work.undo is not None:
                work.undo()
            if not isinstance(error, Exception):
                raise
            return self._failed(head, error)
        try:
            return work.then(result)
        except Exception as error:
            return self._failed(head, error)
