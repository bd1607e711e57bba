"""A real registry with images for the end-to-end tests, and the command line with a store of each test's own."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.imagetool.e2e.containers import traces
from tests.support.imagetool import Cli, program
from tests.support.oci import Layout, layer_tar
from tests.support.process import wait_until
from tests.support.registry import Server, fill, registry

BASE = {"etc/os-release": b"ID=test\n", "etc/passwd": b"root:x:0:0::/:/bin/sh\n", "data": b"d" * 70_000}


def busybox() -> bytes:
    """A layer that can run: the static busybox and links to it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path, mode in (("bin", 0o755), ("tmp", 0o1777)):
            entry = tarfile.TarInfo(path)
            entry.type, entry.mode, entry.mtime = tarfile.DIRTYPE, mode, 1_700_000_000
            tar.addfile(entry)
        data = Path("/bin/busybox").read_bytes()
        entry = tarfile.TarInfo("bin/busybox")
        entry.size, entry.mode, entry.mtime = len(data), 0o755, 1_700_000_000
        tar.addfile(entry, io.BytesIO(data))
        for name in ("sh", "ls", "cat", "echo"):
            entry = tarfile.TarInfo(f"bin/{name}")
            entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, "busybox", 0o777
            tar.addfile(entry)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A docker-registry with the images that the commands are tried on; tests add to it, and change none."""
    folder = tmp_path_factory.mktemp("e2e")
    layout = Layout(folder / "oci")
    run = busybox()
    base = layer_tar(BASE)
    images = {
        "library/busybox:latest": layout.image([run], Cmd=["/bin/sh"]),
        "library/ubuntu:latest": layout.image(
            [base, {"ubuntu": b"u" * 1000}], Cmd=["/bin/bash"], Labels={"os": "ubuntu"}
        ),
        "library/debian:latest": layout.image(
            [base, {"etc/debian_version": b"12\n"}], Cmd=["bash"], Env=["PATH=/bin"], Labels={"os": "debian"}
        ),
        "library/alpine:latest": layout.image(
            [{"etc/alpine-release": b"3\n"}], kind="zstd", Entrypoint=["/bin/sh", "-c"]
        ),
        "library/golang:latest": layout.index(
            *(layout.image([base, {"go": name.encode()}], architecture=name) for name in ("arm64", "amd64"))
        ),
        "quay/pqsdev/mssql-tools:master": layout.image([{"opt/mssql-tools": b"tools"}]),
        "user/three:1": layout.image([{"a": b"1", "b": b"2", "c": b"3"}, {"d": b"4", "e": b"5", "f": b"6"}]),
    }  # fmt: skip
    with registry(folder / "registry") as made:
        for number, (name, descriptor) in enumerate(images.items()):
            layout.tag(str(number), descriptor)
            fill(made, layout.root, str(number), name)
        yield made


@pytest.fixture
def cli(tmp_path: Path, server: Server) -> Iterator[Cli]:
    with program(tmp_path, server) as made:
        yield made


@pytest.fixture
def box(cli: Cli) -> Iterator[Cli]:
    """The command line with busybox pulled; at the end nothing of any container is left on the machine."""
    cli("pull", "-q", "busybox")
    yield cli
    ids = cli("ps", "-aq", "--no-trunc").split()
    if ids:
        cli("rm", "-f", *ids)
    assert os.listdir(cli.root / "containers") == []
    wait_until(lambda: traces(cli, ids) == [], 10, "the end of all processes")
