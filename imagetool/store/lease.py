"""Leases: what a process has brought in stays until references name it.

A lease is a locked file below ROOT/locks with one digest a line. It is written under the shared `gc` lock, and
gc holds that lock alone while it looks: so a blob that was pinned and then found is not collected. The lock dies
with its owner, or with the last child that inherited `fileno()`; the next lease or gc removes the file.
"""

from __future__ import annotations

import os
from _thread import allocate_lock
from collections.abc import Mapping
from contextlib import suppress

from imagetool import digest as digests
from imagetool.digest import Digest
from imagetool.spec.descriptor import Descriptor
from imagetool.store import disk
from imagetool.store.layout import Layout
from imagetool.store.limits import LIMITS, Limits, require_space
from imagetool.store.lock import locked, try_lock
from unionfs.annotations import TYPE_CHECKING

if TYPE_CHECKING:
    from imagetool.store.ingest import Ingest

PREFIX = "lease-"


class Lease:
    """A context manager; at its end the lease is given back, and its unpublished files are removed."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.name = f"{PREFIX}{os.getpid()}-{os.urandom(6).hex()}"
        self._files = 0
        self._counting = allocate_lock()
        with disk.errors("cannot lock the store"), locked(layout.lock("gc"), shared=True):
            fd = try_lock(layout.lock(self.name))
        assert fd is not None  # nobody else knows the name
        self._fd = fd

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def fileno(self) -> int:
        """A descriptor that holds the lease: a child that inherits it keeps the lease alive."""
        return self._fd

    def pin(self, *wanted: Digest) -> None:
        """Keeps blobs and layers with these digests, present or to come, as long as the lease lives."""
        lines = "".join(f"{digest}\n" for digest in wanted).encode()
        with disk.errors("cannot lock the store"), locked(self.layout.lock("gc"), shared=True):
            disk.write_all(self._fd, lines)

    def put(self, data: bytes, expected: Digest | None = None) -> Digest:
        """Publishes a small blob. Damaged unless it is what was expected."""
        digest = digests.of(data)
        if expected is not None and digest != expected:
            verifier = digests.Verifier(expected)
            verifier.feed(data)
            digest = verifier.finish()
        self._publish({digest: data})
        return digest

    def put_all(self, *blobs: bytes) -> None:
        """`put` for blobs that are all needed."""
        self._publish({digests.of(data): data for data in blobs})

    def _publish(self, blobs: Mapping[Digest, bytes]) -> None:
        self.pin(*blobs)
        places = ((self.layout.blob(digest), data) for digest, data in blobs.items())
        missing = [(place, data) for place, data in places if disk.size_of(place) != len(data)]
        with disk.errors("cannot write the store"):
            disk.publish_all(*(disk.New(data, place, self.temporary()) for place, data in missing))

    def claim(
        self, descriptor: Descriptor, diff_id: Digest | None = None, limits: Limits = LIMITS
    ) -> Ingest | None:
        """The right to bring in a blob; with a diff ID, a layer. None while somebody else has it.

        NoSpace when what is missing does not fit on the disk.
        """
        from imagetool.store.ingest import Ingest

        self.pin(descriptor.digest, *([diff_id] if diff_id else []))
        path = self.layout.partial(descriptor.digest)
        with disk.errors("cannot write the store"):
            fd = try_lock(path)
            if fd is None:
                return None
            ingest = Ingest(
                self, path, fd, descriptor, diff_id, limits, f"layer {diff_id}" if diff_id else ""
            )
            try:
                missing = max(0, descriptor.size - ingest.offset)
                require_space(self.layout.temporary, missing, limits, f"blob {descriptor.digest}")
            except BaseException:
                ingest.discard()
                raise
        return ingest

    def new_layer(self, what: str = "layer", limits: Limits = LIMITS) -> Ingest:
        """A layer whose digest is not known yet: from an archive, a commit or a build. Errors call it `what`."""
        from imagetool.store.ingest import Ingest

        path = self.temporary()
        with disk.errors("cannot write the store"):
            return Ingest(self, path, disk.create(path), None, None, limits, what)

    def new_blob(self, limits: Limits = LIMITS) -> Ingest:
        """A blob whose digest is not known yet and that is kept as it is."""
        from imagetool.store.ingest import Ingest

        path = self.temporary()
        with disk.errors("cannot write the store"):
            return Ingest(self, path, disk.create(path), None, None, limits, "")

    def temporary(self) -> str:
        """A path below ROOT/tmp that nobody else uses; what is left there goes with the lease."""
        with self._counting:
            self._files += 1
            return f"{self.layout.temporary}/{self.name}.{self._files}"

    def close(self) -> None:
        if self._fd < 0:
            return
        for number in range(1, self._files + 1):
            disk.remove(f"{self.layout.temporary}/{self.name}.{number}")
        disk.unlink(self.layout.lock(self.name))
        os.close(self._fd)
        self._fd = -1


def is_alive(layout: Layout, name: str) -> bool:
    """Whether somebody holds the lease. Only under the `gc` lock, alone."""
    try:
        fd = try_lock(layout.lock(name), create=False)
    except FileNotFoundError:
        return False
    if fd is None:
        return True
    os.close(fd)
    return False


def pinned(layout: Layout, name: str) -> set[Digest]:
    """What a lease keeps. A last line that was cut by a crash keeps nothing, nor does a lease that has just ended:
    its owner cannot have published since the caller has the `gc` lock.
    """
    try:
        with open(layout.lock(name), "rb") as file:
            lines = file.read().split(b"\n")[:-1]
    except FileNotFoundError:
        return set()
    return {digests.parse(line.decode("ascii", "replace")) for line in lines if line}


def names(layout: Layout) -> list[str]:
    """Of all leases, dead ones too."""
    return [name for name in os.listdir(layout.locks) if name.startswith(PREFIX)]


def tidy(layout: Layout) -> None:
    """Sweeps if there is something, and unless somebody is busy: what a kill left need not wait for a collection."""
    with suppress(OSError):  # a collection will say so
        if not names(layout):
            return
        fd = try_lock(layout.lock("gc"))
        if fd is not None:
            try:
                sweep(layout)
            finally:
                os.close(fd)


def sweep(layout: Layout) -> None:
    """Dead leases go, and the temporary files of their owners. Only under the `gc` lock, alone."""
    for name in names(layout):
        if not is_alive(layout, name):
            disk.unlink(layout.lock(name))
    alive = set(names(layout))
    for name in os.listdir(layout.temporary):
        if name.startswith(PREFIX) and name.partition(".")[0] not in alive:
            # Its owner may be just tidying up; and what has a user's further ids goes when a prune has them.
            with suppress(FileNotFoundError, PermissionError):
                disk.remove(f"{layout.temporary}/{name}")
