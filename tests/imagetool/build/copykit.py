"""COPY from one directory into another, for tests: trees as tables, and what became of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from imagetool.build.copying import CopyOptions, apply, resolve
from imagetool.build.ignore import Ignore
from imagetool.build.memory import Memory
from imagetool.build.trees import Tree

Node = bytes | str | None | int
"""b"content", "-> link", None for a directory, a mode for a directory with one."""


def tree(root: Path, nodes: dict[str, Node]) -> Path:
    root.mkdir(exist_ok=True)
    for name, node in nodes.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(node, bytes):
            path.write_bytes(node)
        elif isinstance(node, str):
            path.symlink_to(node.removeprefix("-> "))
        else:
            path.mkdir(exist_ok=True)
            path.chmod(node or 0o755)
    return root


def listing(root: Path) -> dict[str, Node]:
    """The inverse of `tree`: directories that hold something are not listed."""
    found: dict[str, Node] = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if path.is_symlink():
            found[name] = f"-> {os.readlink(path)}"
        elif path.is_dir():
            if not any(path.iterdir()):
                found[name] = None
        elif path.is_file():
            found[name] = path.read_bytes()
    return found


class Copy:
    """copy(sources, destination) from a context with FILES into a root; `listing` is what is there after."""

    def __init__(self, base: Path) -> None:
        self.context, self.root = base / "context", base / "root"
        self.context.mkdir()
        self.root.mkdir()

    def __call__(
        self,
        sources: str | Sequence[str],
        destination: str,
        options: CopyOptions = CopyOptions(),  # noqa: B008
        *,
        ignore: str = "",
        owners: bool = False,
        **more: object,
    ) -> dict[str, Node]:
        words = sources.split() if isinstance(sources, str) else sources
        with Tree(self.context, ignore=Ignore.parse(ignore), owners=owners) as source:
            apply(resolve(source, words, **more), str(self.root), destination, options)  # type: ignore[arg-type]
        return listing(self.root)

    def digest(self, sources: str, *, memory: Memory | None = None, **more: object) -> str:
        with Tree(self.context, memory=memory) as source:
            return resolve(source, sources.split(), **more).digest()  # type: ignore[arg-type]


FILES: dict[str, Node] = {
    "a.txt": b"a", "b.txt": b"b", "c.md": b"c", "dir/x": b"x", "dir/sub/y": b"y", "dir/link": "-> x",
    "other/x": b"o", "other/empty": None, "to-file": "-> a.txt", "to-dir": "-> dir", "[odd]": b"odd", ".hidden": b"h",
}  # fmt: skip
DIR: dict[str, Node] = {"link": "-> x", "sub/y": b"y", "x": b"x"}


def under(prefix: str, nodes: dict[str, Node] = DIR) -> dict[str, Node]:
    return {f"{prefix}/{name}": node for name, node in nodes.items()}
