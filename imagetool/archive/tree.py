"""A union of layers, read without mounting it: what export, unpack and pack walk."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property

from imagetool.archive.writer import Writer
from imagetool.store.layerwriter import malformed
from unionfs.annotations import TYPE_CHECKING
from unionfs.errors import LayerError
from unionfs.layers.base import Layer, Source, give_numbers
from unionfs.layers.tarball import open_tar_layer
from unionfs.layers.tarheader import BLOCK
from unionfs.model import ROOT_ID, Attr, Policy
from unionfs.namedtuple import NamedTuple

if TYPE_CHECKING:
    from unionfs.files import Files
    from unionfs.tree import UnionTree


class Item(NamedTuple):
    """One name. `path` are the names from the root; `link` is the path of an earlier name of the same inode."""

    path: tuple[bytes, ...]
    attr: Attr
    link: tuple[bytes, ...] | None = None


class Tree:
    """A read-only union. Not for several threads."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self.layers = layers
        give_numbers(
            layers
        )  # as the union will: who looks at a layer before there is one sees the same inodes
        self.links: dict[int, tuple[bytes, ...]] = {}  # inode -> the first name that was given out

    @cached_property
    def union(self) -> UnionTree:
        """Made when it is needed: it is large to import, and a pack seldom asks it anything."""
        from unionfs.tree import UnionTree

        return UnionTree(self.layers, None, Policy())

    @cached_property
    def files(self) -> Files:
        from unionfs.files import Files

        return Files(self.union)

    def close(self) -> None:
        """The layers too."""
        if "files" in self.__dict__:
            self.files.close()
        if "union" in self.__dict__:
            self.union.close()
            return
        for layer in self.layers:
            layer.close()

    def walk(self, top: tuple[bytes, ...] = (), *, moved: bool = False) -> Iterator[Item]:
        """`top` and everything below it, directories before what they hold, names in byte order.

        Names of one inode are told from each other over all walks of this tree. `moved`: those below a directory
        that has moved, too, which nobody has counted: the layers know them by other paths.
        """
        ino = ROOT_ID
        for name in top:
            ino = self.union.lookup(ino, name).ino
        attr = self.union.getattr(ino)
        yield Item(top, attr, self._first_name(attr, top, moved))
        if stat.S_ISDIR(attr.mode):
            yield from self._below(ino, top, moved)

    def _below(self, top_ino: int, top: tuple[bytes, ...], moved: bool) -> Iterator[Item]:
        """Without recursion: trees can be deeper than the stack. Nodes are forgotten as soon as they are done."""
        todo = [(top_ino, top, self._names(top_ino))]
        while todo:
            ino, path, names = todo[-1]
            name = next(names, None)
            if name is None:
                todo.pop()
                if todo:
                    self.union.forget(ino, 1)
                continue
            below = (*path, name)
            attr = self.union.lookup(ino, name)
            yield Item(below, attr, self._first_name(attr, below, moved))
            if stat.S_ISDIR(attr.mode):
                todo.append((attr.ino, below, self._names(attr.ino)))
            else:
                self.union.forget(attr.ino, 1)

    def _names(self, ino: int) -> Iterator[bytes]:
        rows = self.union.readdir(ino, 0)
        return iter(sorted(row.name for row in rows if row.name not in (b".", b"..")))

    def _first_name(self, attr: Attr, path: tuple[bytes, ...], moved: bool) -> tuple[bytes, ...] | None:
        if stat.S_ISDIR(attr.mode) or (attr.nlink < 2 and not moved):
            return None
        first = self.links.setdefault(attr.ino, path)
        return None if first is path else first

    def put(self, item: Item, writer: Writer) -> None:
        """Writes a name of the walk as a tar member."""
        mode, ino = item.attr.mode, item.attr.ino
        if item.link is not None:
            writer.hardlink(item.path, item.attr, item.link)
        elif stat.S_ISREG(mode):
            writer.file(item.path, item.attr, self.xattrs(ino), self.source(ino))
        else:
            target = self.readlink(ino) if stat.S_ISLNK(mode) else b""
            writer.node(item.path, item.attr, self.xattrs(ino), target)

    def readlink(self, ino: int) -> bytes:
        return self.union.readlink(ino)

    def xattrs(self, ino: int) -> dict[bytes, bytes]:
        return {name: self.union.getxattr(ino, name) for name in self.union.listxattr(ino)}

    def source(self, ino: int) -> Source:
        return self.files.source(ino)


@contextmanager
def opened(layers: Sequence[Layer]) -> Iterator[Tree]:
    """A tree of layers, top first, that are closed at the end. Malformed for what a layer cannot answer."""
    try:
        tree = Tree(layers)
        try:
            yield tree
        finally:
            tree.close()
    except LayerError as error:
        raise malformed(error) from error


@contextmanager
def of_tars(paths: Sequence[str]) -> Iterator[Tree]:
    """A tree of tar layers, top first. Without any it is an empty directory: FROM scratch."""
    try:
        layers: list[Layer] = [*map(open_tar_layer, paths)] or [_nothing()]
    except LayerError as error:
        raise malformed(error) from error
    with opened(layers) as tree:
        yield tree


def _nothing() -> Layer:
    """An archive that has only its end; its index is made in memory."""
    fd = os.memfd_create("empty.tar", os.MFD_CLOEXEC)
    try:
        os.write(fd, bytes(2 * BLOCK))
        return open_tar_layer(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)
