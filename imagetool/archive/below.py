"""What the layers below a new one have: a deletion is only worth a word where there is something to delete."""

from __future__ import annotations

import stat
from collections.abc import Sequence

from unionfs.errors import UnionError
from unionfs.layers.base import Layer
from unionfs.model import Policy
from unionfs.tree import UnionTree


class Below:
    """`layers`, top first, are the caller's to close."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self._union = UnionTree(layers, None, Policy()) if layers else None

    def mode(self, path: Sequence[bytes]) -> int:
        """Of what is under a path, in the directories themselves and not behind links; 0 where there is nothing."""
        if self._union is None:
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
