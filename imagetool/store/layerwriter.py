"""Making a layer ready to be mounted: the tar and its index, written and verified in one pass."""

from __future__ import annotations

import errno
import os

from imagetool.digest import Digest, Verifier
from imagetool.errors import Malformed
from imagetool.store import disk
from imagetool.store.limits import Budget, Limits
from unionfs.errors import LayerError
from unionfs.layers.indexer import IndexBuilder
from unionfs.layers.tarheader import SIZE_LIMIT

_REST = SIZE_LIMIT >> 1
"""After its end an archive announces more than this: whatever else comes."""


class LayerWriter:
    """A layer that is being made in a directory of its own. `feed` it the uncompressed tar.

    With `source`, the tar is that file already: it is linked and not written again.
    """

    def __init__(
        self, directory: str, diff_id: Digest | None, limits: Limits, what: str, source: str = ""
    ) -> None:
        os.mkdir(directory)
        self.directory = directory
        self.blob_size = 0  # of the compressed bytes behind what was fed, as far as known
        self.blob_is_whole = True  # False: more of them may come
        self._verifier = Verifier(diff_id, what="layer")
        self._builder = IndexBuilder(what)
        self._announced = 0  # bytes of the present file that were still to come at the last look
        self._budget = Budget(limits, directory, what)
        self._linked = bool(source) and _linked(source, self._tar)
        self._fd = os.open(self._tar, os.O_RDONLY | os.O_CLOEXEC) if self._linked else disk.create(self._tar)
        self._flow = disk.Flow(self._fd, keep=True)  # a mount comes next, as a rule

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
            self._expect()
            with disk.errors("cannot write the layer"):
                self._flow.write(piece)

    def _expect(self) -> None:
        """Where a large file begins, its whole size is looked at once."""
        announced = self._builder.skippable
        if self._announced < announced < _REST:
            self._budget.expect(announced, self.blob_size if self.blob_is_whole else None)
        self._announced = announced

    def finish(self) -> Digest:
        """The diff ID, verified, with both files complete and synced; Damaged if it is not the one expected."""
        diff_id = self._verifier.finish()
        with disk.errors("cannot write the layer"):
            if not self._linked:  # else it is synced by whoever wrote it
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
