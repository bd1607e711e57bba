"""What a handler may answer, what all handlers share, and how slow work is taken off the loop."""

from __future__ import annotations

import os
from collections.abc import Callable

from unionfs.annotations import TYPE_CHECKING, Any
from unionfs.fuse.abi import FOREVER, Buffer, Head, Valid
from unionfs.namedtuple import NamedTuple

if TYPE_CHECKING:
    from unionfs.files import Files
    from unionfs.fuse.device import Device
    from unionfs.fuse.guard import Guard
    from unionfs.fuse.negotiate import Session
    from unionfs.fuse.options import ServerOptions
    from unionfs.tree import UnionTree


class Work(NamedTuple):
    """A request that is answered later: `run` in a worker thread, then `then` on the loop with its result.

    `undo` runs on the loop when `run` fails, or is not to be. While it lasts, requests that change `node` wait (0: none
    do). `again` is the request to begin with once more, if another one's work on the node comes in between.
    """

    run: Callable[[], Any]
    then: Callable[[Any], Answer]
    undo: Callable[[], None] | None = None
    node: int = 0
    again: bytes = b""


Answer = Buffer | tuple[Buffer, Buffer] | Work | None
"""A whole message, or its two parts, or work that leads to one; None where nothing is to be said."""

Handler = Callable[[Head, Buffer], Answer]
"""Gets the head of a request and the buffer it is in; the buffer is used again once the handler returns."""


class Context(NamedTuple):
    """What the handlers work with. `tree` and `files` are touched by the loop only."""

    tree: UnionTree
    files: Files
    device: Device
    options: ServerOptions
    session: Session
    valid: Valid = FOREVER
    negative: Valid = FOREVER
    guard: Guard | None = None  # without one nothing may wait in the kernel


def lent(run: Callable[..., Any], *fds: int) -> Callable[[], Any]:
    """`run` with descriptors of its own, for a thread: the tree may close `fds` at any moment."""
    own = [os.dup(fd) for fd in fds]

    def closing() -> Any:
        try:
            return run(*own)
        finally:
            for fd in own:
                os.close(fd)

    return closing


def copied_up(
    ctx: Context,
    node: int,
    handler: Handler,
    head: Head,
    buf: Buffer,
    *,
    data: bool = True,
    size: int | None = None,
) -> Work | None:
    """Makes sure that an inode is in the top layer before `handler` goes on.

    None: it is. Else the work that brings it there and then calls `handler` again with a copy of the request.
    """
    job = ctx.tree.copy_up_job(node, data=data, size=size)
    if job is None:
        return None
    if not (job.heavy and ctx.options.threads):
        try:
            job.fill()
            job.publish()
        except BaseException:
            job.abandon()
            raise
        return None
    saved = bytes(buf[: head.length])

    def publish(_: None) -> Answer:
        try:
            job.publish()
        except BaseException:
            job.abandon()
            raise
        return handler(head, saved)

    return Work(job.fill, publish, job.abandon, node, saved)
