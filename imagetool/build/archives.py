"""Tars, compressed or not, as directories: contexts, and what ADD unpacks. No name of one leads out of it."""

from __future__ import annotations

import os
from collections.abc import Callable

from imagetool import compression
from imagetool.archive.pool import is_layer
from imagetool.archive.unpack import unpack
from imagetool.errors import Damaged
from imagetool.store import disk
from imagetool.store.limits import LIMITS, Budget

HEAD = 512
_ENDLESS = LIMITS._replace(layer_size=1 << 62)


def is_archive(head: bytes) -> bool:
    """Whether a file that begins with these bytes (512, if it has as many) is a tar or something compressed."""
    return is_layer(head)


def is_tar(read: Callable[[int], bytes]) -> bool:
    """Whether a file is a tar, compressed or not: what ADD unpacks. A compressed file that is none is not."""
    first = read(HEAD)
    if compression.detect(first) == "none":
        return any(first) and is_layer(first)
    todo = [first]
    pieces = compression.decoded(lambda size: todo.pop() if todo else read(size), "file")
    head = b""
    try:
        while len(head) < HEAD and (piece := next(pieces, b"")):
            head += piece
    except Damaged:
        return False
    finally:
        pieces.close()
    return any(head[:HEAD]) and compression.detect(head) == "none" and is_layer(head)


def unpacked(read: Callable[[int], bytes], work: str, what: str) -> str:
    """The new directory below `work` with the files of the tar that `read(size)` gives. Malformed, Damaged,
    StoreError, NoSpace."""
    tar, directory = f"{work}/archive.tar", f"{work}/archive"
    with disk.errors(f"cannot unpack {what}"):
        decompressed(read, tar, what)
        unpack([tar], directory)
        os.unlink(tar)
        disk.unlink(f"{work}/archive.idx")
    return directory


def decompressed(read: Callable[[int], bytes], path: str, what: str) -> None:
    """The new file `path` with what `read` gives, decompressed if it is compressed; some of the disk stays free."""
    budget = Budget(_ENDLESS, os.path.dirname(path), what)
    with open(disk.create(path), "wb") as file:
        for piece in compression.decoded(read, what):
            budget.check(len(piece), 0)
            file.write(piece)
