"""Rows: the union's directories, listed.

The order of a listing, and the cookies that readers come back with, are those of `listing.Listing`; a directory of
one tar layer needs none, since the numbers of its entries serve as well.
"""

from __future__ import annotations

import errno
import stat
from collections.abc import Iterator
from itertools import chain

from unionfs.errors import UnionError
from unionfs.listing import FIRST, Listing
from unionfs.merge import Spot, alone, merge_names
from unionfs.model import Attr, Dirent
from unionfs.node import Node
from unionfs.view import View

Row = tuple[int, bytes, Attr]
UNSEEN = Attr(0xFFFFFFFF, *(0,) * 15)
"""Of a row of a listing that cannot be looked at: one bad entry must not hide the others. Its mode, 0, tells it."""


class Rows(View):
    """A view whose directories can be read."""

    def readdir(self, ino: int, cookie: int) -> Iterator[Dirent]:
        for at, name, attr in self.readdirplus(ino, cookie):
            yield Dirent(at, name, attr.ino, attr.mode)
        self.nodes.sweep()

    def readdirplus(self, ino: int, cookie: int) -> Iterator[Row]:
        """(cookie, name, attributes) of the rows behind `cookie`; see UNSEEN. Of `.` and `..`, number and type only.

        What they tell of lives until it is remembered, or something else is.
        """
        node = self.nodes[ino]
        if node.fmt != stat.S_IFDIR:
            raise UnionError(errno.ENOTDIR)
        if cookie < 1 and self.policy.changing and node.listing is not None:
            node.listing.renew(name for _, name in self._names_now(node))
        rows = self._rows_below(node, cookie)
        if self.policy.ids is not None:
            rows = ((at, name, self.shown(attr)) for at, name, attr in rows)
        return chain(_dots(node)[cookie:], rows) if cookie < 2 else rows

    def _rows_below(self, node: Node, cookie: int) -> Iterator[Row]:
        if node.parent is None and node is not self.nodes.root:
            return iter(())
        if not node.upper and len(node.dirs) == 1:
            number = node.dirs[0][0]
            if self.nodes.tars[number] is not None:
                return self._rows_of_one(node, cookie)
            if number == len(self.layers) - 1:
                return self._rows_of_bottom(node, cookie)
        return self._rows(node, cookie)

    def _rows(self, node: Node, cookie: int) -> Iterator[Row]:
        for at, name in self.listing(node).after(cookie):
            try:
                found = self.look(node, name)
            except OSError as e:
                if e.errno != errno.ENOENT:
                    yield at, name, UNSEEN
            else:
                if found is not None:
                    yield at, name, found[1]

    def _rows_of_one(self, node: Node, cookie: int) -> Iterator[Row]:
        """The rows of a directory of one numbered layer, straight from its index."""
        number, handle = node.dirs[0]
        nodes = self.nodes
        at = max(cookie, FIRST - 1)
        for entry in self.layers[number].scan(handle, at - FIRST + 1):
            at += 1
            name, attr, _, mark, _ = entry
            if attr.nlink == 1 and attr.mode & 0o170000 != 0o040000 and attr.ino not in nodes:
                if not mark:
                    yield at, name, attr
            elif (found := alone(number, entry)) is not None:
                yield at, name, self._lower_child(node, name, found)[1]

    def _rows_of_bottom(self, node: Node, cookie: int) -> Iterator[Row]:
        """The rows of a directory of the bottom layer alone: nothing merges, no mark leads further."""
        number, handle = node.dirs[0]
        layer, nodes = self.layers[number], self.nodes
        for at, name in self.listing(node).after(cookie):
            try:
                entry = layer.lookup(handle, name)
            except OSError:
                yield at, name, UNSEEN
                continue
            if entry is None or entry[3]:  # a whiteout: `lookup` tells no other mark
                continue
            attr, mode = entry[1], entry[1][9]
            if mode & 0o170000 != 0o040000 and attr[10] == 1 and attr[0] not in nodes:
                child = Node(attr[0], mode & 0o170000)
                child.lower = child.data = (number, entry[2])
                nodes.add(child, node, name)
                yield at, name, attr
            elif (found := alone(number, entry)) is not None:
                yield at, name, self._lower_child(node, name, found)[1]

    def listing(self, node: Node) -> Listing:
        """The names of a directory, made when first asked for and kept up to date by every change.

        Names that a whiteout hides may be among them: whoever reads a row resolves it anyway.
        """
        if node.listing is None:
            node.listing = Listing(self._names_now(node))
        return node.listing

    def _names_now(self, node: Node) -> list[tuple[int, bytes]]:
        return merge_names(
            [self._upper_names(node)] + [self.layers[n].names(handle) for n, handle in node.dirs]
        )

    def _upper_names(self, node: Node) -> list[bytes]:
        if not node.upper or self.upper is None:
            return []
        return self.upper.listdir(node)

    def is_empty(self, node: Node) -> bool:
        if node.listing is not None and not len(node.listing) and not self.policy.changing:
            return True
        gone: set[bytes] | None = set()
        if node.upper and self.upper is not None:
            gone = self.upper.only_whiteouts(node)
        if gone is None:
            return False
        below = (name for number, handle in node.dirs for name in self.layers[number].names(handle))
        return all(name in gone or self.look(node, name) is None for name in below)

    def siblings(self, ino: int, n: int) -> list[int]:
        """Up to `n` regular files that follow a file in its directory's listing and that the kernel knows."""
        node = self.nodes[ino]
        if node.parent is None:
            return []
        if node.passing and node.lower is not None and not node.parent.upper and len(node.parent.dirs) == 1:
            return self._numbered_siblings(node.lower, n)
        found: list[int] = []
        for name in self.listing(node.parent).behind(node.name, n):
            below = self.find(node.parent, name)
            if below is not None and below.is_reg and self.nodes.known(below.ino):
                found.append(below.ino)
        return found

    def _numbered_siblings(self, spot: Spot, n: int) -> list[int]:
        number, handle = spot
        tar = self.nodes.tars[number]
        assert tar is not None
        assert isinstance(handle, int)
        return [ino for ino in tar.followers(handle, n) if self.nodes.known(ino)]


def _dots(node: Node) -> list[Row]:
    return [(1, b".", _plain(node)), (2, b"..", _plain(node.parent or node))]


def _plain(node: Node) -> Attr:
    return Attr(node.ino, *(0,) * 8, node.fmt, *(0,) * 6)
