"""Checks that an upper and a work directory are in a legal overlayfs state (overlayfs.rst, fs/overlayfs/).

Every union must leave them so, whatever was done in it, and kernel overlayfs must be able to mount them.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path


def _one_of(*values: bytes) -> Callable[[int, bytes], bool]:
    return lambda mode, value: value in values


def _directory(value: bytes) -> Callable[[int, bytes], bool]:
    return lambda mode, found: stat.S_ISDIR(mode) and found == value


def _redirect(mode: int, value: bytes) -> bool:
    """A single name, or an absolute path: nothing that climbs."""
    parts = value.split(b"/")[1:] if value.startswith(b"/") else [value]
    return bool(parts) and all(part not in (b"", b".", b"..") and b"/" not in part for part in parts)


LEGAL: dict[str, Callable[[int, bytes], bool]] = {
    "opaque": lambda mode, value: stat.S_ISDIR(mode) and value in (b"y", b"x"),
    "impure": _directory(b"y"),
    "redirect": _redirect,
    "metacopy": lambda mode, value: stat.S_ISREG(mode),
    "origin": lambda mode, value: True,
    "nlink": lambda mode, value: value[:2] in (b"U+", b"U-", b"L+", b"L-"),
    "upper": lambda mode, value: True,
    "uuid": lambda mode, value: len(value) == 16,
    "ino": lambda mode, value: len(value) == 16,  # ours: the inode number that the union shows
    "links": _directory(b"y"),  # ours, on the root: a hard-linked lower file lost a name
    "thin": _directory(b"y"),  # ours, on the root
    "moved": lambda mode, value: value == b"y",  # ours: see unionfs/links.py
    "whiteout": lambda mode, value: stat.S_ISREG(mode),
    "protattr": lambda mode, value: True,
}


def fsck(upper: Path, work: Path | None = None, *, namespace: str = "trusted") -> list[str]:
    """One line for each thing that is wrong. Give `work` only when nothing is mounted any more."""
    problems = list(_tree(os.fsencode(upper), f"{namespace}.overlay."))
    if work:
        problems += _work(work)
    return problems


def _tree(root: bytes, prefix: str) -> Iterator[str]:
    yield from _entry(root, prefix)
    for folder, folders, names in os.walk(root):
        for name in (*folders, *names):
            yield from _entry(os.path.join(folder, name), prefix)


def _entry(place: bytes, prefix: str) -> Iterator[str]:
    info = os.lstat(place)
    if stat.S_ISCHR(info.st_mode) and info.st_rdev == 0 and os.listxattr(place, follow_symlinks=False):
        yield f"{place!r}: a whiteout with extended attributes"
    for key in os.listxattr(place, follow_symlinks=False):
        if key.startswith(prefix) and not key.startswith(prefix + "overlay."):
            value = os.getxattr(place, key, follow_symlinks=False)
            check = LEGAL.get(key.removeprefix(prefix))
            if check is None or not check(info.st_mode, value):
                yield f"{place!r}: {key}={value!r} is not legal here"


def _work(work: Path) -> Iterator[str]:
    for entry in work.iterdir():
        if entry.name not in ("work", "index"):
            yield f"{entry}: does not belong in a work directory"
    temporary = work / "work"
    if temporary.exists():
        yield from (
            f"{entry}: left in the work directory" for entry in temporary.iterdir() if not _spare(entry)
        )


def _spare(entry: Path) -> bool:
    """A whiteout that the kernel keeps, to make others as links to it; the next mount removes it."""
    info = entry.lstat()
    return stat.S_ISCHR(info.st_mode) and info.st_rdev == 0
