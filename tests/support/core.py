"""The union core without a mount: a tree over layers in the notation, driven by paths instead of node ids."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from tests.support import write
from tests.support.notation import Tree
from unionfs.files import Files
from unionfs.layers.base import Layer
from unionfs.layers.directory import DirLayer
from unionfs.layers.tarball import open_tar_layer
from unionfs.model import ROOT_ID, Attr, Caller, Change, Policy
from unionfs.tree import UnionTree
from unionfs.upper import Upper

ME = Caller(0, 0, 0, 0o022)


class Core:
    """Layers on disk and the tree over them. Paths have no leading slash; "" is the root."""

    def __init__(
        self,
        base: Path,
        layers: Sequence[Tree],
        kind: str = "dir",
        policy: Policy | None = None,
        *,
        upper: bool = True,
    ) -> None:
        self.base, self.kind, self.policy = base, kind, policy or Policy()
        self.upper_dir, self.work_dir = base / "upper", base / "work"
        self.places = [self._write(number, layer) for number, layer in enumerate(layers)]
        self.has_upper = upper
        if upper:
            self.upper_dir.mkdir()
            self.work_dir.mkdir()
        self.mount()

    @classmethod
    def reopen(cls, base: Path, places: Sequence[Path], policy: Policy) -> Core:
        """The same over layers and a top layer that are there already."""
        core = cls.__new__(cls)
        core.base, core.kind, core.policy, core.has_upper = base, "dir", policy, True
        core.upper_dir, core.work_dir, core.places = base / "upper", base / "work", list(places)
        core.mount()
        return core

    def _write(self, number: int, layer: Tree) -> Path:
        if self.kind == "tar":
            return write.to_tar(self.base / f"layer{number}.tar", layer)
        return write.to_directory(self.base / f"layer{number}", layer)

    def mount(self) -> None:
        """Opens everything; again after `close`, as another mount of the same stack."""
        layers: list[Layer] = [
            open_tar_layer(str(place)) if self.kind == "tar" else DirLayer(os.fsencode(place))
            for place in self.places
        ]
        upper = None
        if self.has_upper:
            upper = Upper(os.fsencode(self.upper_dir), os.fsencode(self.work_dir), self.policy)
        self.tree = UnionTree(layers, upper, self.policy)
        self.files = Files(self.tree)

    def remount(self) -> None:
        self.close()
        self.mount()

    def close(self) -> None:
        self.files.close()
        self.tree.close()

    # -- by path

    def ino(self, path: str) -> int:
        """Looks a path up as the kernel does, and keeps the references."""
        ino = ROOT_ID
        for name in filter(None, path.split("/")):
            ino = self.tree.lookup(ino, name.encode()).ino
        return ino

    def place(self, path: str) -> tuple[int, bytes]:
        parent, _, name = path.rpartition("/")
        return self.ino(parent), name.encode()

    def stat(self, path: str) -> Attr:
        return self.tree.getattr(self.ino(path))

    def read(self, path: str) -> bytes:
        return self.files.read(self.ino(path), 0, 1 << 20)

    def write(self, path: str, data: bytes, offset: int = 0) -> None:
        self.files.write(self.ino(path), offset, data)

    def create(self, path: str, data: bytes = b"", caller: Caller = ME) -> Attr:
        parent, name = self.place(path)
        attr = self.tree.mknod(parent, name, stat.S_IFREG | 0o644, 0, caller)
        self.files.write(attr.ino, 0, data)
        return attr

    def mkdir(self, path: str, mode: int = 0o755) -> Attr:
        return self.tree.mkdir(*self.place(path), mode, ME)

    def unlink(self, path: str) -> None:
        self.tree.unlink(*self.place(path))

    def rmdir(self, path: str) -> None:
        self.tree.rmdir(*self.place(path))

    def rename(self, old: str, new: str, flags: int = 0) -> None:
        self.tree.rename(*self.place(old), *self.place(new), flags)

    def link(self, old: str, new: str) -> Attr:
        return self.tree.link(self.ino(old), *self.place(new))

    def change(self, path: str, **fields: object) -> Attr:
        return self.tree.setattr(self.ino(path), Change(**fields))  # type: ignore[arg-type]

    def listing(self, path: str = "") -> list[str]:
        rows = self.tree.readdir(self.ino(path), 0)
        return sorted(row.name.decode() for row in rows if row.name not in (b".", b".."))

    # -- the top layer as it is on disk

    def in_upper(self) -> set[str]:
        """The paths in the top layer; a whiteout's with "!" before its name."""
        found = set()
        for place in self.upper_dir.rglob("*"):
            st = place.lstat()
            gone = stat.S_ISCHR(st.st_mode) and st.st_rdev == 0
            found.add(str(place.relative_to(self.upper_dir).with_name(("!" if gone else "") + place.name)))
        return found

    def mark(self, path: str, key: str) -> bytes | None:
        try:
            return os.getxattr(self.upper_dir / path, f"trusted.overlay.{key}")
        except OSError:
            return None
