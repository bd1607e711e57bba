"""The one protocol of read-only layers. The union knows no other way to ask a layer anything.

A layer answers for itself alone: it merges nothing and hides nothing, but says which of its names are
whiteouts, opaque directories or redirects. Handles are the layer's own; the union stores them and gives
them back, and never looks inside.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence

from unionfs.annotations import Protocol
from unionfs.model import Attr, Mark
from unionfs.namedtuple import NamedTuple

SHIFT = 48
"""Bits of an inode number within a layer; those above it tell the layer."""

Handle = Hashable
"""A layer's own name for one of its entries: an entry number (TarLayer) or a path object (DirLayer)."""


class Entry(NamedTuple):
    """What one layer has under one name.

    `attr.ino` is the layer's own inode number, below 2**48, the same at every mount; names that are hard
    links of each other share `handle`-independent `attr.ino` and have `attr.nlink` > 1.
    """

    name: bytes
    attr: Attr
    handle: Handle
    mark: int = Mark.NONE
    redirect: bytes = (
        b""  # with Mark.REDIRECT: a name beside this one, or an absolute path in the layers below
    )


class Source(NamedTuple):
    """Where the bytes of a file are: `size` bytes, on descriptor `fd`.

    With `extents` None they are the bytes from `start` on. Else `extents` are (offset in the file,
    offset on fd, length) in ascending order, and what lies between reads as zeros.
    The descriptor belongs to the layer (or to the node) and must not be closed by the reader.
    """

    fd: int
    start: int
    size: int
    extents: tuple[tuple[int, int, int], ...] | None = None


class Layer(Protocol):
    """A read-only layer. Every method raises OSError or LayerError; none changes the layer."""

    base: int
    """Added to every inode number that the layer tells or is told; 0 until the union sets it."""

    @property
    def identity(self) -> bytes:
        """At most 32 bytes that are the same for the same layer at every mount."""

    @property
    def root(self) -> Entry:
        """The root directory (its name is empty). A layer without an entry for it reports 0755, owner 0."""

    def lookup(self, parent: Handle, name: bytes) -> Entry | None:
        """The entry called `name` in the directory `parent`, whiteouts included; None when there is none."""

    def entry(self, handle: Handle) -> Entry:
        """The entry behind a handle, as it is now; its marks may be missing."""

    def attr(self, handle: Handle) -> Attr:
        """The attributes of `entry`."""

    def scan(self, parent: Handle, after: int = 0) -> Iterator[Entry]:
        """Every entry of a directory, whiteouts included, in an order that never changes; skips `after`."""

    def names(self, parent: Handle) -> list[bytes]:
        """The names of a directory in the order of `scan`, whiteouts included."""

    def marks(self, entry: Entry) -> Entry:
        """`entry` with OPAQUE, METACOPY and REDIRECT filled in, where `lookup` and `scan` put them off."""

    def readlink(self, handle: Handle) -> bytes: ...

    def source(self, handle: Handle) -> Source:
        """The data of a regular file. Valid until `close` (TarLayer) or until `release` (DirLayer)."""

    def release(self, source: Source) -> None:
        """Gives back what `source` took."""

    def xattrs(self, handle: Handle) -> dict[bytes, bytes]:
        """All extended attributes but the overlay's own."""

    def aliases(self, ino: int) -> list[tuple[bytes, ...]]:
        """Every path (as names from the root) of a hard-linked inode. May be slow the first time (DirLayer)."""

    def path(self, handle: Handle) -> tuple[bytes, ...]:
        """The names from the root to this entry."""

    def close(self) -> None: ...


def give_numbers(layers: Sequence[Layer]) -> None:
    """The layers, top first, are those of one union: their inode numbers begin with theirs, counted from the bottom."""
    for number, layer in enumerate(layers):
        layer.base = (len(layers) - number) << SHIFT
