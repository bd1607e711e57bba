"""Random members in random order, names repeated, linked and replaced: the view is what a simple model says."""

from __future__ import annotations

import stat
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import archives
from tests.support.archives import END, contents, entries
from unionfs.errors import LayerError
from unionfs.layers.tarball import TarLayer, open_tar_layer
from unionfs.model import Mark

NAMES = [b"a", b"b", b"c", b".wh.a", b".wh.b", b".wh..wh..opq", b".wh..wh.x"]
PATHS = st.lists(st.sampled_from(NAMES[:3] * 4 + NAMES), min_size=1, max_size=3).map(b"/".join)
STEPS = st.tuples(st.sampled_from(["file", "file", "dir", "symlink", "link"]), PATHS, PATHS)


class Inode:
    """A file or a symbolic link of the model; a directory is a dict."""

    def __init__(self, data: bytes) -> None:
        self.data = data


class Refused(Exception):
    pass


def folder_of(root: dict, path: bytes) -> tuple[dict, bytes]:
    *folders, name = path.split(b"/")
    for part in folders:
        root = root.setdefault(part, {})
        if isinstance(root, Inode):
            raise Refused
    return root, name


def apply(root: dict, kind: str, path: bytes, target: bytes) -> None:
    folder, name = folder_of(root, path)
    if kind == "dir":
        if not isinstance(folder.get(name), dict):
            folder[name] = {}
    elif kind == "link":
        found = root
        for part in target.split(b"/"):
            found = found.get(part) if isinstance(found, dict) else None
        if not isinstance(found, Inode):
            raise Refused
        folder[name] = found
    else:
        folder[name] = Inode(path if kind == "file" else b"->" + target)


def normalised(folder: dict) -> dict:
    """name -> (mark, what): what the names in OCI form mean."""
    names = {name: what for name, what in folder.items() if not name.startswith(b".wh.")}
    hidden = {name[4:] for name in folder if name.startswith(b".wh.") and not name.startswith(b".wh..wh.")}
    shown = {}
    for name in names.keys() | hidden:
        what = names.get(name)
        mark = Mark.WHITEOUT if what is None else Mark.NONE
        if isinstance(what, dict) and (name in hidden or b".wh..wh..opq" in what):
            mark = Mark.OPAQUE
        shown[name] = mark, what
    return shown


def flat(folder: dict, prefix: bytes = b"") -> dict:
    found = {}
    for name, (mark, what) in normalised(folder).items():
        found[prefix + name] = mark, what
        if isinstance(what, dict):
            found |= flat(what, prefix + name + b"/")
    return found


def expected(root: dict) -> dict:
    """path -> (mark, type or 0, data, names of the inode)."""
    tree = flat(root)
    result = {}
    for path, (mark, what) in tree.items():
        if not isinstance(what, Inode):
            result[path] = mark, stat.S_IFDIR if what is not None else 0, b"", 1
            continue
        kind = stat.S_IFLNK if what.data.startswith(b"->") else stat.S_IFREG
        names = [other for other, (_, same) in tree.items() if same is what]
        result[path] = mark, kind, what.data, len(names)
    return result


def shown(layer: TarLayer) -> dict:
    result = {}
    for path, entry in entries(layer).items():
        kind, data = stat.S_IFMT(entry.attr.mode), b""
        if kind == stat.S_IFREG:
            data = contents(layer, entry)
        elif kind == stat.S_IFLNK:
            data = layer.readlink(entry.handle)
        result[path] = entry.mark & ~Mark.IMPLIED, kind, data, len(layer.aliases(entry.attr.ino))
    opaque = result.pop(b"")[0]
    assert opaque in (Mark.NONE, Mark.OPAQUE)
    return result


def member(kind: str, path: bytes, target: bytes) -> bytes:
    match kind:
        case "file":
            return archives.file(path, path)
        case "dir":
            return archives.directory(path)
        case "symlink":
            return archives.symlink(path, b"->" + target)
        case _:
            return archives.hardlink(path, target)


@settings(max_examples=400, deadline=None)
@given(steps=st.lists(STEPS, max_size=14))
def test_members_in_any_order(steps):
    root: dict = {}
    refused = -1
    for number, step in enumerate(steps):
        try:
            apply(root, *step)
        except Refused:
            refused = number
            break
    parts = [member(*step) for step in steps]
    with TemporaryDirectory() as temporary:
        path = Path(temporary, "layer.tar")
        path.write_bytes(b"".join(parts) + END)
        if refused >= 0:
            with pytest.raises(LayerError, match=f"at byte {sum(map(len, parts[:refused]))}:"):
                open_tar_layer(str(path))
        else:
            with open_tar_layer(str(path)) as layer:
                assert shown(layer) == expected(root)
