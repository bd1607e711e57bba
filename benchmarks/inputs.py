"""What is measured on: a real Debian root, and trees made by rule, as a directory and as a tar.

All of it is kept between runs, below UNIONFS_CACHE (/var/cache/unionfs).
"""

from __future__ import annotations

import os
import random
import shutil
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from benchmarks.system import run

CACHE = Path(os.environ.get("UNIONFS_CACHE", "/var/cache/unionfs"))
PROJECT = Path(__file__).resolve().parent.parent
FORM = 1  # part of the cached names: raise it when a rule below changes


class Layer(NamedTuple):
    """One set of files, in the forms that it exists in. The peers take directories only."""

    directory: Path | None
    tar: Path | None


class Scale(NamedTuple):
    """How large the made inputs are."""

    big: int  # bytes of the large file
    many: int  # files of the layer for memory
    stacked: int  # files of each of the ten layers for start-up


FULL = Scale(big=1 << 30, many=1_000_000, stacked=100_000)
QUICK = Scale(big=1 << 26, many=100_000, stacked=10_000)
TREE_FILES, SOURCE_FILES, LAYERS = 8_000, 2_000, 10


class Inputs:
    """Makes an input when it is first asked for."""

    def __init__(self, scale: Scale) -> None:
        self.scale = scale

    def debian(self) -> Layer:
        made = Path(run([PROJECT / "scripts/make-debian-root"], timeout=1800).strip())
        return Layer(made / "root", made / "root.tar")

    def files(self) -> Layer:
        """tree/ with 8,000 files and source/ with 2,000."""
        return _kept(
            f"files-{FORM}",
            lambda top: plant(top / "tree", TREE_FILES) + plant(top / "source", SOURCE_FILES),
        )

    def big(self) -> Layer:
        """One large file without holes, and a small one."""
        return _kept(f"big-{FORM}-{self.scale.big}", lambda top: _big_file(top / "big", self.scale.big))

    def many(self) -> Layer:
        return Layer(None, _kept_tar(f"many-{FORM}-{self.scale.many}.tar", 0, self.scale.many))

    def stacked(self) -> list[Layer]:
        count = self.scale.stacked
        return [Layer(None, _kept_tar(f"layer-{FORM}-{count}-{n}.tar", n, count)) for n in range(LAYERS)]


def kept(name: str, make: Callable[[Path], object]) -> Path:
    """A directory that `make` has filled, in this run or an earlier one; published by one rename."""
    home = CACHE / "benchmarks" / name
    if not home.exists():
        home.parent.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(prefix=".new.", dir=home.parent))
        try:
            make(new)
            new.chmod(0o755)
            new.rename(home)
        finally:
            shutil.rmtree(new, ignore_errors=True)
    return home


def _kept(name: str, make: Callable[[Path], int]) -> Layer:
    """A directory and the tar of it."""

    def both(new: Path) -> None:
        make(new / "root")
        run(
            ["tar", "-C", new / "root", "--sort=name", "--numeric-owner", "-cf", new / "root.tar", "."],
            timeout=600,
        )

    home = kept(name, both)
    return Layer(home / "root", home / "root.tar")


def plant(top: Path, files: int, size_of: int = 5000) -> int:
    """Small text-like files, 20 to a directory, three levels deep; the same on every machine.

    `size_of` bytes on average, and 50 more.
    """
    dice = random.Random(files)
    words = [bytes(dice.choices(b"abcdefghijklmnopqrstuvwxyz", k=dice.randint(2, 9))) for _ in range(500)]
    for number in range(files):
        home = top / f"part{number // 400:02}" / f"unit{number // 20 % 20:02}"
        home.mkdir(parents=True, exist_ok=True)
        size = min(int(dice.expovariate(1 / size_of)) + 50, 64_000)
        text = b" ".join(dice.choices(words, k=size // 6 + 1))[:size]
        (home / f"file{number:05}.txt").write_bytes(text + b"\n")
    return files


def _big_file(path: Path, size: int) -> int:
    path.parent.mkdir(parents=True)
    (path.parent / "small").write_bytes(b"small\n")
    block = random.Random(size).randbytes(1 << 20)
    with path.open("wb") as file:
        for number in range(size >> 20):
            file.write(number.to_bytes(8, "little") + block[8:])
    return 2


def _kept_tar(name: str, layer: int, files: int) -> Path:
    """A tar of empty files, 100 to a directory; most names are this layer's own, 1 % are in all layers."""
    path = CACHE / "benchmarks" / name
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}.part")
        try:
            with tarfile.open(part, mode="w", format=tarfile.USTAR_FORMAT) as tar:
                _write_entries(tar, layer, files)
            part.rename(path)
        finally:
            part.unlink(missing_ok=True)
    return path


def _write_entries(tar: tarfile.TarFile, layer: int, files: int) -> None:
    for number in range(files):
        if number % 100 == 0:
            own = f"layer{layer}/d{number // 10_000}/d{number}"
            home = f"shared/d{number}" if number % 10_000 == 0 else own
            for directory in (home.rpartition("/")[0], home):
                entry = tarfile.TarInfo(directory)
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(entry)
        tar.addfile(tarfile.TarInfo(f"{home}/file-{number}"))
