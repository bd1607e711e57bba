"""One blob on its way into the store; a layer is decompressed, hashed and indexed in the same pass.

    feed: hash, write to the partial file  ->  thread: decompress  ->  thread: hash, index, write layer.tar

The partial file is locked while somebody works on it and stays when its bytes stop coming, so that a later try,
also by another process, goes on from there. What turns out to be damaged is forgotten at once.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from imagetool import compression as compressions
from imagetool.digest import Digest, Verifier
from imagetool.spec.descriptor import Descriptor
from imagetool.store import disk, layers
from imagetool.store.layerwriter import LayerWriter
from imagetool.store.limits import Limits
from imagetool.store.pipeline import Stage
from unionfs.annotations import TYPE_CHECKING
from unionfs.namedtuple import NamedTuple

if TYPE_CHECKING:
    from imagetool.store.lease import Lease

GATHER = 256 << 10
"""Small pieces from a socket are gathered up to this many bytes: fewer calls, fewer changes of threads."""


class Blob(NamedTuple):
    """What was published. `diff_id` is None unless it is a layer; `compression` as `compression.detect` says."""

    digest: Digest
    size: int
    diff_id: Digest | None
    compression: str


class Unpacker:
    """Compressed bytes in, a finished layer directory out, in two threads. Also rebuilds a layer from its blob."""

    def __init__(
        self,
        lease: Lease,
        compression: str,
        diff_id: Digest | None,
        limits: Limits,
        what: str,
        source: str = "",
    ) -> None:
        self._lease = lease
        self._writer = LayerWriter(
            lease.temporary(), diff_id, limits, what, source if compression == "none" else ""
        )
        self._write = Stage(self._writer.feed, "layer-write")
        self._decoder = compressions.decoder(compression, self._write.put, what)
        self._decode = Stage(self._decoder.feed, "layer-decode")

    def feed(self, chunk: bytes, blob_size: int, *, whole: bool = True) -> None:
        """`blob_size`: of the whole blob, or, if that is not known, of what came so far."""
        self._writer.blob_size = blob_size
        self._writer.blob_is_whole = whole
        self._decode.put(chunk)

    def finish(self) -> Digest:
        """Publishes the layer and returns its diff ID."""
        self._decode.finish()
        self._decoder.finish()
        self._write.finish()
        diff_id = self._writer.finish()
        self._lease.pin(diff_id)
        with disk.errors("cannot write the store"):
            layers.publish(self._lease.layout, self._writer.directory, diff_id)
        return diff_id

    def close(self) -> None:
        """Ends the threads and removes what was not published. Harmless after finish()."""
        self._decode.cancel()
        self._write.cancel()
        self._writer.close()
        disk.remove_tree(self._writer.directory)


class Ingest:
    """Made by a Lease; see the interface in imagetool.store."""

    # INVARIANT: the verifier and the unpacker have seen exactly the bytes of the partial file, once _started

    def __init__(
        self,
        lease: Lease,
        path: str,
        fd: int,
        expected: Descriptor | None,
        diff_id: Digest | None,
        limits: Limits,
        what: str,
    ) -> None:
        """`what` is what errors call the layer that it is; "" for a blob that is kept as it is."""
        self._lease = lease
        self._path = path
        self._fd = fd
        self._expected = expected
        self._diff_id = diff_id
        self._limits = limits
        self._what = what
        digest, size = (expected.digest, expected.size) if expected else (None, None)
        self._verifier = Verifier(digest, size, what="layer" if what else "blob")
        self._unpacker: Unpacker | None = None
        self._flow: disk.Flow
        self._compression = ""
        self._gathered = bytearray()
        self._started = False
        self.offset = os.fstat(fd).st_size
        if size is not None and self.offset > size:
            self.restart()

    def __enter__(self) -> Ingest:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def restart(self) -> None:
        """Forgets all bytes. Only before the first feed()."""
        os.ftruncate(self._fd, 0)
        self.offset = 0

    def feed(self, chunk: bytes | memoryview) -> None:
        """The next bytes. Damaged, Malformed, LimitExceeded or NoSpace as soon as it shows."""
        if self._gathered or len(chunk) < GATHER:
            self._gathered += chunk
            if len(self._gathered) < GATHER:
                return
            chunk = self._taken()
        with self._forgetting():
            self._flush(chunk)

    def finish(self) -> Blob:
        """All bytes came. The blob (and the layer) are published; or, on any error, forgotten."""
        with self._forgetting():
            self._flush(self._taken())
            blob = self._publish()
        self.close()
        return blob

    def discard(self) -> None:
        """Forgets what came and gives up the claim."""
        if self._fd >= 0:
            disk.unlink(self._path)
            self._gathered.clear()
            self.close()

    def close(self) -> None:
        """Gives up the claim; a partial file keeps what came. Harmless after finish()."""
        if self._fd < 0:
            return
        try:
            if self._gathered and self._expected is not None:
                disk.write_all(self._fd, bytes(self._gathered))
        except OSError:
            pass  # those bytes will be fetched again
        finally:
            if self._unpacker is not None:
                self._unpacker.close()
            os.close(self._fd)
            self._fd = -1

    @contextmanager
    def _forgetting(self) -> Iterator[None]:
        """What fails within cannot be continued: the claim is given up, and the bytes with it."""
        try:
            with disk.errors("cannot write the store"):
                yield
        except Exception:
            self.discard()
            raise

    def _taken(self) -> bytes:
        taken = bytes(self._gathered)
        self._gathered.clear()
        return taken

    def _flush(self, chunk: bytes | memoryview) -> None:
        chunk = bytes(chunk)  # no copy of what is bytes; threads keep it
        if not self._started:
            self._start(chunk)
        if chunk:
            self._pass_on(chunk)
            self._flow.write(chunk)

    def _start(self, chunk: bytes) -> None:
        """Now that the first bytes are known: makes the unpacker, and shows it what an earlier try left."""
        self._started = True
        head = os.pread(self._fd, compressions.MAGIC_SIZE, 0) + chunk[: compressions.MAGIC_SIZE]
        self._compression = compressions.detect(head)
        if self._what:
            self._unpacker = Unpacker(
                self._lease, self._compression, self._diff_id, self._limits, self._what, self._path
            )
        while piece := os.pread(self._fd, GATHER, self._verifier.count):
            self._pass_on(piece)
        os.lseek(self._fd, 0, os.SEEK_END)
        self._flow = disk.Flow(self._fd, keep=False)  # only a push reads it again

    def _pass_on(self, chunk: bytes) -> None:
        self._verifier.feed(chunk)
        if self._unpacker is not None:
            size = self._expected.size if self._expected else self._verifier.count
            self._unpacker.feed(chunk, size, whole=self._expected is not None)

    def _publish(self) -> Blob:
        """The layer first: while the blob is missing, nobody takes the layer for pulled."""
        digest = self._verifier.finish()
        os.fsync(self._fd)
        diff_id = self._unpacker.finish() if self._unpacker is not None else None
        self._lease.pin(digest)
        disk.move(self._path, self._lease.layout.blob(digest))
        return Blob(digest, self._verifier.count, diff_id, self._compression)
