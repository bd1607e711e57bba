"""The images that are measured with, as one OCI layout made by umoci.

    debian    one layer: a small Debian, about 60 MB of gzip
    nine      nine layers, about 140 MB: the same, and what else a larger Debian has, in eight parts
    many      one layer of 30,000 small files

Kept between runs, below UNIONFS_CACHE.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.inputs import CACHE, Inputs, kept, plant
from benchmarks.system import run

FORM = 1  # part of the cached name: raise it when a rule below changes
IMAGES = ("debian", "nine", "many")
PARTS = 8  # the layers of `nine` above the first
BLOB = 16 << 20  # bytes of each part that no compression makes smaller, in all
MANY = 30_000
EXTRAS = (
    *(f"usr/lib/{name}" for name in ("git-core", "python3", "x86_64-linux-gnu/perl")),
    *(f"usr/share/{name}" for name in ("doc", "i18n", "locale", "man", "perl", "vim")),
    "var/lib/apt",
)
"""What the small Debian leaves to the other layers."""


def layout(inputs: Inputs) -> Path:
    """The OCI layout with all IMAGES as its tags."""
    return kept(f"images-{FORM}", lambda new: _make(new, inputs)) / "oci"


def entries(image: str, inputs: Inputs) -> int:
    """How many names the files of an image have, the root not counted."""
    return int((layout(inputs).parent / f"{image}.count").read_text())


def _make(new: Path, inputs: Inputs) -> None:
    debian = inputs.debian().directory
    assert debian is not None
    small, parts = _split(debian)
    tars = [_pack(new / "0.tar", debian, small)]
    for number, part in enumerate(parts, 1):
        tars.append(_pack(new / f"{number}.tar", debian, part))
        _add_noise(tars[-1], number)
    many = plant_tar(new / "many.tar", MANY)
    images = {"debian": tars[:1], "nine": tars, "many": [many]}
    write_layout(new / "oci", images)
    for image, layers in images.items():
        (new / f"{image}.count").write_text(str(len({name for layer in layers for name in _names(layer)})))
    for tar in (*tars, many):
        tar.unlink()


def write_layout(target: Path, images: Mapping[str, Sequence[Path]]) -> None:
    """An OCI layout: tag -> the tars of its layers, lowest first."""
    run(["umoci", "init", "--layout", target])
    for image, layers in images.items():
        name = f"{target}:{image}"
        run(["umoci", "new", "--image", name])
        for layer in layers:
            run(["umoci", "raw", "add-layer", "--image", name, layer], timeout=300)


def _split(root: Path) -> tuple[list[str], list[list[str]]]:
    """The names for the small Debian, and PARTS lists of the others; directories stay together."""
    small: list[str] = []
    parts: list[list[str]] = [[] for _ in range(PARTS)]
    for folder, folders, files in os.walk(root):
        folders.sort()
        here = os.path.relpath(folder, root)
        extra = here.startswith(EXTRAS)
        names = [f"{here}/{name}" for name in sorted(files)]
        names += [f"{here}/{name}" for name in folders if os.path.islink(f"{folder}/{name}")]
        if extra:
            parts[sum(here.encode()) % PARTS].extend([here, *names])
        else:
            small.extend([here, *names])
    return small, parts


def _pack(target: Path, root: Path, names: list[str]) -> Path:
    listed = target.with_suffix(".list")
    listed.write_bytes(b"".join(os.fsencode(name) + b"\0" for name in names))
    run(
        ["tar", "-C", root, "--null", "--no-recursion", "--numeric-owner", "-T", listed, "-cf", target],
        timeout=300,
    )
    listed.unlink()
    return target


def _add_noise(tar: Path, number: int) -> None:
    """A file as incompressible as most of what applications bring."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(random.Random(number).randbytes(BLOB // PARTS))
        file.flush()
        with tarfile.open(tar, "a") as archive:
            archive.add(file.name, f"data{number}")


def plant_tar(target: Path, files: int) -> Path:
    """A tar of so many files of a few hundred bytes to a few KiB, 20 to a directory."""
    with tempfile.TemporaryDirectory() as made:
        plant(Path(made), files, 1500)
        run(["tar", "-C", made, "--sort=name", "--numeric-owner", "-cf", target, "."], timeout=300)
    return target


def _names(tar: Path) -> list[str]:
    with tarfile.open(tar) as archive:
        names = [os.path.normpath(member.name) for member in archive]
    return [name for name in names if name != "."]


def archive_of_many(count: int) -> Path:
    """A `docker save` archive of so many images with one small layer in common, each with a tag of its own."""
    path = CACHE / "benchmarks" / f"saved-{FORM}-{count}.tar"
    if not path.exists():
        part = path.with_suffix(f".{os.getpid()}.part")
        try:
            with tarfile.open(part, "w", format=tarfile.USTAR_FORMAT) as archive:
                _write_saved(archive, count)
            part.rename(path)
        finally:
            part.unlink(missing_ok=True)
    return path


def _write_saved(archive: tarfile.TarFile, count: int) -> None:
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        _add(tar, "file", b"content\n")
    _add(archive, "layer.tar", layer.getvalue())
    rootfs = {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer.getvalue()).hexdigest()]}
    manifest = []
    for number in range(count):
        labels = {"config": {"Labels": {"number": str(number)}}, "created": "2024-05-01T12:00:00Z"}
        config = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": rootfs, **labels}).encode()
        name = hashlib.sha256(config).hexdigest() + ".json"
        _add(archive, name, config)
        tags = [f"registry.example/benchmark/image{number}:1"]
        manifest.append({"Config": name, "RepoTags": tags, "Layers": ["layer.tar"]})
    _add(archive, "manifest.json", json.dumps(manifest).encode())


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    archive.addfile(entry, io.BytesIO(data))
