"""`image explore --html`: one page that needs nothing else, with the layers and a treemap of the files."""

from __future__ import annotations

import html
import json
from importlib.resources import files

from imagetool import digest as digests
from imagetool.look.explore import Explored, Node
from imagetool.units import size_text
from unionfs.annotations import Any

LEAST = 3000  # of all bytes: what is smaller than one in so many is not worth a rectangle of its own
WASTE = 50  # rows of the table of hidden files

Json = Any


def render(name: str, image_id: digests.Digest, explored: Explored) -> str:
    """The page as HTML."""
    data = {
        "name": name,
        "id": digests.short(image_id),
        "size": explored.size,
        "wasted": explored.wasted,
        "efficiency": explored.efficiency,
        "layers": [_layer(layer) for layer in explored.layers],
        "waste": [["/" + _text(b"/".join(path)), size] for path, size in explored.waste[:WASTE]],
        "tree": tree(explored.root, max(1, explored.size // LEAST)),
    }
    page = files("imagetool.look").joinpath("page.html").read_text(encoding="utf-8")
    title = html.escape(f"{name} · {size_text(explored.size)}")
    return page.replace("@TITLE@", title).replace("@DATA@", _embedded(data))


def _layer(layer: Any) -> dict[str, Json]:
    row: dict[str, Json] = layer._asdict()
    return row | {"diff_id": digests.short(layer.diff_id)}


def _embedded(data: Json) -> str:
    """JSON that cannot end the script element it is in (HTML, "Restrictions for contents of script elements")."""
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")


def _text(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace")


def tree(root: Node, least: int) -> Json:
    """[name, bytes, layer] for a file, [name, bytes, layer, children] for a directory, the largest first.

    What is smaller than `least` is one entry of its directory: ["… N more", bytes, -1].
    """
    sizes = _sizes(root)
    top: list[Json] = ["", sizes[id(root)], root.layer, []]
    todo = [(root, top)]
    while todo:
        node, row = todo.pop()
        small, more = 0, 0
        for name, child in (node.children or {}).items():
            size = child.size if child.children is None else sizes[id(child)]
            if size < least:
                small, more = small + size, more + 1
                continue
            below: list[Json] = [_text(name), size, child.layer]
            row[3].append(below)
            if child.children is not None:
                below.append([])
                todo.append((child, below))
        row[3].sort(key=lambda each: -each[1])
        if small:
            row[3].append([f"… {more} more", small, -1])
    return top


def _sizes(root: Node) -> dict[int, int]:
    """The bytes below every directory, by its id(); children come before their parents in the reversed order."""
    order = [root]
    for node in order:
        order += [child for child in (node.children or {}).values() if child.children is not None]
    sizes: dict[int, int] = {}
    for node in reversed(order):
        below = (node.children or {}).values()
        sizes[id(node)] = sum(child.size if child.children is None else sizes[id(child)] for child in below)
    return sizes
