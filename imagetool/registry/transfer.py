"""Moving blobs: one download into the store that survives cuts, and tasks whose first error is the error.

The socket is read on the loop, the store is fed in threads, and a channel of two pieces lies between them:
the slower of the two is the bound, and memory does not depend on a layer's size.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from functools import partial

import trio

from imagetool.digest import Verifier
from imagetool.errors import Damaged, ImageToolError, RegistryError
from imagetool.registry import urls
from imagetool.registry.errors import TransportError
from imagetool.registry.repository import Download, Repository
from imagetool.registry.retry import Policy, pause, retrying
from imagetool.spec import MAX_DOCUMENT, Descriptor
from unionfs.annotations import Protocol

PIECE = 1 << 20  # bytes that go to a thread at once: fewer would pay for the change of threads
AHEAD = 2  # pieces that wait for the store
EARNED = 1 << 20  # bytes after which a download that broke has all its tries again
SLOWEST = 1024  # bytes a second; what is slower for `stall` seconds is a stall that trickles

Open = Callable[[int], AbstractAsyncContextManager[Download]]
Moved = Callable[[int], None]


class Sink(Protocol):
    """Takes a blob's bytes; may wait for the disk, so it is called in threads."""

    def feed(self, chunk: bytes) -> None: ...


@asynccontextmanager
async def tasks() -> AsyncIterator[trio.Nursery]:
    """A nursery that raises one error instead of a group: an interrupt, else the first that says why."""
    try:
        async with trio.open_nursery() as nursery:
            yield nursery
    except BaseExceptionGroup as group:
        raise first_error(group) from None


def first_error(error: BaseException) -> BaseException:
    """PURE: the error of a group that a person should see."""
    leaves: list[BaseException] = []
    todo = [error]
    while todo:
        current = todo.pop(0)
        if isinstance(current, BaseExceptionGroup):
            todo[:0] = current.exceptions
        else:
            leaves.append(current)
    for kind in (KeyboardInterrupt, ImageToolError):
        for leaf in leaves:
            if isinstance(leaf, kind):
                return leaf
    return leaves[0]


async def small_blob(repository: Repository, descriptor: Descriptor) -> bytes:
    """A config: verified, at most 4 MiB, in memory. Damaged if it is not what its descriptor says."""
    if descriptor.size > MAX_DOCUMENT:
        raise Damaged(f"blob {descriptor.digest} says it has {descriptor.size} bytes: too many for its type")

    async def once() -> bytes:
        verifier = Verifier(descriptor.digest, descriptor.size)
        parts: list[bytes] = []
        async with (
            repository.blob(descriptor) as download,
            aclosing(paced(download.chunks, repository)) as chunks,
        ):
            async for chunk in chunks:
                verifier.feed(chunk)
                parts.append(chunk)
        verifier.finish()
        return b"".join(parts)

    return await retrying(repository.registry.policy, once)


async def fetch(repository: Repository, descriptor: Descriptor, start: int, sink: Sink, moved: Moved) -> None:
    """Feed a layer from byte `start` on: from the registry; a foreign layer from its own addresses first."""
    openers: list[Open] = [
        partial(repository.foreign, descriptor, urls.parse(url)) for url in descriptor.urls
    ]
    openers.append(partial(repository.blob, descriptor))
    came = 0

    def counted(count: int) -> None:
        nonlocal came
        came += count
        moved(count)

    for number, opener in enumerate(openers, 1):
        try:
            await _fetch_from(opener, repository, descriptor, start, sink, counted)
            return
        except RegistryError:
            if came or number == len(openers):
                raise


async def _fetch_from(
    opener: Open, repository: Repository, descriptor: Descriptor, start: int, sink: Sink, moved: Moved
) -> None:
    send, receive = trio.open_memory_channel[bytes](AHEAD)
    async with tasks() as nursery:
        nursery.start_soon(_read, opener, repository, descriptor, start, send, moved)
        async with receive:
            async for piece in receive:
                await trio.to_thread.run_sync(sink.feed, piece)


async def _read(
    opener: Open,
    repository: Repository,
    descriptor: Descriptor,
    start: int,
    send: trio.MemorySendChannel[bytes],
    moved: Moved,
) -> None:
    """Everything from `start` on, over as many connections as it takes."""
    reader = Reader(descriptor.size, start, send, moved)
    policy = repository.registry.policy
    async with send:
        while reader.at < descriptor.size:
            try:
                async with opener(reader.at) as download:
                    await reader.read(download, repository)
            except TransportError as error:
                await reader.again(policy, error)
        await reader.flush()


class Reader:
    """Gathers a download into pieces. INVARIANT: `at` bytes of the blob were sent on or are in `_parts`."""

    def __init__(self, size: int, start: int, send: trio.MemorySendChannel[bytes], moved: Moved) -> None:
        self.at = start
        self._size = size
        self._send = send
        self._moved = moved
        self._parts: list[bytes] = []
        self._gathered = 0
        self._tries = 0
        self._mark = start

    async def read(self, download: Download, repository: Repository) -> None:
        """All that comes; TransportError, transient, if it is less than it should be."""
        skip = self.at - download.start  # the server knows no ranges: it sends the beginning again
        async with aclosing(paced(download.chunks, repository)) as chunks:
            async for chunk in chunks:
                fresh = chunk[skip:] if skip else chunk
                skip = max(0, skip - len(chunk))
                await self._add(fresh)
        if self.at < self._size:
            text = f"{repository.registry.host} ended a blob after {self.at} of {self._size} bytes"
            raise TransportError(text, transient=True)

    async def again(self, policy: Policy, error: TransportError) -> None:
        """Wait for the next try; a connection that brought much does not count as a failure."""
        if self.at - self._mark >= EARNED:
            self._mark = self.at
            self._tries = 0
        self._tries += 1
        await pause(policy, self._tries, error)

    async def flush(self) -> None:
        if self._parts:
            piece = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
            self._parts, self._gathered = [], 0
            await self._send.send(piece)

    async def _add(self, chunk: bytes) -> None:
        self.at += len(chunk)
        if self.at > self._size:
            raise Damaged(f"a blob is longer than its {self._size} bytes")
        self._parts.append(chunk)
        self._gathered += len(chunk)
        self._moved(len(chunk))
        if self._gathered >= PIECE:
            await self.flush()


async def paced(chunks: AsyncGenerator[bytes, None], repository: Repository) -> AsyncGenerator[bytes, None]:
    """The chunks; TransportError when they trickle. Only time spent waiting for the peer counts."""
    window = repository.registry.stall
    waited, came = 0.0, 0
    try:
        while True:
            began = trio.current_time()
            try:
                chunk = await anext(chunks)
            except StopAsyncIteration:
                return
            waited += trio.current_time() - began
            came += len(chunk)
            if waited > window:
                if came < SLOWEST * window:
                    raise TransportError(f"{repository.registry.host} sends too slowly", transient=True)
                waited, came = 0.0, 0
            yield chunk
    finally:
        await chunks.aclose()
