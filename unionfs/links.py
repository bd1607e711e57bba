"""The names of hard-linked lower inodes: which of them the view shows, and so what st_nlink is.

A layer knows all names of an inode, the view may hide some: layers above cover them, the top layer removes them
or moves the directories that they are in. What the top layer has done to them is noted on its root, so that
a stack where nothing of the kind has happened pays nothing for it.
"""

from __future__ import annotations

from unionfs import sysfd
from unionfs.annotations import TYPE_CHECKING
from unionfs.merge import Spot, search
from unionfs.model import Attr
from unionfs.node import Node

if TYPE_CHECKING:
    from unionfs.view import View

LOST = b"links"
"""Attribute of the top layer's root (in the overlay's namespace): a hard-linked lower file has lost a name."""
MOVED = b"moved"
"""The same: a directory of the layers has been moved, so that names below it are no longer where the layer has them."""
THIN = b"thin"
"""The same: in a user namespace, a lower file was copied up without its data, which overlayfs only follows outside."""

Names = tuple[bytes, ...]


class Links:
    def __init__(self, view: View) -> None:
        self._view = view
        self._marks: dict[bytes, bool] = {}
        self._moves: dict[Names, Names] | None = (
            None  # path in the layers -> path in the view; None: to be looked up
        )

    def marked(self, mark: bytes) -> bool:
        """Whether the top layer's root has a mark of ours."""
        upper = self._view.upper
        if upper is None:
            return False
        if mark not in self._marks:
            self._marks[mark] = sysfd.getxattr(upper.root_fd, b"", upper.names.prefix + mark) is not None
        return self._marks[mark]

    def mark(self, mark: bytes) -> None:
        """Notes what is about to happen, so that the next mount knows."""
        upper = self._view.upper
        assert upper is not None
        if upper.keeps_marks and not self.marked(mark):
            sysfd.setxattr(upper.root_fd, b"", upper.names.prefix + mark, b"y")
            self._marks[mark] = True

    def moved(self) -> None:
        """Some directory has another path now."""
        self._moves = None

    def hidden(self, node: Node, attr: Attr) -> int:
        """How many names of a lower inode the view does not show."""
        assert node.lower is not None
        number = node.lower[0]
        touched = self.marked(LOST) or (
            self._view.upper is not None and self._view.nodes.tars[number] is not None
        )
        if number == 0 and not touched:
            return 0
        return attr.nlink - len(self.visible(node.lower))

    def visible(self, spot: Spot) -> list[tuple[Node, bytes]]:
        """(parent, name) of every name of a lower inode that the view shows and that still is the lower one's."""
        number, handle = spot
        layer = self._view.layers[number]
        ino = layer.entry(handle).attr.ino
        names = (self._at(number, ino, self._now(path)) for path in layer.aliases(ino))
        return [found for found in names if found is not None]

    def _at(self, number: int, ino: int, path: Names) -> tuple[Node, bytes] | None:
        view, parent = self._view, self._view.nodes.root
        for name in path[:-1]:
            below = view.find(parent, name)
            if below is None or not below.is_dir:
                return None
            parent = below
        name = path[-1]
        upper = view.upper if parent.upper else None
        if upper is not None and sysfd.lstat_or_none(upper.dir_fd(parent), name) is not None:
            return None
        found = search(view.layers, parent.dirs, (name,))
        if found is None or found.layer != number or found.top.attr.ino != ino:
            return None
        return parent, name

    def _now(self, path: Names) -> Names:
        """Where the view has what a layer has at `path`."""
        if not self.marked(MOVED):
            return path
        if self._moves is None:
            self._moves = self._find_moves()
        for depth in range(len(path) - 1, 0, -1):
            moved = self._moves.get(path[:depth])
            if moved is not None:
                return moved + path[depth:]
        return path

    def _find_moves(self) -> dict[Names, Names]:
        """Every directory of the top layer that a redirect leads on from; reads its directories, once a move."""
        view, upper = self._view, self._view.upper
        assert upper is not None
        moves: dict[Names, Names] = {}
        todo: list[tuple[Node, Names]] = [(view.nodes.root, ())]
        while todo:
            directory, path = todo.pop()
            for name in upper.listdir(directory):
                below = view.find(directory, name)
                if below is None or not below.is_dir or not below.upper:
                    continue
                todo.append((below, (*path, name)))
                if below.dirs:
                    number, handle = below.dirs[0]
                    origin = view.layers[number].path(handle)
                    if origin != (*path, name):
                        moves[origin] = (*path, name)
        return moves
