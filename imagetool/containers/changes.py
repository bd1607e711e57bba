"""What a container has changed: its RW layer against the layers below. The image is looked up, never walked."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from imagetool.archive.tree import Tree, of_tars, opened
from imagetool.containers import rootfs, rootless
from imagetool.containers.folder import Container
from imagetool.errors import ImageToolError
from imagetool.store.store import Store
from unionfs.errors import LayerError, UnionError
from unionfs.layers.base import Handle, Layer
from unionfs.layers.directory import DirLayer
from unionfs.layers.tarball import open_tar_layer
from unionfs.model import ROOT_ID, Mark


def changes(store: Store, container: Container) -> Iterator[tuple[str, bytes]]:
    """(A, C or D, path), a directory before what it holds: added, changed, deleted."""
    rootfs.sync(container.directory)
    upper = f"{container.directory}/top/upper"
    if not os.path.isdir(upper):
        return
    top = rootless.layer(container.record, container.directory)
    try:
        with of_tars(rootfs.lowers(store, container.record)) as below:
            yield from _below(top, top.root.handle, below, ROOT_ID, b"")
    finally:
        top.close()


@contextmanager
def merged(store: Store, container: Container) -> Iterator[Tree]:
    """The container's files, read without mounting them."""
    rootfs.sync(container.directory)
    with ExitStack() as undo:
        layers: list[Layer] = [rootless.layer(container.record, container.directory)]
        try:
            layers += [open_tar_layer(path) for path in rootfs.lowers(store, container.record)]
            tree = undo.enter_context(opened(layers))
        except LayerError as error:
            raise ImageToolError(str(error)) from error
        yield tree


def _below(
    top: DirLayer, handle: Handle, tree: Tree, ino: int | None, path: bytes
) -> Iterator[tuple[str, bytes]]:
    for entry in sorted(top.scan(handle), key=lambda one: one.name):
        where = path + b"/" + entry.name
        there = _lookup(tree, ino, entry.name)
        marked = entry if entry.mark & Mark.WHITEOUT else top.marks(entry)
        if marked.mark & Mark.WHITEOUT:
            yield "D", where
            continue
        yield ("A" if there is None else "C"), where
        if stat.S_ISDIR(entry.attr.mode):
            opaque = marked.mark & (Mark.OPAQUE | Mark.REDIRECT)
            yield from _below(top, entry.handle, tree, None if opaque else there, where)


def _lookup(tree: Tree, parent: int | None, name: bytes) -> int | None:
    if parent is None:
        return None
    try:
        return tree.union.lookup(parent, name).ino
    except (UnionError, NotADirectoryError):
        return None
