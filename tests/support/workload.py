"""A mount for a foreign test program: what scripts/pjdfstest, scripts/fsx and scripts/fsstress have in common."""

from __future__ import annotations

import argparse
import ctypes
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support import mounts, process
from tests.support.fsck import fsck
from tests.support.notation import WHITEOUT, Tree, hardlink, symlink
from tests.support.peers import PEERS

MS_REC, MS_PRIVATE = 0x4000, 1 << 18

POPULATED: list[Tree] = [
    {"here": {f"top{i}": b"top" for i in range(50)} | {"old7": WHITEOUT, "sub/x": b"x"}},
    {
        "here": {f"old{i}": b"old" for i in range(50)}
        | {"sub/y": b"y", "l": symlink("old1"), "h": hardlink("here/old1")}
    },
]


def parser(about: str) -> argparse.ArgumentParser:
    """A command line with the program's path and the choice of the mount."""
    words = argparse.ArgumentParser(description=about)
    words.add_argument("path", type=Path, help="where the program is, already built")
    words.add_argument("--peer", choices=PEERS, default="ours", help="the union to run it on (default: ours)")
    words.add_argument(
        "-o", "--options", default="", help="further options of the mount, e.g. io=passthrough"
    )
    words.add_argument("--populated", action="store_true", help="work in a merged directory of two layers")
    words.add_argument("--tar", action="store_true", help="the layers are tar files (ours only)")
    words.add_argument("--disk", type=Path, help="put the layers in this directory, instead of on tmpfs")
    words.add_argument("--native", action="store_true", help="no union at all: a plain directory")
    return words


@contextmanager
def place(words: argparse.Namespace) -> Iterator[Path]:
    """The directory to work in. The mount ends with the block; its upper is checked then."""
    if os.geteuid() != 0:
        sys.exit(f"{sys.argv[0]}: must be run by root: the tests change owners and make devices")
    process.unshare(process.CLONE_NEWNS)
    root = ctypes.c_char_p(b"/")
    process.checked(process.LIBC.mount(b"none", root, None, MS_REC | MS_PRIVATE, None))
    base = Path(tempfile.mkdtemp(prefix="unionfs-work-", dir=words.disk))
    base.chmod(0o755)
    if not words.disk:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", base], check=True)
    try:
        yield from _mounted(words, base)
    finally:
        if not words.disk:
            subprocess.run(["umount", "-l", base], check=True)
        shutil.rmtree(base, ignore_errors=True)


def _mounted(words: argparse.Namespace, base: Path) -> Iterator[Path]:
    if words.native:
        yield base
        return
    layers: list[Tree] = POPULATED if words.populated else [{}]
    made = mounts.stack(base / "stack", layers, kinds="tar" if words.tar else "dir")
    with PEERS[words.peer](made, words.options) as mounted:
        yield mounted.path / "here" if words.populated else mounted.path
    assert made.upper
    for problem in fsck(made.upper, made.work) if words.peer == "ours" else []:
        print(f"fsck: {problem}")
