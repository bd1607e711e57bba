"""Nodes: the inodes of the union that somebody knows of, and the table that finds them.

A lower file of a layer with numbered entries (TarLayer) needs no Node until it changes: its number says all,
and the table makes a passing Node on demand. So a million files that the kernel has seen cost four bytes each.
"""

from __future__ import annotations

import errno
import stat
from array import array
from collections.abc import Callable, Sequence

from unionfs.annotations import TYPE_CHECKING
from unionfs.errors import UnionError
from unionfs.layers.base import SHIFT, Layer, give_numbers
from unionfs.layers.tarball import INO_OFFSET, TarLayer
from unionfs.merge import Spot
from unionfs.model import ROOT_ID, Attr
from unionfs.namedtuple import NamedTuple

if TYPE_CHECKING:
    from unionfs.listing import Listing

MASK = (1 << SHIFT) - 1
PRIVATE = 0xFFFF << SHIFT
"""Node ids are (layer, counted from the bottom, or 0 for the top layer) << 48 | inode number in that layer,
so that they stay the same at the next mount; ids from PRIVATE on are for inodes that have no such number."""


class Births(NamedTuple):
    """What an entry gets from the directory that it is made in."""

    setgid: bool
    gid: int
    default_acl: bool


class Node:
    """One inode of the union.

    INVARIANT: it is in the table while lookups > 0 or children > 0, or as long as `NodeTable.idle` holds it.
    INVARIANT: if `upper`, the inode is in the top layer, under `name` in `parent`, or (nameless) behind `fd`.
    INVARIANT: `parent` is None for the root and for what has no known name left.
    """

    __slots__ = (
        "bare",
        "births",
        "children",
        "data",
        "dirs",
        "fd",
        "fmt",
        "ino",
        "listing",
        "lookups",
        "lower",
        "more",
        "name",
        "parent",
        "passing",
        "real",
        "snapshot",
        "unlinked",
        "upper",
    )

    def __init__(self, ino: int, fmt: int) -> None:
        self.ino = ino
        self.fmt = fmt  # S_IFMT bits
        self.parent: Node | None = None
        self.name = b""
        self.more: list[tuple[Node, bytes]] | None = None  # further names of a hard-linked inode
        self.lookups = 0
        self.children = 0  # names whose parent this is, of nodes in the table
        self.upper = False
        self.real = 0  # st_ino in the top layer, while `upper`
        self.lower: Spot | None = None  # the read-only entry whose attributes count while not `upper`
        self.data: Spot | None = (
            None  # the read-only entry whose bytes count; None once they are in the top layer
        )
        self.dirs: tuple[Spot, ...] = ()  # the read-only directories that merge here, top first
        self.fd = -1  # a directory: O_PATH; a regular file: O_RDWR; both in the top layer
        self.unlinked = 0  # names that are gone while the inode still is a lower one
        self.listing: Listing | None = None
        self.births: Births | None = None  # of an upper directory; None: not asked yet
        self.bare = False  # known to have no extended attributes where it is now
        self.snapshot: Attr | None = None  # of a lower directory that has been removed
        self.passing = False  # not in the table: made from its number, for this one request

    @property
    def is_dir(self) -> bool:
        return self.fmt == stat.S_IFDIR

    @property
    def is_reg(self) -> bool:
        return self.fmt == stat.S_IFREG

    @property
    def is_whole(self) -> bool:
        """Whether all of it is in the top layer, so that it may change."""
        return self.upper and self.data is None

    def names(self) -> list[tuple[Node, bytes]]:
        """Every name that is known, the one in use first."""
        return ([(self.parent, self.name)] if self.parent else []) + (self.more or [])

    def has_name(self, parent: Node, name: bytes) -> bool:
        return (self.parent is parent and self.name == name) or (parent, name) in (self.more or ())


class NodeTable(dict[int, Node]):
    """Finds nodes by id, and (not by `get` or `in`) numbered lower files that have no node of their own."""

    def __init__(self, layers: Sequence[Layer], root: Node, let_go: Callable[[Node], None]) -> None:
        """`let_go` closes what a node that leaves the table still holds open."""
        super().__init__({ROOT_ID: root})
        self.layers = layers
        self.let_go = let_go
        self.root = root
        self.real: dict[int, Node] = {}  # INVARIANT: the upper nodes in the table, by their st_ino there
        give_numbers(layers)
        self.idle: dict[Node, None] = {}  # INVARIANT: the nodes in the table with lookups == 0 == children
        self.tars = [layer if isinstance(layer, TarLayer) else None for layer in layers]
        self.counts: dict[int, array[int]] = {}  # by id >> SHIFT: the lookups of numbered lower files
        self.numbered_dirs: dict[Spot, Node] = {}
        self._number(root)

    def numbered(self, ino: int) -> tuple[int, TarLayer] | None:
        """(layer number, layer) if the id is that of an entry of a layer with numbered entries."""
        number = len(self.layers) - (ino >> SHIFT)
        if not 0 <= number < len(self.layers):
            return None
        tar = self.tars[number]
        return (number, tar) if tar is not None else None

    def __missing__(self, ino: int) -> Node:
        """A passing node. Raises UnionError(ESTALE) if the kernel does not know it."""
        found = self.numbered(ino)
        if found is None or not self.known(ino):
            raise UnionError(errno.ESTALE, f"no node {ino:#x}")
        number, tar = found
        handle = (ino & MASK) - INO_OFFSET
        entry = tar.entry(handle)
        node = Node(ino, stat.S_IFMT(entry.attr.mode))
        parent = self.numbered_dirs.get((number, tar.parent(handle)))
        if node.is_dir or parent is None:
            raise UnionError(errno.ESTALE, f"no node {ino:#x}")
        node.parent, node.name = parent, entry.name
        node.lower = node.data = (number, handle)
        node.passing = True
        return node

    def add(self, node: Node, parent: Node, name: bytes) -> None:
        """Enters a node under its first name."""
        self[node.ino] = node
        self.idle[node] = None
        node.parent, node.name = parent, name
        parent.children += 1
        self.idle.pop(parent, None)
        if node.dirs:
            self._number(node)

    def _number(self, node: Node) -> None:
        """Makes the numbered entries of the directories that merge here find their parent."""
        for number, handle in node.dirs:
            if self.tars[number] is not None:
                self.numbered_dirs.setdefault((number, handle), node)

    def merge_anew(self, node: Node, dirs: tuple[Spot, ...]) -> None:
        """Other read-only directories merge in a directory than before."""
        for spot in node.dirs:
            if self.numbered_dirs.get(spot) is node:
                del self.numbered_dirs[spot]
        node.dirs = dirs
        self._number(node)

    def settle(self, node: Node, real: int) -> None:
        """A node is in the top layer from now on, as the inode `real` there."""
        node.upper, node.real, node.lower, node.bare = True, real, None, False
        self.real[real] = node

    def adopt(self, node: Node) -> None:
        """Gives a passing node a place of its own, with the lookups counted so far."""
        if not node.passing:
            return
        node.passing = False
        assert node.parent is not None
        counts = self._counts(node.ino)
        handle = (node.ino & MASK) - INO_OFFSET
        node.lookups, counts[handle] = counts[handle], 0
        self[node.ino] = node
        node.parent.children += 1
        self.idle.pop(node.parent, None)
        if not node.lookups:
            self.idle[node] = None

    def enter(self, node: Node, parent: Node, name: bytes) -> None:
        """`add` and `remember` of a node that has just been made in the top layer, with nothing below it."""
        self[node.ino] = node
        node.parent, node.name, node.lookups = parent, name, 1
        parent.children += 1
        if parent in self.idle:
            del self.idle[parent]

    def add_name(self, node: Node, parent: Node, name: bytes) -> None:
        if node.has_name(parent, name):
            return
        if node.parent is None:
            node.parent, node.name = parent, name
        else:
            node.more = [*(node.more or []), (parent, name)]
        parent.children += 1
        self.idle.pop(parent, None)

    def drop_name(self, node: Node, parent: Node, name: bytes) -> None:
        if node.parent is parent and node.name == name:
            node.parent, node.name = node.more.pop() if node.more else (None, b"")
        elif node.more and (parent, name) in node.more:
            node.more.remove((parent, name))
        else:
            return
        self._child_gone(parent)

    def remember(self, *inos: int) -> None:
        """Counts a lookup of each."""
        counts = self.counts
        for ino in inos:
            node = self.get(ino)
            if node is not None:
                node.lookups += 1
                if node.lookups == 1:
                    self.idle.pop(node, None)
                continue
            try:
                counts[ino >> SHIFT][(ino & MASK) - INO_OFFSET] += 1
            except KeyError:
                self._counts(ino)[(ino & MASK) - INO_OFFSET] += 1

    def _counts(self, ino: int) -> array[int]:
        """The lookup counts of the layer that an id belongs to."""
        counts = self.counts.get(ino >> SHIFT)
        if counts is None:
            found = self.numbered(ino)
            if found is None:
                raise UnionError(errno.ESTALE, f"no node {ino:#x}")
            counts = self.counts[ino >> SHIFT] = array("I", bytes(4 * len(found[1])))
        return counts

    def known(self, ino: int) -> bool:
        """True while the kernel holds a reference to the inode."""
        node = self.get(ino)
        if node is not None:
            return node.lookups > 0
        return self.numbered(ino) is not None and self._counts(ino)[(ino & MASK) - INO_OFFSET] > 0

    def forget(self, ino: int, n: int) -> None:
        node = self.get(ino)
        if node is not None:
            node.lookups = max(0, node.lookups - n)
            self.release(node)
        elif self.numbered(ino) is not None:
            counts, handle = self._counts(ino), (ino & MASK) - INO_OFFSET
            counts[handle] = max(0, counts[handle] - n)

    def sweep(self) -> None:
        """Lets go of nodes that were made in passing and that nobody asked to keep."""
        while self.idle:
            self.release(self.idle.popitem()[0])

    def _child_gone(self, parent: Node) -> None:
        parent.children -= 1
        self.release(parent)

    def release(self, node: Node) -> None:
        """Takes a node out of the table if nothing holds it there, and then perhaps its parents."""
        todo = [node]
        while todo:
            node = todo.pop()
            if node.lookups or node.children or node is self.root or self.get(node.ino) is not node:
                continue
            del self[node.ino]
            self.idle.pop(node, None)
            if self.real.get(node.real) is node:
                del self.real[node.real]
            for spot in node.dirs:
                if self.numbered_dirs.get(spot) is node:
                    del self.numbered_dirs[spot]
            self.let_go(node)
            for parent, _ in node.names():
                parent.children -= 1
                todo.append(parent)
            node.parent, node.more = None, None
