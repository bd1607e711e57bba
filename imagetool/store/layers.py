"""Layers ready to be mounted: ROOT/layers/ALG/HEX/{layer.tar,layer.idx}, by diff ID. All of it can be rebuilt.

INVARIANT: a published layer.tar has the digest that its directory is named after.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress

from imagetool.digest import Digest
from imagetool.errors import NotFound
from imagetool.store import disk
from imagetool.store.layout import Layout

_TAKEN = frozenset({errno.ENOTEMPTY, errno.EEXIST})


def is_complete(layout: Layout, diff_id: Digest) -> bool:
    """Both files are there. Their content was verified before they were published."""
    return all(
        disk.size_of(path) is not None for path in (layout.layer_tar(diff_id), layout.layer_index(diff_id))
    )


def publish(layout: Layout, directory: str, diff_id: Digest) -> None:
    """Moves a finished layer to its place; the one that is there already stays, if it is complete."""
    target = layout.layer(diff_id)
    while True:
        try:
            disk.move(directory, target)
            return
        except OSError as error:
            if error.errno not in _TAKEN:
                raise
        if is_complete(layout, diff_id):
            disk.remove_tree(directory)
            return
        with suppress(FileNotFoundError):  # somebody else may be at it too
            os.rename(target, directory + ".old")
            disk.remove_tree(directory + ".old")


def content_size(layout: Layout, diff_id: Digest) -> int:
    """The bytes of a layer's regular files, each inode once: what Docker's SIZE adds up. NotFound without it."""
    from unionfs.layers import index as fmt  # lists seldom need it

    try:
        with open(layout.layer_index(diff_id), "rb") as file, open(layout.layer_tar(diff_id), "rb") as tar:
            index = fmt.Index(file.fileno(), fmt.TarId.of(tar.fileno()), file.name)
    except (OSError, fmt.Unusable) as error:
        raise NotFound(f"layer {diff_id} has no usable index") from error
    try:
        rows = index.map[fmt.HEADER.size : fmt.HEADER.size + fmt.ROW_SIZE * index.count]
    finally:
        index.close()
    return sum(
        row[7]
        for number, row in enumerate(fmt.ROW.iter_unpack(rows))
        if stat.S_ISREG(row[6]) and row[2] == number and not row[5] & fmt.WHITEOUT
    )
