"""Several layers as one: what they change together of the layers below them, deletions included.

The same layers give the same bytes. Nothing is mounted; data are copied from tar to tar.
"""

from __future__ import annotations

import stat
from collections.abc import Sequence

from imagetool.archive.below import Below
from imagetool.archive.writer import Path, Sink, Writer
from unionfs.layers.base import Entry, Handle, Layer
from unionfs.model import Mark

_WHITEOUT, _OPAQUE = b".wh.", b".wh..wh..opq"

Row = tuple[int, Entry]  # the number of the layer, and what it has
Folder = list[tuple[int, Handle]]  # a directory as the layers have it, top first


def squash(layers: Sequence[Layer], below: Sequence[Layer], sink: Sink, epoch: int | None = None) -> int:
    """Writes the one layer for `layers`, tars, upon those `below`, each top first; how many members it has."""
    return _Squasher(layers, Below(below), Writer(sink, epoch)).run()


class _Squasher:
    def __init__(self, layers: Sequence[Layer], below: Below, writer: Writer) -> None:
        self._layers, self._below, self._writer = layers, below, writer
        self._links: dict[tuple[int, int], Path] = {}

    def run(self) -> int:
        root: Folder = [(number, layer.root.handle) for number, layer in enumerate(self._layers)]
        shown = self._shown([(number, layer.root) for number, layer in enumerate(self._layers)])
        if not shown[1].mark & Mark.IMPLIED:
            self._directory((), shown)
        todo: list[tuple[Path, Folder]] = [((), root)]
        while todo:
            path, folder = todo.pop()
            table = self._table(folder)
            below = [((*path, name), self._put((*path, name), table[name])) for name in sorted(table)]
            todo += [(where, inner) for where, inner in below if inner][::-1]
        self._writer.end()
        return self._writer.members

    def _table(self, folder: Folder) -> dict[bytes, list[Row]]:
        """Every name with what each layer has under it, top first."""
        found: dict[bytes, list[Row]] = {}
        for number, handle in folder:
            for entry in self._layers[number].scan(handle):
                found.setdefault(entry.name, []).append((number, self._layers[number].marks(entry)))
        return found

    def _put(self, path: Path, rows: list[Row]) -> Folder:
        """Writes what the name is after all layers; for a directory, what there is to be merged in it."""
        number, entry = rows[0]
        if entry.mark & Mark.WHITEOUT:
            if self._below.mode(path):
                self._writer.empty((*path[:-1], _WHITEOUT + path[-1]))
            return []
        if not stat.S_ISDIR(entry.attr.mode):
            self._file(path, number, entry)
            return []
        merged, covered = _merged(rows)
        self._directory(path, self._shown(merged))
        if covered and stat.S_ISDIR(self._below.mode(path)):
            self._writer.empty((*path, _OPAQUE))
        return [(number, entry.handle) for number, entry in merged]

    @staticmethod
    def _shown(rows: list[Row]) -> Row:
        """Whose attributes a directory has."""
        return next((row for row in rows if not row[1].mark & Mark.IMPLIED), rows[0])

    def _directory(self, path: Path, row: Row) -> None:
        number, entry = row
        self._writer.node(path, entry.attr, self._layers[number].xattrs(entry.handle))

    def _file(self, path: Path, number: int, entry: Entry) -> None:
        layer, attr = self._layers[number], entry.attr
        first = self._links.setdefault((number, attr.ino), path) if attr.nlink > 1 else path
        if first is not path:
            self._writer.hardlink(path, attr, first)
        elif stat.S_ISREG(attr.mode):
            source = layer.source(entry.handle)
            try:
                self._writer.file(path, attr, layer.xattrs(entry.handle), source)
            finally:
                layer.release(source)
        else:
            target = layer.readlink(entry.handle) if stat.S_ISLNK(attr.mode) else b""
            self._writer.node(path, attr, layer.xattrs(entry.handle), target)


def _merged(rows: list[Row]) -> tuple[list[Row], bool]:
    """The directories that are merged, and whether what is below all these layers is hidden."""
    merged: list[Row] = []
    for row in rows:
        entry = row[1]
        if entry.mark & Mark.WHITEOUT or not stat.S_ISDIR(entry.attr.mode):
            return merged, True
        merged.append(row)
        if entry.mark & Mark.OPAQUE:
            return merged, True
    return merged, False
