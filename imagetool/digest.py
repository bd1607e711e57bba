"""Digests: `algorithm:hex` as in the OCI image-spec, descriptor.md "Digests".

A `Digest` is a checked string: it is safe as a file name below `blobs/`.
"""

from __future__ import annotations

from imagetool import sha256
from imagetool.errors import Damaged, Malformed
from imagetool.sha256 import Sha256
from unionfs.annotations import Any, NewType

Digest = NewType("Digest", str)

HEX_LENGTH = {"sha256": 64, "sha512": 128}
"""The registered algorithms with the length of their encoded part."""

SHORT = 12
"""Hexadecimal digits of a short ID, as Docker shows them."""

_HEX = frozenset("0123456789abcdef")


def parse(text: object) -> Digest:
    """The same text as a Digest; Malformed unless it is `sha256:` or `sha512:` and lower-case hex digits."""
    if isinstance(text, str):
        algorithm, _, value = text.partition(":")
        if HEX_LENGTH.get(algorithm) == len(value) and _HEX.issuperset(value):
            return Digest(text)
    raise Malformed(f"invalid digest {_shown(text)}", hint="expected sha256: and 64 hexadecimal digits")


def of(data: bytes) -> Digest:
    """The sha256 digest of some bytes."""
    return Digest("sha256:" + sha256.of(data))


def algorithm(digest: Digest) -> str:
    return digest.partition(":")[0]


def encoded(digest: Digest) -> str:
    """The hexadecimal part."""
    return digest.partition(":")[2]


def short(digest: Digest) -> str:
    """The short ID of an image or layer: twelve hexadecimal digits."""
    return encoded(digest)[:SHORT]


class Verifier:
    """Hashes and counts a stream that must turn out to be `digest` and `size` bytes long, where those are known."""

    __slots__ = ("_hash", "count", "digest", "size", "what")

    def __init__(self, digest: Digest | None, size: int | None = None, *, what: str = "blob") -> None:
        self.digest = digest
        self.size = size
        self.what = f"{what} {digest}" if digest else what
        self.count = 0
        self._hash = (
            Sha256() if digest is None or algorithm(digest) == "sha256" else _other(algorithm(digest))
        )

    def feed(self, chunk: bytes | memoryview) -> None:
        """Damaged as soon as more bytes came than there may be."""
        self.count += len(chunk)
        if self.size is not None and self.count > self.size:
            raise Damaged(f"{self.what} is longer than its {self.size} bytes")
        self._hash.update(chunk)

    def finish(self) -> Digest:
        """The digest; Damaged unless all bytes came and it is the one that was expected."""
        if self.size is not None and self.count != self.size:
            raise Damaged(f"{self.what} ends after {self.count} of {self.size} bytes")
        found = Digest(f"{self._hash.name}:{self._hash.hexdigest()}")
        if self.digest is not None and found != self.digest:
            raise Damaged(f"{self.what} has the wrong content: its digest is {found}")
        return found


def _other(algorithm: str) -> Any:
    from hashlib import new

    return new(algorithm)


def _shown(text: object) -> str:
    shown = repr(text)
    return shown if len(shown) <= 80 else shown[:77] + "..."
