"""The file system of an image as one plain tar: what `export` writes, and what `import` takes."""

from __future__ import annotations

from collections.abc import Sequence

from imagetool.archive.tree import Tree, of_tars
from imagetool.archive.writer import Sink, Writer


def export(tars: Sequence[str], sink: Sink) -> None:
    """Writes the union of tar layers, top first. Deletions are carried out, not written."""
    with of_tars(tars) as tree:
        write(tree, sink)


def write(tree: Tree, sink: Sink) -> None:
    """Writes a union as it is seen."""
    writer = Writer(sink)
    for item in tree.walk():
        tree.put(item, writer)
    writer.end()
