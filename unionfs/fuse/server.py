"""The kernel driver: serves a union over /dev/fuse.

The concurrency contract:

- Everything that touches the tree, the files or the opens runs on the loop, in one task at a time: handlers,
  `Work.then` and `Work.undo`. None of them waits, so each is atomic towards all others.
- The loop waits in two places only: until the device is readable, and at a checkpoint after many requests.
- Whatever may wait for a disk or for locks of the kernel is a `Work`: its `run` has a worker thread, touches
  descriptors and its own buffers, and the loop goes on with other requests meanwhile.
- While work on a node is under way the node is busy: requests that change the node, or take a name from it,
  are kept in their order and handled afterwards as if they had just arrived, so whatever they check, they
  check then. Requests that only look at it are served as the node was before.
- After each wait nothing is carried over but the node id: a handler that goes on after a copy-up starts again
  from its request, and asks for the source of a file again.
- Notifications are sent by threads: the kernel may hold a page or a directory locked until we reply.
- Before there is a loop (`begin`) work on a node waits until there is one, and requests that change the node wait
  with it; work that nobody need wait for is done at once, since a loop would take longer to come.
"""

from __future__ import annotations

import errno
import os
import select
from collections.abc import Callable
from time import perf_counter

from unionfs.annotations import TYPE_CHECKING
from unionfs.errors import SetupError
from unionfs.fuse import abi
from unionfs.fuse import opcodes as op
from unionfs.fuse.awake import WINDOW, Awake, open_device
from unionfs.fuse.device import Device, Unmounted, may_back
from unionfs.fuse.dispatch import Dispatcher, Log
from unionfs.fuse.negotiate import Session, buffer_size, negotiate
from unionfs.fuse.options import ServerOptions
from unionfs.fuse.polling import PollBudget
from unionfs.fuse.work import Context

if TYPE_CHECKING:
    import trio

    from unionfs.early import Early
    from unionfs.files import Files
    from unionfs.fuse.guard import Guard
    from unionfs.tree import UnionTree

__all__ = ["Server", "ServerOptions"]

DEFAULTS = ServerOptions()
TURN = 512  # requests in a row before other tasks, such as the one that waits for signals, get their turn
PREEMPTION = 200e-6  # seconds that one look at the device takes only if the CPU was taken from it
LULL = (
    0.01  # seconds without a request, after which something else may be done that a mount has to begin with
)
TURN_WITH_WORK = 16  # the same while worker threads are busy: their results wait for a turn


class Server:
    """Serves `tree` and `files` on `fd`, an open /dev/fuse that is, or is about to be, mounted.

    The descriptor stays the caller's. `log` gets one line for each request that failed unexpectedly.
    """

    def __init__(
        self,
        fd: int,
        tree: UnionTree,
        files: Files,
        options: ServerOptions = DEFAULTS,
        log: Log | None = None,
    ) -> None:
        self._tree, self._files, self._options, self._log = tree, files, options, log
        self.guard: Guard | None = None
        """Set before `serve`. Without one nothing is read ahead across files."""
        self._device = Device(fd, buffer_size(options))
        self._scope: trio.CancelScope | None = None
        several = len(os.sched_getaffinity(0)) > 1
        self._polling = PollBudget(options.poll * 1e-6 if several else 0.0)
        self._awake = Awake(open_device(options.awake))
        self._watching = False
        self._dispatcher: Dispatcher | None = None
        self.session: Session | None = None

    def begin(self, early: Early) -> bool:
        """Serves without a loop until one is needed and there; False when the mount is gone.

        Raises SetupError when the kernel is too old.
        """
        early.poller.register(self._device.fd, select.POLLIN)
        settled = False
        try:
            while not early.is_over():
                dispatcher, more = self._dispatcher, False
                if dispatcher is not None:
                    more = self._turn(dispatcher)
                    if dispatcher.wants_loop():
                        early.want_loop()
                elif self._shake_hands():
                    continue
                restless = not settled or self._awake.held or early.wanted
                ready = early.poller.poll(0 if more else WINDOW * 1000 if restless else None)
                for fd, _ in ready:
                    if fd != self._device.fd:
                        early.leave(fd)
                if not (ready or more):
                    self._awake.served(0, perf_counter())
                    settled = settled or early.is_settled()
        except Unmounted:
            self._awake.close()
            return False
        return True

    async def serve(self) -> None:
        """Serves, from the start or after `begin`, until the mount is gone. Raises SetupError as `begin` does."""
        import trio

        with trio.CancelScope() as self._scope:
            try:
                while self._dispatcher is None and not self._shake_hands():
                    await trio.lowlevel.wait_readable(self._device.fd)
            except Unmounted:
                return
            async with trio.open_nursery() as nursery:
                assert self._dispatcher is not None
                self._dispatcher.start_workers(nursery)
                await self._loop(self._dispatcher, nursery)

    def stop(self) -> None:
        """Ends `serve` without unmounting, once the work that is under way is done."""
        if self._scope is not None:
            self._scope.cancel()

    async def settle(self) -> None:
        """Waits until no bytes of the layers are on their way into the page cache.

        Whoever knows that layers have changed calls it right before `UnionTree.refresh`, and has the kernel drop
        what it holds afterwards: what is stored from then on are the new bytes.
        """
        storing = self._dispatcher.storing if self._dispatcher else None
        while storing is not None and storing.under_way():
            await trio.sleep(0.001)

    def stats(self) -> dict[str, int]:
        """Requests served by name, and what the techniques have done."""
        counts = self._dispatcher.counts if self._dispatcher else []
        named = {op.NAMES[code].lower(): n for code, n in enumerate(counts) if n and code in op.NAMES}
        storing = self._dispatcher.storing if self._dispatcher else None
        return named | {
            "poll_hits": self._polling.hits,
            "poll_misses": self._polling.misses,
            "awake": self._awake.times,
            "stored_files": storing.files if storing else 0,
            "stored_bytes": storing.bytes if storing else 0,
            "stored_late": storing.late if storing else 0,
        }

    def _context(self, session: Session) -> Context:
        options = self._options
        valid = abi.valid(options.timeout)
        return Context(self._tree, self._files, self._device, options, session, valid, valid, self.guard)

    def _shake_hands(self) -> bool:
        """The first exchange, if the kernel has begun it. Raises Unmounted."""
        length = self._device.receive()
        if not length:
            return False
        head, asked = abi.head(self._device.buf), abi.init_in(self._device.buf, length)
        if head.opcode != op.INIT:
            raise SetupError(f"the kernel began with request {head.opcode} instead of INIT")
        if asked.major > 7:
            self._device.send(abi.init_major(head.unique))
            return False
        try:
            page = os.sysconf("SC_PAGE_SIZE")
            self.session, out = negotiate(asked, self._options, may_back=may_back(), page=page)
        except SetupError:
            self._device.send(abi.error(head.unique, errno.EPROTO))
            raise
        self._dispatcher = Dispatcher(self._context(self.session), self._log)
        self._device.send(abi.init(head.unique, out))
        return True

    async def _loop(self, dispatcher: Dispatcher, nursery: trio.Nursery) -> None:
        from trio.lowlevel import checkpoint, wait_readable

        try:
            while True:
                if self._turn(dispatcher):
                    await checkpoint()
                else:
                    if self._awake.held and not self._watching:
                        self._watching = True
                        nursery.start_soon(self._watch)
                    await wait_readable(self._device.fd)
        except Unmounted:
            return
        finally:
            self._awake.close()
            if dispatcher.storing is not None:
                dispatcher.storing.close()

    async def _watch(self) -> None:
        from trio import sleep

        while self._awake.held:
            await sleep(WINDOW)
            self._awake.served(0, perf_counter())
        self._watching = False

    def _turn(self, dispatcher: Dispatcher) -> bool:
        """Serves requests until others are to have their turn (True), or there is none (False)."""
        handle, device, buf = dispatcher.handle, self._device, self._device.buf
        polling, served, counted = self._polling, 0, 0
        while more := served < (TURN_WITH_WORK if dispatcher.working else TURN):
            if not device.is_ready():
                polling.served(served - counted)
                counted = served
                if dispatcher.at_work() or not (polling.worth() and self._look(device.is_ready)):
                    break
            if device.receive():
                handle(buf)
                served += 1
        self._awake.served(served, perf_counter())
        return not more

    def _look(self, is_ready: Callable[[], bool]) -> bool:
        """Looks for the next request for the time of a window; whether there was one."""
        now = perf_counter()
        until = now + self._polling.window
        while now < until:
            if is_ready():
                self._polling.hit()
                return True
            before, now = now, perf_counter()
            if now - before > PREEMPTION:
                self._polling.preempted()
                return False
        self._polling.miss()
        return False
