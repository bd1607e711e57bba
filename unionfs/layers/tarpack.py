"""Packing a tree of inodes into the rows and names of an index: numbered breadth first, children sorted by name."""

from __future__ import annotations

from struct import Struct

from unionfs.layers import index
from unionfs.layers.index import DATA_AT, FLAGS_AT, HEAD, ROW_SIZE, TAIL, Image
from unionfs.layers.tarheader import Damaged

_QUAD = Struct("<Q")
_NLINK = Struct("<I")
_PRIMARY_NLINK = Struct("<II")


class Dir:
    """A directory: its inode, and its children as inode numbers, or as Dir."""

    __slots__ = ("children", "inode")

    def __init__(self, inode: int) -> None:
        self.inode = inode
        self.children: dict[bytes, int | Dir] = {}


class Packer:
    """Used once. `inodes` are records of index.TAIL; `linked` are the numbers of those that may have more names."""

    def __init__(self, root: Dir, inodes: bytearray, linked: set[int]) -> None:
        self._inodes = inodes
        self._rows = bytearray(HEAD.pack(0, 0, 0, 2, 0) + self._tail(root.inode))
        self._names = bytearray(b"\0")
        self._linked: dict[int, list[int]] = {inode: [] for inode in linked}
        self._queue = [root]  # directories in the order of their numbers, which are in _numbers
        self._numbers = [0]
        self._first = 1

    def _tail(self, inode: int) -> bytes:
        return bytes(self._inodes[inode * TAIL.size : (inode + 1) * TAIL.size])

    def pack(self, blob: bytearray) -> Image:
        for position, directory in enumerate(self._queue):
            self._directory(directory, self._numbers[position])
            directory.children = {}  # memory, on the way
        if len(self._names) > 0xFFFFFFFF:
            raise Damaged("the archive has more than 4 GiB of names")
        return Image(self._rows, self._patch_links(), self._names, blob)

    def _directory(self, directory: Dir, number: int) -> None:
        children = directory.children
        names = sorted(children)
        size, inodes, head, offset = TAIL.size, self._inodes, HEAD.pack, len(self._names)
        entry = self._first
        parts: list[bytes | bytearray] = []
        subdirectories = 0
        for name in names:
            child = children[name]
            if isinstance(child, Dir):
                self._queue.append(child)
                self._numbers.append(entry)
                subdirectories += 1
                child = child.inode
            elif child in self._linked:
                self._linked[child].append(entry)
            parts.append(head(offset & 0xFFFFFFFF, number, entry, 1, len(name)))
            parts.append(inodes[child * size : child * size + size])
            offset += len(name) + 1
            entry += 1
        rows = self._rows
        _QUAD.pack_into(rows, number * ROW_SIZE + DATA_AT, self._first | len(names) << 32 if names else 0)
        _NLINK.pack_into(rows, number * ROW_SIZE + 12, 2 + subdirectories)
        rows += b"".join(parts)
        if names:
            self._names += b"\0".join(names) + b"\0"
        self._first = entry

    def _patch_links(self) -> bytes:
        groups = sorted(entries for entries in self._linked.values() if len(entries) > 1)
        for entries in groups:
            for entry in entries:
                _PRIMARY_NLINK.pack_into(self._rows, entry * ROW_SIZE + 8, entries[0], len(entries))
                self._rows[entry * ROW_SIZE + FLAGS_AT] |= index.LINKED
        return b"".join(entry.to_bytes(4, "little") for entries in groups for entry in entries)
