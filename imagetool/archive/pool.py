"""What an archive or a directory of images holds: documents, and layers that are brought in when they are met.

A stream is read once, from its beginning to its end: everything that looks like a layer goes into the store as
it comes, under a lease, and what no image turns out to need goes with the lease.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import chain

from imagetool import compression
from imagetool.archive.members import Members
from imagetool.errors import LimitExceeded, NotFound
from imagetool.spec import MAX_DOCUMENT
from imagetool.store.ingest import Blob
from imagetool.store.lease import Lease
from imagetool.store.limits import LIMITS, Limits
from unionfs.annotations import BinaryIO, Protocol, TypeVar

V = TypeVar("V")

DOCUMENTS_MAX = 64 << 20
"""Bytes of all documents of an archive that are held in memory."""


class Pool(Protocol):
    """Paths are relative, with slashes."""

    def document(self, path: str) -> bytes:
        """A file of at most 4 MiB. NotFound."""

    def layer(self, path: str) -> Blob:
        """A layer, now in the store. NotFound."""

    def has(self, path: str) -> bool: ...


class StreamPool:
    """The whole of a tar, compressed or not, read at once with `read(size)`."""

    def __init__(self, lease: Lease, members: Members, limits: Limits = LIMITS) -> None:
        self._documents: dict[str, bytes] = {}
        self._layers: dict[str, Blob] = {}
        self._links: dict[str, str] = {}
        held = 0
        for found in members:
            if found.link:
                self._links[found.path] = found.link
                continue
            body = members.body()
            head = next(body, b"")
            if is_layer(head):
                self._layers[found.path] = _bring_in(
                    lease, chain((head,), body), f"layer {found.path} of {members.title}", limits
                )
            elif found.size <= MAX_DOCUMENT:
                held += found.size
                if held > DOCUMENTS_MAX:
                    raise LimitExceeded(f"the archive has more than {DOCUMENTS_MAX} bytes of documents")
                self._documents[found.path] = b"".join((head, *body))

    def document(self, path: str) -> bytes:
        return _looked_up(self._documents, self._resolved(path), path)

    def layer(self, path: str) -> Blob:
        return _looked_up(self._layers, self._resolved(path), path)

    def has(self, path: str) -> bool:
        path = self._resolved(path)
        return path in self._documents or path in self._layers

    def _resolved(self, path: str) -> str:
        for _ in range(8):  # old archives link a layer to the same one of another image
            if path not in self._links:
                break
            path = self._links[path]
        return path


class DirectoryPool:
    """A directory, as `skopeo copy … oci:DIR` makes it. Only what is asked for is read."""

    def __init__(self, lease: Lease, directory: str, limits: Limits = LIMITS) -> None:
        self._lease = lease
        self._directory = directory
        self._limits = limits

    def document(self, path: str) -> bytes:
        with self._open(path) as file:
            data = file.read(MAX_DOCUMENT + 1)
        if len(data) > MAX_DOCUMENT:
            raise LimitExceeded(f"{self._directory}/{path} is larger than {MAX_DOCUMENT} bytes")
        return data

    def layer(self, path: str) -> Blob:
        with self._open(path) as file:
            what = f"layer {path} of {self._directory}"
            return _bring_in(self._lease, iter(lambda: file.read(1 << 20), b""), what, self._limits)

    def has(self, path: str) -> bool:
        return os.path.isfile(f"{self._directory}/{path}")

    def _open(self, path: str) -> BinaryIO:
        try:
            return open(f"{self._directory}/{path}", "rb")
        except OSError as error:
            raise NotFound(f"{self._directory} has no {path}") from error


def is_layer(head: bytes) -> bool:
    """Whether a file that begins like this is a tar or something compressed. An empty tar is one."""
    if compression.detect(head) != "none":
        return True
    block = head[:512]
    if len(block) < 512:
        return False
    claimed = block[148:156].strip(b" \0")  # the checksum, counted with its own field as blanks
    found = sum(block) - sum(block[148:156]) + 8 * ord(" ")
    return not any(block) or claimed in (b"%o" % found, b"%06o" % found, b"%07o" % found)


def _bring_in(lease: Lease, pieces: Iterator[bytes], what: str, limits: Limits) -> Blob:
    with lease.new_layer(what, limits) as ingest:
        for piece in pieces:
            ingest.feed(piece)
        return ingest.finish()


def _looked_up(table: dict[str, V], key: str, path: str) -> V:
    try:
        return table[key]
    except KeyError:
        raise NotFound(f"the archive has no {path}") from None
