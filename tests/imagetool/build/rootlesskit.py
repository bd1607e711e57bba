"""Builds of a user who is not root, with ranges of ids of his own and without, beside root's of the same image."""

from __future__ import annotations

import io
import os
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.imagetool.build.kit import Builder, builder
from tests.support.process import wait_until
from tests.support.sandbox import ROOT, USER, Sandbox, user

EPOCH = "1700000000"

ACCOUNTS = (
    "RUN busybox mkdir -p /etc; printf 'root:x:0:0::/:/bin/sh\\nweb:x:33:44::/:/bin/sh\\n' > /etc/passwd\n"
)


@contextmanager
def user_builder(layer: bytes, *, ranges: bool) -> Iterator[Builder]:
    """What a user builds with; at the end nothing runs, is mounted or is left over."""
    with (
        tempfile.TemporaryDirectory(prefix="unionfs-test-", dir="/var/tmp") as folder,
        user(sub_ids=ranges) as box,
    ):
        os.chmod(folder, 0o755)
        with builder(Path(folder), layer, box) as made:
            yield made


@contextmanager
def twins(layer: bytes, box: Sandbox) -> Iterator[tuple[Builder, Builder]]:
    """Root and the user of `box`, each with a store that has the same image `busybox`, and the same context."""
    with (
        tempfile.TemporaryDirectory(prefix="unionfs-test-", dir="/var/tmp") as folder,
        tempfile.TemporaryDirectory(prefix="unionfs-test-", dir="/var/tmp") as other,
    ):
        os.chmod(folder, 0o755)
        with builder(Path(folder), layer, box) as mine, builder(Path(other), layer, ROOT) as roots:
            archive = mine.folder / "busybox.oci"
            archive.write_bytes(roots.raw("save", "busybox"))
            mine("rmi", "busybox")
            mine("load", "-i", archive)
            yield mine, roots


def same_image(mine: Builder, roots: Builder, text: str, *options: str) -> str:
    """Builds it twice, and gives its ID."""
    made = {
        name: one.image(text, *options, SOURCE_DATE_EPOCH=EPOCH)
        for name, one in (("mine", mine), ("root", roots))
    }
    rows = [_rows(one, made[name]) for name, one in (("mine", mine), ("root", roots))]
    for ours, theirs in zip(*rows, strict=True):
        assert ours == theirs, [row for row in (*ours, *theirs) if (row in ours) != (row in theirs)]
    assert made["mine"] == made["root"]
    return made["mine"]


def _rows(box: Builder, image: str) -> list[list[tuple[object, ...]]]:
    """Every member of each layer: what a difference is seen by."""
    found = []
    for diff_id in box.config(image)["RootFS"]["Layers"]:
        with tarfile.open(box.root / "layers" / diff_id.replace(":", "/") / "layer.tar") as tar:
            found.append(
                [(m.name, m.type, oct(m.mode), m.uid, m.gid, m.size, m.mtime, m.linkname) for m in tar]
            )
    return found


def strangers(box: Builder) -> list[str]:
    """What in the store does not belong to the user himself."""
    return [
        str(path.relative_to(box.root)) for path in box.root.rglob("*") if path.lstat().st_uid != USER.pw_uid
    ]


def wait_for_end(box: Builder) -> None:
    wait_until(lambda: box.processes() == [], 15, "the end of all processes")


def archive(*members: tuple[str, bytes, int, int, int], device: bool = False) -> bytes:
    """A tar of files (name, data, mode, uid, gid), each also as a hard link, and a character device."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data, mode, uid, gid in members:
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode, entry.uid, entry.gid, entry.mtime = (
                len(data),
                mode,
                uid,
                gid,
                1_600_000_000,
            )
            tar.addfile(entry, io.BytesIO(data))
            link = tarfile.TarInfo(f"{name}.link")
            link.type, link.linkname, link.mode = tarfile.LNKTYPE, name, mode
            tar.addfile(link)
        if device:
            entry = tarfile.TarInfo("dev-null")
            entry.type, entry.mode, entry.uid, entry.gid = tarfile.CHRTYPE, 0o666, 3, 4
            entry.devmajor, entry.devminor = 1, 3
            tar.addfile(entry)
    return buffer.getvalue()
