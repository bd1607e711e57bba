"""Reads a tree from disk into comparable facts: what two file systems must agree on."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class Facts(NamedTuple):
    """What is compared of one name. `links` are all the names of the same inode that the tree shows."""

    mode: int
    uid: int
    gid: int
    size: int  # 0 for directories: each file system has its own idea
    rdev: int
    mtime: int | None
    content: str  # digest of a file's bytes, the target of a symlink
    nlink: int  # 0 for directories, as `size`
    links: tuple[bytes, ...]
    xattrs: tuple[tuple[str, bytes], ...]


def snapshot(root: Path, *, times: bool = False) -> dict[bytes, Facts]:
    """All names below `root` (b"" is the root itself) with their facts; mtimes only when asked for."""
    found = {path: os.lstat(os.fsencode(root) + b"/" + path) for path in _walk(os.fsencode(root))}
    groups: dict[int, list[bytes]] = {}
    for path, info in found.items():
        if not stat.S_ISDIR(info.st_mode):
            groups.setdefault(info.st_ino, []).append(path)
    return {
        path: _facts(os.fsencode(root) + b"/" + path, info, tuple(sorted(groups.get(info.st_ino, []))), times)
        for path, info in found.items()
    }


def _walk(root: bytes, path: bytes = b"") -> Iterator[bytes]:
    yield path
    with os.scandir(root + b"/" + path) as rows:
        entries = sorted(rows, key=lambda row: row.name)
    for entry in entries:
        name = (path + b"/" + entry.name).lstrip(b"/")
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(root, name)
        else:
            yield name


def _facts(place: bytes, info: os.stat_result, links: tuple[bytes, ...], times: bool) -> Facts:
    folder = stat.S_ISDIR(info.st_mode)
    return Facts(
        mode=info.st_mode,
        uid=info.st_uid,
        gid=info.st_gid,
        size=0 if folder else info.st_size,
        rdev=info.st_rdev,
        mtime=info.st_mtime_ns if times else None,
        content=_content(place, info.st_mode),
        nlink=0 if folder else info.st_nlink,
        links=links,
        xattrs=tuple(sorted(_xattrs(place))),
    )


def _content(place: bytes, mode: int) -> str:
    if stat.S_ISLNK(mode):
        return os.fsdecode(os.readlink(place))
    if stat.S_ISREG(mode):
        with open(place, "rb") as source:
            return hashlib.file_digest(source, "sha256").hexdigest()
    return ""


def _xattrs(place: bytes) -> Iterator[tuple[str, bytes]]:
    for name in os.listxattr(place, follow_symlinks=False):
        yield name, os.getxattr(place, name, follow_symlinks=False)


def differences(left: dict[bytes, Facts], right: dict[bytes, Facts]) -> list[str]:
    """One line a difference, for a test's message."""
    lines = [f"only left: {path!r}" for path in left.keys() - right.keys()]
    lines += [f"only right: {path!r}" for path in right.keys() - left.keys()]
    for path in left.keys() & right.keys():
        for name, one, two in zip(Facts._fields, left[path], right[path], strict=True):
            if one != two:
                lines.append(f"{path!r}: {name} {one!r} != {two!r}")
    return sorted(lines)
