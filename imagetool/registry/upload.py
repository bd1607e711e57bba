"""One repository of one registry, the writing half of the distribution-spec: blobs and manifests.

A blob is sent in one PUT, or in chunks where the caller or the registry (413) wants them. An upload that
broke begins again: what a registry keeps of one differs from registry to registry.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from urllib.parse import urlencode

import trio

from imagetool.digest import Digest
from imagetool.errors import Damaged, Denied, RegistryError, Unauthorized
from imagetool.registry import challenge
from imagetool.registry.auth import Scopes, bytes_body
from imagetool.registry.client import path
from imagetool.registry.errors import TransportError
from imagetool.registry.repository import Repository
from imagetool.registry.retry import pause
from imagetool.registry.transport import Body, check_status
from imagetool.registry.urls import Url
from imagetool.spec import Descriptor
from unionfs.annotations import BinaryIO
from unionfs.namedtuple import NamedTuple

READ = 1 << 20  # bytes of a blob in memory at once
CHUNK = 32 << 20  # of an upload in chunks; servers before a registry rarely allow less
ACCEPTED = frozenset({202})
CREATED = frozenset({201})
OCTETS = ("Content-Type", "application/octet-stream")

Moved = Callable[[int], None]


class Source(NamedTuple):
    """A blob to send: `open` gives its file, read in threads."""

    descriptor: Descriptor
    open: Callable[[], BinaryIO]


class Session(NamedTuple):
    """Where an upload goes on, and the smallest chunk that the registry takes."""

    url: Url
    smallest: int


class Uploader:
    """Writes into one repository. `chunk`: bytes of a chunk, 0 for one PUT a blob."""

    def __init__(self, repository: Repository, chunk: int = 0) -> None:
        self._to = repository
        self._chunk = chunk

    async def has(self, descriptor: Descriptor) -> bool:
        return await self._to.has_blob(descriptor.digest, descriptor.size)

    async def begin(self, descriptor: Descriptor, origin: str = "") -> Session | None:
        """Open an upload. None: it is not needed, the registry has taken the blob over from its repository
        `origin`, which is tried first."""
        if not origin:
            return await self._post("", self._to.scopes)
        scopes = self._to.scopes | {challenge.repository_scope(origin, "pull")}
        try:
            return await self._post(urlencode({"mount": descriptor.digest, "from": origin}), scopes)
        except (Unauthorized, Denied):
            return await self.begin(
                descriptor
            )  # we may not read there; writing here may be allowed all the same

    async def send(self, source: Source, session: Session | None, moved: Moved) -> None:
        """Upload a blob through the session that `begin` opened, or through fresh ones when it breaks.

        `moved` gets every byte count sent, and a negative one for bytes that were sent in vain.
        """
        chunk = self._chunk
        attempt = 0
        while session:
            attempt += 1
            sent = Sent(moved)
            try:
                await self._send(source, session, chunk, sent)
                return
            except TransportError as error:
                sent.undo()
                await pause(self._to.registry.policy, attempt, error)
            except RegistryError as error:
                sent.undo()
                if error.status != 413 or chunk:
                    raise
                chunk = CHUNK
            session = await self.begin(source.descriptor)

    async def manifest(self, reference: str, data: bytes, descriptor: Descriptor) -> None:
        """Put a manifest or index under a tag or digest; Damaged if the registry stored something else."""
        answer = await self._to.registry.answer(
            "PUT",
            path(self._to.name, "manifests", reference),
            f"manifest of {self._to}:{reference}",
            scopes=self._to.scopes,
            wanted=CREATED,
            headers=(("Content-Type", descriptor.media_type),),
            body=bytes_body(data),
            slow=True,
        )
        _check_digest(answer.response.header("docker-content-digest"), descriptor.digest, str(self._to))

    async def _send(self, source: Source, session: Session, chunk: int, sent: Sent) -> None:
        url, start, size = session.url, 0, source.descriptor.size
        chunk = max(chunk, session.smallest) if chunk else 0
        while chunk and start < size:
            end = min(start + chunk, size)
            url = await self._patch(source, url, start, end, sent)
            start = end
        await self._finish(source, url, start, sent)

    async def _post(self, query: str, scopes: Scopes) -> Session | None:
        target = path(self._to.name, "blobs", "uploads", "")
        answer = await self._to.registry.answer(
            "POST",
            f"{target}?{query}" if query else target,
            f"upload to {self._to}",
            scopes=scopes,
            wanted=ACCEPTED | CREATED if query else ACCEPTED,
        )
        response = answer.response
        if response.status == 201:
            return None
        smallest = response.header("oci-chunk-min-length")
        return Session(
            _location(response.url, response.header("location"), self._to),
            int(smallest[:12]) if smallest.isascii() and smallest.isdigit() else 0,
        )

    async def _patch(self, source: Source, url: Url, start: int, end: int, sent: Sent) -> Url:
        what = f"upload of {source.descriptor.digest} to {self._to}"
        headers = (OCTETS, ("Content-Range", f"{start}-{end - 1}"))
        body = file_body(source, start, end, sent)
        registry = self._to.registry
        async with registry.request(
            "PATCH", url, what, scopes=self._to.scopes, headers=headers, body=body, slow=True
        ) as answer:
            check_status(answer, await answer.read(READ), what, ACCEPTED, registry.name)
            return _location(answer.url, answer.header("location"), self._to)

    async def _finish(self, source: Source, url: Url, start: int, sent: Sent) -> None:
        digest, size = source.descriptor.digest, source.descriptor.size
        what = f"upload of {digest} to {self._to}"
        body = file_body(source, start, size, sent)
        url = url.with_query(urlencode({"digest": digest}))
        registry = self._to.registry
        async with registry.request(
            "PUT", url, what, scopes=self._to.scopes, headers=(OCTETS,), body=body, slow=True
        ) as answer:
            check_status(answer, await answer.read(READ), what, CREATED, registry.name)
            _check_digest(answer.header("docker-content-digest"), digest, str(self._to))


class Sent:
    """Counts what one attempt sent, so that it can be taken back."""

    __slots__ = ("_count", "_moved")

    def __init__(self, moved: Moved) -> None:
        self._moved = moved
        self._count = 0

    def add(self, count: int) -> None:
        self._count += count
        self._moved(count)

    def undo(self) -> None:
        self.add(-self._count)


def file_body(source: Source, start: int, end: int, sent: Sent) -> Body:
    """The bytes `start` to `end` of a blob as a request body. Damaged if the file is shorter."""

    mine = 0

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal mine
        sent.add(-mine)  # a request that is sent again, with fresh authorization, starts over
        mine = 0
        file = await trio.to_thread.run_sync(source.open)
        try:
            file.seek(start)
            left = end - start
            while left:
                chunk = await trio.to_thread.run_sync(file.read, min(READ, left))
                if not chunk:
                    raise Damaged(f"blob {source.descriptor.digest} is too short", hint="run 'system check'")
                yield chunk
                left -= len(chunk)
                mine += len(chunk)
                sent.add(len(chunk))
        finally:
            file.close()

    return Body(end - start, chunks)


def _location(here: Url, location: str, repository: Repository) -> Url:
    if not location:
        raise RegistryError(f"upload to {repository}: the registry does not say where to")
    return here.join(location)


def _check_digest(told: str, digest: Digest, where: str) -> None:
    if told and told.partition(":")[0] == digest.partition(":")[0] and told != digest:
        raise Damaged(f"{where} stored {told} instead of {digest}")
