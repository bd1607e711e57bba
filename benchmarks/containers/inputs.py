"""The images that containers are made of, and what is built. Kept between runs, below UNIONFS_CACHE.

busybox   one layer: the static busybox, and links to it
few       the same on a layer of 100 files
many      the same on a layer of 30,000 files
"""

from __future__ import annotations

import tarfile
from pathlib import Path

from benchmarks.images.inputs import MANY, plant_tar, write_layout
from benchmarks.inputs import Inputs, kept, plant
from benchmarks.system import run

FORM = 1  # part of the cached names: raise it when a rule below changes
FEW = 100
COPIED = 40_000  # files of the large context
CHANGED = "/part00/unit00/file00000.txt"  # is in `few` and in `many`
APPLETS = ("sh", "cat", "sleep", "true", "wc")
STAGES = """ARG BASE
FROM $BASE AS first
COPY . /src
RUN cat /src/part00/unit00/* > /all
FROM $BASE
COPY --from=first /all /srv/all
RUN wc -c /srv/all > /srv/count
"""
COPY = "ARG BASE\nFROM $BASE\nCOPY . /srv\n"


def layout(inputs: Inputs) -> Path:
    """The OCI layout with the images as its tags."""
    return kept(f"containers-{FORM}", _make) / "oci"


def stages() -> Path:
    """A context of six steps in two stages, with 20 files."""
    return kept(f"stages-{FORM}", lambda new: _write_context(new, STAGES, 20))


def copy() -> Path:
    """A context of which COPIED files are copied."""
    return kept(f"copy-{FORM}", lambda new: _write_context(new, COPY, COPIED))


def _write_context(new: Path, dockerfile: str, files: int) -> None:
    (new / "Dockerfile").write_text(dockerfile)
    plant(new, files, 1500)


def _make(new: Path) -> None:
    box = new / "busybox.tar"
    _write_busybox(box)
    few, many = plant_tar(new / "few.tar", FEW), plant_tar(new / "many.tar", MANY)
    images = {"busybox": [box], "few": [few, box], "many": [many, box]}
    write_layout(new / "oci", images)
    for image in images:
        command = ["umoci", "config", "--image", f"{new / 'oci'}:{image}"]
        run([*command, "--config.env", "PATH=/bin", "--config.cmd", "sh"])
    for tar in (box, few, many):
        tar.unlink()


def _write_busybox(target: Path) -> None:
    with tarfile.open(target, "w") as tar:
        tar.add("/bin/busybox", "bin/busybox")
        for name in APPLETS:
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname, link.mode = tarfile.SYMTYPE, "busybox", 0o777
            tar.addfile(link)
        place = tarfile.TarInfo("tmp")
        place.type, place.mode = tarfile.DIRTYPE, 0o1777
        tar.addfile(place)
