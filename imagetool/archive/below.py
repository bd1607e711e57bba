"""What the layers below a new one have: a deletion is only worth a word where there is something to delete."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from functools import cached_property

from unionfs.annotations import TYPE_CHECKING
from unionfs.errors import UnionError
from unionfs.layers.base import Layer

if TYPE_CHECKING:
    from unionfs.tree import UnionTree


class Below:
    """`layers`, top first, are the caller's to close."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self._layers = layers

    @cached_property
    def _union(self) -> UnionTree:
        """Made when it is asked: most changes delete nothing, and the union is large to import."""
        from unionfs.model import Policy
        from unionfs.tree import UnionTree

        return UnionTree(self._layers, None, Policy())

    def mode(self, path: Sequence[bytes]) -> int:
        """Of what is under a path, in the directories themselves and not behind links; 0 where there is nothing."""
        if not self._layers:
            return 0
        node, mode = self._union.nodes.root, stat.S_IFDIR
        for name in path:
            if not stat.S_ISDIR(mode):
                return 0
            try:
                node, attr = self._union.resolve(node, name)
            except UnionError:
                return 0
            mode = attr.mode
        return mode
