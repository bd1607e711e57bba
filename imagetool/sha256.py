"""sha256: Python's own for what is small, and OpenSSL's, which is several times as quick, for what is worth loading it.

To load it takes 3 ms, a twentieth of a short command, and most commands hash nothing but a few documents.
"""

from __future__ import annotations

import sys
from functools import cache
from importlib import import_module

from unionfs.annotations import Any

_SMALL = 256 << 10
"""Bytes that Python's own hashes in about a third of the time that OpenSSL takes to load."""


def of(data: bytes) -> str:
    """The hexadecimal digest of some bytes."""
    found: str = _chosen(len(data))(data).hexdigest()
    return found


class Sha256:
    """A stream's; the part of hashlib's objects that is used here. What comes first is kept until it is too much."""

    __slots__ = ("_hash", "_kept", "_size")

    name = "sha256"

    def __init__(self) -> None:
        self._kept: list[bytes] = []
        self._size = 0
        self._hash: Any = None

    def update(self, chunk: bytes | memoryview) -> None:
        if self._hash is None:
            self._size += len(chunk)
            if self._size <= _SMALL:
                self._kept.append(bytes(chunk))
                return
            self._begin()
        self._hash.update(chunk)

    def hexdigest(self) -> str:
        if self._hash is None:
            self._begin()
        found: str = self._hash.hexdigest()
        return found

    def _begin(self) -> None:
        self._hash = _chosen(self._size)(b"".join(self._kept))
        self._kept.clear()


def _chosen(size: int) -> Any:
    """What makes a hash object for so many bytes."""
    if size <= _SMALL and "_hashlib" not in sys.modules and (own := _own()) is not None:
        return own
    return import_module("hashlib").sha256


@cache
def _own() -> Any:
    """Python's; None where it was built without it."""
    for name in ("_sha256", "_sha2"):  # the other since Python 3.12
        try:
            return import_module(name).sha256
        except ImportError:
            continue
    return None
