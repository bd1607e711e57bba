"""Archives to and from podman: what either saves, the other loads, and it is the same image."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.imagetool import Cli
from tests.support.registry import Server

Podman = Callable[..., str]


@pytest.fixture
def podman(tmp_path: Path) -> Iterator[Podman]:
    """podman with a store of the test's own; its storage driver copies files, so that it mounts nothing."""
    runroot = tempfile.mkdtemp(prefix="podman-")  # podman wants it shorter than pytest's names
    places = ["--root", tmp_path / "podman", "--runroot", runroot, "--storage-driver", "vfs"]

    def run(*words: str | Path) -> str:
        command = ["podman", *places, "--cgroup-manager", "cgroupfs", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    yield run
    with suppress(AssertionError):
        run("rmi", "-a", "-f")
    shutil.rmtree(runroot, ignore_errors=True)


def image_id(cli: Cli, name: str) -> str:
    return cli("inspect", "--format", "{{.Id}}", name).strip()


@pytest.mark.parametrize("format", ["docker-archive", "oci-archive"])
def test_podman_loads_what_we_save(
    cli: Cli, server: Server, podman: Podman, tmp_path: Path, format: str
) -> None:
    name = f"{server.host}/user/three:1"
    cli("pull", "-q", name)
    cli("save", "--format", format, "-o", tmp_path / "saved.tar", name)
    assert name in podman("load", "-i", tmp_path / "saved.tar")
    theirs = podman("image", "inspect", "--format", "{{.Id}}", name).strip()
    assert f"sha256:{theirs}" == image_id(cli, name)
    assert podman("image", "inspect", "--format", "{{len .RootFS.Layers}}", name) == "2\n"


@pytest.mark.parametrize("format", ["docker-archive", "oci-archive"])
def test_we_load_what_podman_saves(
    cli: Cli, server: Server, podman: Podman, tmp_path: Path, format: str
) -> None:
    name = f"{server.host}/library/ubuntu:latest"
    podman("pull", "-q", "--tls-verify=false", name)
    theirs = podman("image", "inspect", "--format", "{{.Id}}", name).strip()
    podman("save", "-q", "--format", format, "-o", tmp_path / "saved.tar", name)
    assert f"Loaded image: {name}" in cli("load", "-i", tmp_path / "saved.tar")
    assert image_id(cli, name) == f"sha256:{theirs}"
    mounted = Path(cli("mount", name).strip())
    assert (mounted / "data").read_bytes() == b"d" * 70_000
    assert (mounted / "ubuntu").read_bytes() == b"u" * 1000
    assert cli("system", "check") == ""


def test_podman_pulls_what_we_push(cli: Cli, server: Server, podman: Podman) -> None:
    cli("pull", "-q", "debian")
    cli("tag", "debian", f"{server.host}/podman/debian:1")
    cli("push", "-q", f"{server.host}/podman/debian:1")
    podman("pull", "-q", "--tls-verify=false", f"{server.host}/podman/debian:1")
    theirs = podman("image", "inspect", "--format", "{{.Id}}", f"{server.host}/podman/debian:1").strip()
    assert image_id(cli, "debian") == f"sha256:{theirs}"
