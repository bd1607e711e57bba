"""buildah, and so podman, with this program as the `mount_program` of its overlay storage."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.conftest import Scratch
from tests.support.process import in_child
from tests.support.sandbox import CHECKOUT
from unionfs import mountpoint

Buildah = Callable[..., str]


@pytest.fixture
def buildah(scratch: Scratch, tmp_path: Path) -> Iterator[Buildah]:
    program = tmp_path / "unionfs"
    program.write_text(f'#!/bin/sh\nPYTHONPATH={CHECKOUT} exec {sys.executable} -P -m unionfs "$@"\n')
    program.chmod(0o755)
    store = ["--root", scratch.disk / "store", "--runroot", tmp_path / "run", "--storage-driver", "overlay"]
    store += ["--storage-opt", f"overlay.mount_program={program}"]

    def run(*words: str | Path) -> str:
        done = subprocess.run(["buildah", *store, *words], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    yield run
    with suppress(AssertionError):
        run("rm", "--all")
        run("rmi", "--all", "--force")


def root(buildah: Buildah, container: str) -> Path:
    """Where a container's files are: on a mount of ours."""
    place = Path(buildah("mount", container))
    found = mountpoint.find(str(place))
    assert found
    assert found.fstype == "fuse.unionfs"
    return place


def commit(buildah: Buildah, container: str) -> str:
    image = buildah("commit", "-q", "--rm", "--disable-compression", container)
    return buildah("from", "--pull-never", image)


@pytest.mark.timeout(120)
def test_containers_and_images_on_our_mounts(buildah: Buildah) -> None:
    container = buildah("from", "scratch")
    in_child(lambda: first(root(buildah, container)))
    container = commit(buildah, container)
    in_child(lambda: second(root(buildah, container)))
    container = commit(buildah, container)
    in_child(lambda: third(root(buildah, container)))


def first(top: Path) -> None:
    for name in ("kept/f", "emptied/f", "moved/f", "replaced/old"):
        (top / name).parent.mkdir()
        (top / name).write_text(name)
    os.link(top / "kept/f", top / "kept/g")
    os.chown(top / "kept/f", 5, 6)


def second(top: Path) -> None:
    (top / "emptied/f").unlink()
    (top / "moved").rename(top / "new")
    (top / "replaced/old").unlink()
    (top / "replaced").rmdir()
    (top / "replaced").mkdir()
    (top / "replaced/young").touch()
    (top / "kept/g").write_text("changed")


def third(top: Path) -> None:
    files = sorted(str(path.relative_to(top)) for path in top.rglob("*"))
    assert files == ["emptied", "kept", "kept/f", "kept/g", "new", "new/f", "replaced", "replaced/young"]
    facts = (top / "kept/f").stat()
    assert ((top / "kept/g").read_text(), facts.st_uid, facts.st_gid) == ("changed", 5, 6)
