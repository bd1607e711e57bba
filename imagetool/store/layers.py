"""Layers ready to be mounted: ROOT/layers/ALG/HEX/{layer.tar,layer.idx}, by diff ID. All of it can be rebuilt.

INVARIANT: a published layer.tar has the digest that its directory is named after.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress

from imagetool.digest import Digest, Verifier
from imagetool.errors import Malformed, NotFound
from imagetool.store import disk
from imagetool.store.layout import Layout
from imagetool.store.limits import Budget, Limits
from unionfs.errors import LayerError
from unionfs.layers import index as fmt
from unionfs.layers.indexer import IndexBuilder

_TAKEN = frozenset({errno.ENOTEMPTY, errno.EEXIST})


class LayerWriter:
    """A layer that is being made in a directory of its own. `feed` it the uncompressed tar.

    With `source`, the tar is that file already: it is linked and not written again.
    """

    def __init__(self, directory: str, diff_id: Digest | None, limits: Limits, source: str = "") -> None:
        os.mkdir(directory)
        what = f"layer {diff_id}" if diff_id else "layer"
        self.directory = directory
        self.blob_size = 0  # of the compressed bytes behind what was fed, as far as known
        self._verifier = Verifier(diff_id, what="layer")
        self._builder = IndexBuilder(what)
        self._budget = Budget(limits, directory, what)
        self._linked = bool(source) and _linked(source, self._tar)
        self._fd = os.open(self._tar, os.O_RDONLY | os.O_CLOEXEC) if self._linked else disk.create(self._tar)

    @property
    def _tar(self) -> str:
        return f"{self.directory}/layer.tar"

    def feed(self, piece: bytes) -> None:
        """Malformed for what is no layer; LimitExceeded; NoSpace."""
        self._budget.check(len(piece), self.blob_size)
        self._verifier.feed(piece)
        try:
            self._builder.feed(piece)
        except LayerError as error:
            raise malformed(error) from error
        if not self._linked:
            with disk.errors("cannot write the layer"):
                disk.write_all(self._fd, piece)

    def finish(self) -> Digest:
        """The diff ID, verified, with both files complete and synced; Damaged if it is not the one expected."""
        diff_id = self._verifier.finish()
        with disk.errors("cannot write the layer"):
            os.fsync(self._fd)
            try:
                self._builder.publish(f"{self.directory}/layer.idx", self._fd)
            except LayerError as error:
                raise malformed(error) from error
        self.close()
        return diff_id

    def close(self) -> None:
        """Gives the descriptor back; the directory is the caller's."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _linked(source: str, target: str) -> bool:
    """False where the file system has no hard links: then the tar is written a second time."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS):
            raise
        return False
    return True


def malformed(error: LayerError) -> Malformed:
    """What unionfs says of a tar, in this package's words."""
    return Malformed(error.args[0], hint=error.hint)


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
