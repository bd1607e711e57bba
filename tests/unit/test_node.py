"""Nodes found by their number alone."""

from __future__ import annotations

import os
from pathlib import Path

from tests.support.archives import END, header
from unionfs.layers.tarball import open_tar_layer
from unionfs.tree import UnionTree


def test_numbered_entry_of_the_root_is_found(tmp_path: Path) -> None:
    archive = tmp_path / "layer.tar"
    archive.write_bytes(header(b"link", b"2", link=b"target") + header(b"file") + END)
    tree = UnionTree([open_tar_layer(os.fspath(archive))], None)
    rows = {name: attr.ino for _, name, attr in tree.readdirplus(1, 0)}
    for ino in rows.values():
        tree.remember(ino)
    assert tree.readlink(rows[b"link"]) == b"target"
    assert tree.getattr(rows[b"file"]).ino == rows[b"file"]
    tree.close()
