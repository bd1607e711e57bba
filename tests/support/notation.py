"""A small notation for layers and trees: a dict from paths to items. Pure: `write` writes it to disk.

    {"d/f": b"text", "d/gone": WHITEOUT, "e": directory(opaque=True), "l": symlink("d/f"), "h": hardlink("d/f")}

Keys are paths without a leading slash; "" is the root of the layer; parents that are not named are 0755.
A value may be bytes (a file), a dict (a directory with what is in it) or an Item. Hard links name a path
of the same layer. `layers` lists are top first, as on a command line.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

Tree = Mapping[str, object]
Plain = dict[str, "Item"]

LONG_AGO = 1_600_000_000_123_456_789
"""Default time of every item, in nanoseconds: not now, and not a whole second."""


@dataclass(frozen=True)
class Item:
    """One entry of a layer. Owners are None where the writer of the tree is to own it."""

    kind: str  # file, directory, symlink, hardlink, char, block, fifo, whiteout
    data: bytes = b""
    mode: int = 0o644
    uid: int | None = None
    gid: int | None = None
    mtime: int = LONG_AGO  # nanoseconds
    xattrs: Mapping[str, bytes] = field(default_factory=dict)
    target: str = ""  # of a symlink, or the path a hard link repeats
    rdev: int = 0
    opaque: bool = False
    size: int | None = None  # a sparse file: its data stand at `offset`, the rest is a hole
    offset: int = 0

    def content(self) -> bytes:
        """The bytes of a regular file with its holes as zeros."""
        if self.size is None:
            return self.data
        return bytes(self.offset) + self.data + bytes(self.size - self.offset - len(self.data))


def file(data: bytes = b"", mode: int = 0o644, **more: object) -> Item:
    return replace(Item("file", data, mode), **more)  # type: ignore[arg-type]


def sparse(size: int, offset: int, data: bytes) -> Item:
    """A file of `size` bytes that is a hole except for `data` at `offset`."""
    return Item("file", data, size=size, offset=offset)


def directory(mode: int = 0o755, *, opaque: bool = False, **more: object) -> Item:
    return replace(Item("directory", mode=mode, opaque=opaque), **more)  # type: ignore[arg-type]


def symlink(target: str, **more: object) -> Item:
    return replace(Item("symlink", mode=0o777, target=target), **more)  # type: ignore[arg-type]


def hardlink(path: str) -> Item:
    return Item("hardlink", target=path)


def device(kind: str, major: int, minor: int, mode: int = 0o644) -> Item:
    """`kind` is "char" or "block"."""
    return Item(kind, mode=mode, rdev=os.makedev(major, minor))


def fifo(mode: int = 0o644) -> Item:
    return Item("fifo", mode=mode)


WHITEOUT = Item("whiteout", mode=0)


def plain(tree: Tree) -> Plain:
    """The notation spelled out: every entry an Item, every parent present, parents before children."""
    found: Plain = {}
    _collect("", tree, found)
    for path in list(found):
        while path:
            path = parent(path)
            found.setdefault(path, directory())
    found.setdefault("", directory())
    return {
        path: found[path] for path in sorted(found, key=lambda path: (path.count("/") + bool(path), path))
    }


def parent(path: str) -> str:
    return path.rpartition("/")[0]


def _collect(prefix: str, tree: Mapping[str, object], found: Plain) -> None:
    for name, value in tree.items():
        path = f"{prefix}/{name}".strip("/")
        if isinstance(value, Mapping):
            found.setdefault(path, directory())
            _collect(path, value, found)
        else:
            found[path] = Item("file", value) if isinstance(value, bytes) else _item(value)


def _item(value: object) -> Item:
    assert isinstance(value, Item), f"not a layer value: {value!r}"
    return value


def below(prefix: str, tree: Tree) -> Plain:
    """The same tree, moved under `prefix`, hard links with it."""
    return {
        f"{prefix}/{path}".strip("/"): replace(item, target=f"{prefix}/{item.target}")
        if item.kind == "hardlink"
        else item
        for path, item in plain(tree).items()
    }


def flatten(layers: Sequence[Tree]) -> Plain:
    """What a union of the layers shows, as one tree without whiteouts: the reference for a native directory."""
    seen: Plain = {"": directory()}
    for layer in reversed(layers):
        for path, item in sorted(plain(layer).items(), key=lambda pair: pair[1].kind == "hardlink"):
            _lay(seen, path, item)
    return plain(seen)


def _lay(seen: Plain, path: str, item: Item) -> None:
    old = seen.get(path)
    if not (item.kind == "directory" and not item.opaque and old and old.kind == "directory"):
        _drop(seen, path)
    if item.kind != "whiteout":
        seen[path] = replace(item, opaque=False)


def _drop(seen: Plain, path: str) -> None:
    if path not in seen:
        return
    doomed = [name for name in seen if name == path or name.startswith(f"{path}/") or not path]
    _keep_links(seen, set(doomed))
    for name in doomed:
        del seen[name]


def _keep_links(seen: Plain, doomed: set[str]) -> None:
    """A hard link whose first name goes away becomes the file; the other links then point at it."""
    heirs: dict[str, str] = {}
    for name, item in seen.items():
        if item.kind == "hardlink" and item.target in doomed and name not in doomed:
            heir = heirs.setdefault(item.target, name)
            seen[name] = seen[item.target] if heir == name else hardlink(heir)
