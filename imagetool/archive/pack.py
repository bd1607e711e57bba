"""Packing a top layer, as overlayfs keeps it on disk, into the tar of an OCI layer (image-spec layer.md).

Only the top layer is walked, never the image below; but what it moved from there (redirect) or changed without
its data (metacopy) is read from the layers below and written out in full. The same directory gives the same bytes.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence

from imagetool.archive.below import Below
from imagetool.archive.tree import Tree, opened
from imagetool.archive.writer import Path, Sink, Writer
from imagetool.errors import Malformed, UsageError
from unionfs.layers.base import Entry, Handle, Layer
from unionfs.layers.directory import DirLayer
from unionfs.model import Mark
from unionfs.namedtuple import NamedTuple

WHITEOUT = b".wh."
OPAQUE = b".wh..wh..opq"


class Packed(NamedTuple):
    """What a pack wrote: members, of them deletions, and the bytes of regular files."""

    members: int
    whiteouts: int
    size: int


class Options(NamedTuple):
    """How to read the top layer, and what to write."""

    userxattr: bool = False  # its marks are user.overlay.*, not trusted.overlay.*
    override: bytes = b""  # the attribute that keeps owner and mode of an unprivileged top layer
    epoch: int | None = None  # SOURCE_DATE_EPOCH: no time is later


DEFAULTS = Options()


def epoch_from_environment() -> int | None:
    """SOURCE_DATE_EPOCH (reproducible-builds.org); None where it is not set. UsageError for what is no number."""
    return epoch_of(os.environ.get("SOURCE_DATE_EPOCH", ""))


def epoch_of(text: str) -> int | None:
    """What SOURCE_DATE_EPOCH says; None for nothing. UsageError for what is no number."""
    if text and not (text.isascii() and text.isdigit()):
        raise UsageError(f"SOURCE_DATE_EPOCH is {text!r}", hint="it is a time in whole seconds since 1970")
    return int(text) if text else None


def pack(upper: str, sink: Sink, lowers: Sequence[Layer] = (), options: Options = DEFAULTS) -> Packed:
    """Writes the layer of the directory `upper`. `lowers`, top first, are closed at the end.

    OSError for what cannot be read; Malformed for a name that no layer can hold, or a damaged lower layer.
    """
    top = DirLayer(os.fsencode(upper), userxattr=options.userxattr, override_key=options.override)
    with opened([top, *lowers]) as tree:
        return _Packer(top, tree, Writer(sink, options.epoch)).run()


class _Packer:
    def __init__(self, top: DirLayer, tree: Tree, writer: Writer) -> None:
        self._top = top
        self._tree = tree
        self._writer = writer
        self._whiteouts = 0
        self._links = tree.links  # of the top layer, wherever it is written
        below = tree.layers[1:]
        self._below = Below(below) if below else None

    def run(self) -> Packed:
        if self._root_changed():
            self._writer.node((), self._top.root.attr, self._top.xattrs(self._top.root.handle))
        todo: list[tuple[Path, Handle]] = [((), self._top.root.handle)]
        while todo:
            path, handle = todo.pop()
            entries = sorted(self._top.scan(handle), key=lambda entry: entry.name)
            below = [((*path, entry.name), entry) for entry in entries]
            todo += [(where, entry.handle) for where, entry in below if self._put(where, entry)][::-1]
        self._writer.end()
        return Packed(self._writer.members, self._whiteouts, self._writer.size)

    def _root_changed(self) -> bool:
        """The root has an entry of its own only where it differs from the layers below."""
        if len(self._tree.layers) < 2:
            return False
        ours, below = self._top.root.attr, self._tree.layers[1].root.attr
        return (ours.mode, ours.uid, ours.gid) != (below.mode, below.uid, below.gid)

    def _put(self, path: Path, entry: Entry) -> bool:
        """Writes one entry; True for a directory of which only this layer's part is to be written."""
        if entry.name.startswith(WHITEOUT):
            raise Malformed(f"{b'/'.join(path)!r} cannot be in a layer: names in .wh. mean deletions there")
        if not entry.mark & Mark.WHITEOUT:
            entry = self._top.marks(entry)
        if entry.mark & Mark.WHITEOUT:
            if self._below is None or self._below.mode(path):
                self._writer.empty((*path[:-1], WHITEOUT + entry.name))
                self._whiteouts += 1
            return False
        if stat.S_ISREG(entry.attr.mode):
            self._put_file(path, entry)
            return False
        if entry.mark & Mark.REDIRECT:
            self._put_moved(path)
            return False
        target = self._top.readlink(entry.handle) if stat.S_ISLNK(entry.attr.mode) else b""
        self._writer.node(path, entry.attr, self._top.xattrs(entry.handle), target)
        if entry.mark & Mark.OPAQUE:
            self._put_opaque(path)
        return stat.S_ISDIR(entry.attr.mode)

    def _put_opaque(self, path: Path) -> None:
        """Said only where it hides something: the kernel's overlayfs marks every new directory."""
        if self._below is not None and not stat.S_ISDIR(self._below.mode(path)):
            return
        self._writer.empty((*path, OPAQUE))
        self._whiteouts += 1

    def _put_file(self, path: Path, entry: Entry) -> None:
        if entry.attr.nlink > 1 and (first := self._links.setdefault(entry.attr.ino, path)) is not path:
            self._writer.hardlink(path, entry.attr, first)
            return
        if entry.mark & (Mark.METACOPY | Mark.REDIRECT):  # its data are below
            for item in self._tree.walk(path):
                self._tree.put(item, self._writer)
            return
        source = self._top.source(entry.handle)
        try:
            self._writer.file(path, entry.attr, self._top.xattrs(entry.handle), source)
        finally:
            self._top.release(source)

    def _put_moved(self, top: Path) -> None:
        """A directory that was moved here: all of it, as the merged view has it, and nothing of what was here."""
        for item in self._tree.walk(top, moved=True):
            self._tree.put(item, self._writer)
            if item.path == top:
                self._put_opaque(top)
