"""Each walk-through runs from top to bottom, with images from a registry of its own."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.imagetool import Cli, program
from tests.support.oci import Layout
from tests.support.registry import Server, fill, free_port, registry
from tests.walkthroughs import images

HERE = Path(__file__).parent
SCRIPTS = sorted(path.name for path in HERE.glob("*.sh") if path.name != "lib.sh")
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("walkthroughs")
    layout = Layout(folder / "oci")
    with registry(folder / "registry") as made:
        for number, (name, descriptor) in enumerate(images.every(layout).items()):
            layout.tag(str(number), descriptor)
            fill(made, layout.root, str(number), name)
        yield made


@pytest.fixture(scope="module")
def private(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with registry(tmp_path_factory.mktemp("private"), login=("me", "secret")) as made:
        yield made


@pytest.fixture
def cli(tmp_path: Path, server: Server) -> Iterator[Cli]:
    with program(tmp_path, server) as made:
        yield made
        if ids := made("ps", "-aq").split():
            made("rm", "-f", *ids)


@pytest.mark.parametrize("script", SCRIPTS)
def test_walkthrough(cli: Cli, server: Server, private: Server, tmp_path: Path, script: str) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/imagetool").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m imagetool "$@"\n')
    (tmp_path / "bin/imagetool").chmod(0o755)
    (tmp_path / "hello").write_bytes(images.hello())
    (tmp_path / "hello").chmod(0o755)
    (tmp_path / "here").mkdir()
    env = cli.env | {
        "PATH": f"{tmp_path}/bin:{os.environ['PATH']}",
        "ARCHITECTURE": {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()],
        "HELLO": str(tmp_path / "hello"),
        "REGISTRY": server.host,
        "PRIVATE": private.host,
        **{f"PORT_{letter}": str(free_port()) for letter in "ABC"},
    }
    with (tmp_path / "shown").open("w+") as shown:
        done = subprocess.run(
            [HERE / script], cwd=tmp_path / "here", env=env, stdin=subprocess.DEVNULL, stdout=shown, stderr=shown,
            timeout=280,
        )  # fmt: skip
        shown.seek(0)
        text = shown.read()
    assert done.returncode == 0, text
