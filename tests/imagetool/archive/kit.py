"""Trees on disk, as tars, and back."""

from __future__ import annotations

import subprocess
from pathlib import Path

from imagetool.archive.unpack import Unpacked, unpack
from tests.support.snapshot import Facts, snapshot


def gnu_tar(root: Path, tar: Path) -> Path:
    """A tar of a tree, by GNU tar, with all that it knows to keep."""
    run("tar", "--xattrs", "--xattrs-include=*", "--format=pax", "--sort=name", "-C", root, "-cf", tar, ".")
    return tar


def run(*command: str | Path, timeout: float = 60) -> str:
    """What a command prints; an error, with what it said, if it fails."""
    done = subprocess.run([*map(str, command)], capture_output=True, timeout=timeout, check=False)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return done.stdout.decode(errors="surrogateescape")


def unpacked(tars: list[Path], to: Path, *, rootless: bool = False) -> dict[bytes, Facts]:
    """The tree that the layers, top first, unpack to."""
    result: Unpacked = unpack([str(tar) for tar in tars], str(to), rootless=rootless)
    assert result.warnings == ()
    return snapshot(to, times=True)


def without_links(tree: dict[bytes, Facts]) -> dict[bytes, Facts]:
    """For comparing trees where names of one inode may have come apart."""
    return {path: facts._replace(nlink=0, links=()) for path, facts in tree.items()}
