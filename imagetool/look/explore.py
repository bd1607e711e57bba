"""What each layer of an image adds, changes, deletes, and what of it nobody sees any more.

Wasted are bytes of a layer's files that a later layer replaces or deletes: they are stored and moved, and not
shown. Directories are not counted. A file with several names is counted with the first.
"""

from __future__ import annotations

import stat
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack

from imagetool.digest import Digest
from imagetool.look.history import steps
from imagetool.store.layerwriter import malformed
from imagetool.store.read import Image
from imagetool.store.store import Store
from unionfs.errors import LayerError
from unionfs.layers.base import Entry
from unionfs.layers.tarball import TarLayer, open_tar_layer
from unionfs.model import Mark
from unionfs.namedtuple import NamedTuple

Path = tuple[bytes, ...]


class Node:
    """A name of the merged tree. `layer` is the number of the layer it comes from, the lowest is 0."""

    __slots__ = ("children", "layer", "size")

    def __init__(self, layer: int, size: int, children: dict[bytes, Node] | None) -> None:
        self.layer = layer
        self.size = size
        self.children = children

    def files(self, path: Path) -> Iterator[tuple[Path, Node]]:
        """Everything below that is no directory, or itself; without recursion, trees can be deep."""
        todo = [(path, self)]
        while todo:
            where, node = todo.pop()
            if node.children is None:
                yield where, node
            else:
                todo += [((*where, name), child) for name, child in node.children.items()]


class Layer(NamedTuple):
    """One layer: files, and their bytes. `wasted` are those of its bytes that later layers hide."""

    diff_id: Digest
    created_by: str
    size: int
    added: int
    added_size: int
    changed: int
    changed_size: int
    deleted: int
    deleted_size: int
    wasted: int


class Explored(NamedTuple):
    """The whole image. `waste` are the paths with the most hidden bytes, the worst first, and how many bytes."""

    layers: tuple[Layer, ...]
    root: Node
    size: int
    wasted: int
    waste: tuple[tuple[Path, int], ...]

    @property
    def efficiency(self) -> float:
        """The share of the stored bytes that is seen; 1.0 for an image without files."""
        return 1 - self.wasted / self.size if self.size else 1.0


def explore(store: Store, image: Image) -> Explored:
    """Walks every layer once, the lowest first. Malformed, NotFound for layers that cannot be read."""
    store.ensure_layers(image)
    done = [step for step in steps(store, image) if step.diff_id]
    merger = _Merger()
    with ExitStack() as opened:
        for number, path in enumerate(reversed(store.layer_tars(image))):
            try:
                merger.merge(number, opened.enter_context(open_tar_layer(path)))
            except LayerError as error:
                raise malformed(error) from error
    layers = tuple(
        Layer(diff_id, step.created_by, *count.facts(), merger.wasted[number])
        for number, ((_, diff_id), step, count) in enumerate(
            zip(image.layers(), done, merger.counts, strict=True)
        )
    )
    size = sum(layer.size for layer in layers)
    return Explored(layers, merger.root, size, sum(merger.wasted.values()), tuple(merger.waste.most_common()))


class _Count:
    __slots__ = ("added", "added_size", "changed", "changed_size", "deleted", "deleted_size")

    def __init__(self) -> None:
        self.added = self.added_size = self.changed = self.changed_size = self.deleted = self.deleted_size = 0

    def facts(self) -> tuple[int, int, int, int, int, int, int]:
        size = self.added_size + self.changed_size
        changes = (self.added, self.added_size, self.changed, self.changed_size)
        return (size, *changes, self.deleted, self.deleted_size)


class _Merger:
    """INVARIANT: `root` is the union of the layers that were merged so far."""

    def __init__(self) -> None:
        self.root = Node(0, 0, {})
        self.counts: list[_Count] = []
        self.wasted: Counter[int] = Counter()
        self.waste: Counter[Path] = Counter()

    def merge(self, number: int, layer: TarLayer) -> None:
        self.counts.append(_Count())
        seen: set[int] = set()
        todo: list[tuple[Path, Entry, Node]] = [((), layer.root, self.root)]
        while todo:
            path, directory, node = todo.pop()
            if directory.mark & Mark.OPAQUE:
                self._hide_children(path, node, number)
            for entry in layer.scan(directory.handle):
                where = (*path, entry.name)
                below = self._put(where, entry, node, number, seen)
                if below is not None:
                    todo.append((where, entry, below))

    def _put(self, path: Path, entry: Entry, parent: Node, number: int, seen: set[int]) -> Node | None:
        """Applies one entry; the node to go on below, for a directory."""
        assert parent.children is not None
        count, name = self.counts[-1], entry.name
        old = parent.children.get(name)
        if entry.mark & Mark.WHITEOUT:
            if old is not None:
                self._hide(path, parent.children.pop(name), count)
            return None
        if stat.S_ISDIR(entry.attr.mode):
            if old is None or old.children is None:
                if old is not None:
                    self._hide(path, old, count)
                parent.children[name] = Node(number, 0, {})
            return parent.children[name]
        size = _size(entry, seen)
        if old is not None and old.children is None:
            count.changed, count.changed_size = count.changed + 1, count.changed_size + size
            self._waste(path, old)
        else:
            if old is not None:
                self._hide(path, old, count)
            count.added, count.added_size = count.added + 1, count.added_size + size
        parent.children[name] = Node(number, size, None)
        return None

    def _hide_children(self, path: Path, node: Node, number: int) -> None:
        """An opaque directory hides what the layers below have in it; its own entries come later."""
        assert node.children is not None
        for name in list(node.children):
            self._hide((*path, name), node.children.pop(name), self.counts[number])

    def _hide(self, path: Path, node: Node, count: _Count) -> None:
        for where, file in node.files(path):
            count.deleted, count.deleted_size = count.deleted + 1, count.deleted_size + file.size
            self._waste(where, file)

    def _waste(self, path: Path, file: Node) -> None:
        if file.size:
            self.wasted[file.layer] += file.size
            self.waste[path] += file.size


def _size(entry: Entry, seen: set[int]) -> int:
    """Bytes of a regular file, of the first of its names."""
    attr = entry.attr
    if not stat.S_ISREG(attr.mode):
        return 0
    if attr.nlink > 1:
        if attr.ino in seen:
            return 0
        seen.add(attr.ino)
    return attr.size
