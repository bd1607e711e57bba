"""Writes a tree in the notation to disk: as an overlayfs layer directory or as an OCI layer tar."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

from tests.support.notation import Item, Plain, Tree, parent, plain

TAR_TYPES = {
    "file": tarfile.REGTYPE,
    "directory": tarfile.DIRTYPE,
    "symlink": tarfile.SYMTYPE,
    "hardlink": tarfile.LNKTYPE,
    "char": tarfile.CHRTYPE,
    "block": tarfile.BLKTYPE,
    "fifo": tarfile.FIFOTYPE,
}
MAKE_NODE = {"char": 0o020000, "block": 0o060000, "fifo": 0o010000, "whiteout": 0o020000}


def to_directory(root: Path, tree: Tree, *, owner: int = 0, namespace: str = "trusted") -> Path:
    """Makes `root` (which must not exist) a layer directory; opaque marks are `namespace`.overlay.opaque."""
    items = plain(tree)
    for path, item in sorted(items.items(), key=lambda pair: pair[1].kind == "hardlink"):
        _make(root, path, item)
        if item.opaque:
            os.setxattr(root / path, f"{namespace}.overlay.opaque", b"y")
    for path, item in reversed(items.items()):  # children first, so that directories keep their times
        if item.kind not in ("hardlink", "whiteout"):
            _dress(root / path, item, owner)
    return root


def _make(root: Path, path: str, item: Item) -> None:
    place = root / path
    match item.kind:
        case "directory":
            place.mkdir()
        case "file":
            with place.open("xb") as out:
                out.truncate(item.size or 0)
                out.seek(item.offset)
                out.write(item.data)
        case "symlink":
            place.symlink_to(item.target)
        case "hardlink":
            os.link(root / item.target, place, follow_symlinks=False)
        case _:
            os.mknod(place, MAKE_NODE[item.kind] | 0o600 * (item.kind != "whiteout"), item.rdev)


def _dress(place: Path, item: Item, owner: int) -> None:
    uid, gid = (owner + (number or 0) for number in (item.uid, item.gid))
    os.chown(place, uid, gid, follow_symlinks=False)
    for name, value in item.xattrs.items():
        os.setxattr(place, name, value, follow_symlinks=False)
    if item.kind != "symlink":
        os.chmod(place, item.mode)
    os.utime(place, ns=(item.mtime, item.mtime), follow_symlinks=False)


def to_tar(path: Path, tree: Tree, *, owner: int = 0) -> Path:
    """Writes the tree as an uncompressed layer tar (PAX, OCI whiteouts, GNU sparse 1.0 for files with holes)."""
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for info, data in _members(plain(tree), owner):
            tar.addfile(info, io.BytesIO(data))
    return path


def _members(items: Plain, owner: int) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    for name, item in sorted(items.items(), key=lambda pair: pair[1].kind == "hardlink"):
        if item.kind == "whiteout":
            yield _marker(parent(name), ".wh." + name.rpartition("/")[2]), b""
            continue
        yield _member(name, item, owner)
        if item.opaque:
            yield _marker(name, ".wh..wh..opq"), b""


def _marker(folder: str, name: str) -> tarfile.TarInfo:
    return tarfile.TarInfo(f"{folder}/{name}".lstrip("/"))


def _member(name: str, item: Item, owner: int) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name or "./")
    info.type, info.mode = TAR_TYPES[item.kind], item.mode
    info.uid, info.gid = owner + (item.uid or 0), owner + (item.gid or 0)
    info.linkname = item.target
    info.devmajor, info.devminor = os.major(item.rdev), os.minor(item.rdev)
    seconds, fraction = divmod(item.mtime, 10**9)
    info.mtime = seconds
    headers = {"mtime": f"{seconds}.{fraction:09d}"}
    for key, value in item.xattrs.items():
        headers[f"SCHILY.xattr.{key}"] = value.decode("utf-8", "surrogateescape")
    info.pax_headers = headers
    data = item.data if item.size is None else _sparse(info, item)
    info.size = len(data)
    return info, data


def _sparse(info: tarfile.TarInfo, item: Item) -> bytes:
    """GNU sparse format 1.0: the map (decimal numbers, one a line) fills whole blocks before the data."""
    sparse = {"major": "1", "minor": "0", "name": info.name, "realsize": str(item.size)}
    info.pax_headers = {**info.pax_headers, **{f"GNU.sparse.{key}": value for key, value in sparse.items()}}
    runs = [(item.offset, len(item.data)), (item.size, 0)]
    lines = [str(len(runs)), *(str(number) for run in runs for number in run)]
    table = "".join(f"{line}\n" for line in lines).encode()
    return table + bytes(-len(table) % 512) + item.data
