"""What handlers of the pyfuse3 driver wait for: threads, and copy-ups of the same inode. See `pyfuse`."""

from __future__ import annotations

from collections.abc import Callable

import trio

from unionfs.annotations import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from unionfs.copyup import CopyUp
    from unionfs.tree import UnionTree

T = TypeVar("T")


class Work:
    # INVARIANT: an inode is in `_busy` exactly while a thread copies it up

    def __init__(self, tree: UnionTree, *, threads: bool) -> None:
        self._tree = tree
        self._threads = threads
        self._busy: dict[int, trio.Event] = {}

    async def run(self, function: Callable[[], T]) -> T:
        """The result of what may wait, from a worker thread. A request that is under way is always answered."""
        if not self._threads:
            return function()
        with trio.CancelScope(shield=True):
            result = await trio.to_thread.run_sync(function)
        return result

    async def idle(self, inode: int) -> bool:
        """Waits until nothing is under way on an inode; gives whether it had to, so that all may be different."""
        waited = False
        while (event := self._busy.get(inode)) is not None:
            waited = True
            with trio.CancelScope(shield=True):
                await event.wait()
        return waited

    async def idle_name(self, parent: int, name: bytes) -> bool:
        """The same for whatever is under a name, which can be another inode after each wait."""
        waited = False
        while self._busy and await self.idle(self._tree.child(parent, name)):
            waited = True
        return waited

    async def copied_up(self, inode: int, *, data: bool = True, size: int | None = None) -> None:
        """Brings an inode into the top layer (see `copy_up_job`). When this returns, nothing is under way on it."""
        await self.idle(inode)
        job = self._tree.copy_up_job(inode, data=data, size=size)
        if job is None:
            return
        try:
            await self._fill(inode, job)
            job.publish()
        except BaseException:
            job.abandon()
            raise

    async def _fill(self, inode: int, job: CopyUp) -> None:
        if not job.heavy:
            job.fill()
            return
        done = self._busy[inode] = trio.Event()
        try:
            await self.run(job.fill)
        finally:
            del self._busy[inode]
            done.set()
