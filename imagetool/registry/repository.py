"""One repository of one registry, the reading half of the distribution-spec: manifests, blobs, tags.

What comes back was checked against what was asked for: digest, size and media type of a manifest, the
length and range of a blob's answer. A blob's bytes are verified by who stores them.
"""

import json
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from imagetool import digest as digests
from imagetool import mediatypes
from imagetool.digest import Digest
from imagetool.errors import Damaged, Malformed, RegistryError
from imagetool.registry import challenge, urls
from imagetool.registry.client import OK, Registry, path
from imagetool.registry.transport import Response, check_status
from imagetool.registry.urls import Url
from imagetool.spec import MAX_DOCUMENT, Descriptor
from unionfs.namedtuple import NamedTuple

PAGE = 1 << 20  # bytes of one page of a list
PAGES = 10_000  # of one list: an endless one has to end somewhere
THERE = frozenset({200, 404})
NO_HEAD = frozenset({200, 400, 404, 405})  # a GET will say more
_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")


class Document(NamedTuple):
    """A manifest or index as it came, and the descriptor that names it."""

    descriptor: Descriptor
    data: bytes


class Download(NamedTuple):
    """A blob's bytes on their way, from `start` on."""

    start: int
    chunks: AsyncGenerator[bytes, None]


class Repository:
    """`actions` are what a token has to allow: pull, or pull and push."""

    def __init__(self, registry: Registry, name: str, *actions: str) -> None:
        self.registry = registry
        self.name = name
        self.scopes = frozenset({challenge.repository_scope(name, *(actions or ("pull",)))})

    def __str__(self) -> str:
        return f"{self.registry.host}/{self.name}"

    async def head(self, reference: str) -> Digest | None:
        """The digest of the manifest with that tag or digest; None if the registry does not tell."""
        answer = await self.registry.answer(
            "HEAD",
            path(self.name, "manifests", reference),
            f"manifest of {self}:{reference}",
            scopes=self.scopes,
            headers=ACCEPT,
            wanted=NO_HEAD,
        )
        named = answer.response.header("docker-content-digest")
        return digests.parse(named) if answer.response.status == 200 and named else None

    async def manifest(self, reference: str, expected: Descriptor | None = None) -> Document:
        """The manifest or index with that tag or digest.

        Missing if there is none; Damaged if it is not what its digest, or `expected`, says.
        """
        answer = await self.registry.answer(
            "GET",
            path(self.name, "manifests", reference),
            f"manifest of {self}{'@' if ':' in reference else ':'}{reference}",
            scopes=self.scopes,
            headers=ACCEPT,
            limit=MAX_DOCUMENT,
        )
        found = described(answer.body, answer.response)
        digest = digests.parse(reference) if ":" in reference else None
        check_document(found, digest, expected, str(self))
        return Document(found, answer.body)

    @asynccontextmanager
    async def blob(self, descriptor: Descriptor, start: int = 0) -> AsyncIterator[Download]:
        """A blob from byte `start` on, or from 0 if the registry knows no ranges. Not retried."""
        what = f"blob {descriptor.digest} of {self}"
        url = await self.registry.url(path(self.name, "blobs", descriptor.digest))
        headers = range_headers(start)
        async with self.registry.request("GET", url, what, scopes=self.scopes, headers=headers) as response:
            yield await opened(response, descriptor, start, what)

    @asynccontextmanager
    async def foreign(self, descriptor: Descriptor, url: Url, start: int = 0) -> AsyncIterator[Download]:
        """A layer from an address of its own, without any credentials. Not retried."""
        what = f"layer {descriptor.digest}"
        async with self.registry.anonymous(url, range_headers(start)) as response:
            yield await opened(response, descriptor, start, what)

    async def has_blob(self, digest: Digest, size: int) -> bool:
        """Whether the registry has it. Damaged if it has another size there."""
        answer = await self.registry.answer(
            "HEAD",
            path(self.name, "blobs", digest),
            f"blob {digest} of {self}",
            scopes=self.scopes,
            wanted=THERE,
        )
        if answer.response.status == 404:
            return False
        there = answer.response.length()
        if there is not None and there != size:
            raise Damaged(f"{self} has blob {digest} with {there} bytes instead of {size}")
        return True

    async def tags(self) -> list[str]:
        """All tags, in the registry's order."""
        target = path(self.name, "tags", "list")
        return [
            tag async for tag in listed(self.registry, target, "tags", f"tags of {self}", scopes=self.scopes)
        ]


ACCEPT = (("Accept", ", ".join(mediatypes.ACCEPT)),)


def range_headers(start: int) -> tuple[tuple[str, str], ...]:
    """PURE. The encoding is named because a recompressed answer would have other bytes than the blob."""
    plain = (("Accept-Encoding", "identity"),)
    return (*plain, ("Range", f"bytes={start}-")) if start else plain


async def opened(response: Response, descriptor: Descriptor, start: int, what: str) -> Download:
    """The answer to a GET of a blob; Missing, Damaged, Busy or RegistryError if it cannot be that blob."""
    if response.status == 416:
        raise Damaged(f"{what} has no byte {start}")
    if response.status not in (200, 206):
        check_status(response, await response.read(PAGE), what, OK)
    begin = 0 if response.status == 200 else range_start(response.header("content-range"), descriptor, what)
    if begin > start:
        raise RegistryError(f"{what}: the answer begins at byte {begin} instead of {start}")
    length = response.length()
    if length is not None and begin + length != descriptor.size:
        raise Damaged(f"{what} has {begin + length} bytes instead of {descriptor.size}")
    return Download(begin, response.chunks())


def range_start(header: str, descriptor: Descriptor, what: str) -> int:
    """PURE: where a 206 answer begins (RFC 9110 §14.4)."""
    match = _RANGE.fullmatch(header.strip())
    if not match:
        raise RegistryError(f"{what}: a part came without saying which")
    if match[3] != "*" and int(match[3]) != descriptor.size:
        raise Damaged(f"{what} has {match[3]} bytes instead of {descriptor.size}")
    return int(match[1])


def described(data: bytes, response: Response) -> Descriptor:
    """The descriptor of a manifest that came; Damaged if the registry calls it by another digest."""
    digest = digests.of(data)
    told = response.header("docker-content-digest")
    if told.startswith("sha256:") and told != digest:
        raise Damaged(f"manifest {told} has the wrong content: its digest is {digest}")
    media_type = response.header("content-type").partition(";")[0].strip().lower()
    return Descriptor("" if media_type in GENERIC else media_type, digest, len(data))


GENERIC = frozenset({"", "application/json", "text/plain", "application/octet-stream"})
"""What registries say that do not know the type; the document's own field then decides."""


def check_document(found: Descriptor, digest: Digest | None, expected: Descriptor | None, where: str) -> None:
    """PURE: Damaged or Malformed unless the manifest is the one that was asked for."""
    if digest and digest.startswith("sha256:") and found.digest != digest:
        raise Damaged(f"manifest {digest} of {where} has the wrong content: its digest is {found.digest}")
    if expected is None:
        return
    if found.size != expected.size:
        raise Damaged(f"manifest {expected.digest} of {where} has {found.size} bytes, not {expected.size}")
    if found.media_type and found.media_type != expected.media_type:
        raise Malformed(
            f"manifest {expected.digest} of {where} is sent as {found.media_type}, not {expected.media_type}"
        )


async def listed(
    registry: Registry, target: str, key: str, what: str, *, scopes: frozenset[str]
) -> AsyncGenerator[str, None]:
    """The texts under `key` of a list that comes in pages (distribution-spec "Content Discovery")."""
    url = await registry.url(target)
    for _ in range(PAGES):
        answer = await registry.answer("GET", url, what, scopes=scopes, limit=PAGE)
        for name in _texts(answer.body, key, what):
            yield name
        following = urls.next_page(", ".join(answer.response.lines("link")))
        if not following:
            return
        there = url.join(following)
        if there.origin != url.origin:
            raise RegistryError(f"{what}: the next page is on another host, {there.origin}: refused")
        if there == url:
            return
        url = there
    raise RegistryError(f"{what}: the list has no end")


def _texts(body: bytes, key: str, what: str) -> list[str]:
    try:
        names = json.loads(body).get(key) or []
        if not isinstance(names, list):
            raise ValueError
        return [name for name in names if isinstance(name, str)]
    except (ValueError, AttributeError, RecursionError):
        raise RegistryError(f"{what}: the answer is not a list") from None
