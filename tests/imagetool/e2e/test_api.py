"""The Python API, in plain programs and in trio programs of their own."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.imagetool import Cli

pytestmark = pytest.mark.timeout(120)


def program(cli: Cli, text: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, timeout=60, env=cli.env, cwd="/"
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_it_costs_nothing(cli: Cli) -> None:
    out = program(
        cli, "import sys; before = set(sys.modules); import imagetool; print(set(sys.modules) - before)"
    )
    assert "trio" not in out
    assert "imagetool.store" not in out


def test_a_plain_program(cli: Cli) -> None:
    out = program(
        cli,
        """
import os, imagetool
pulled = imagetool.pull("debian")
print(pulled.changed, imagetool.pull("debian").changed)
with imagetool.mount("debian") as path:
    print(sorted(os.listdir(path)), os.path.ismount(path))
print(os.path.exists(path))
with imagetool.mount("ubuntu", rw=True) as path:        # pulled first
    with open(path + "/new", "w") as file:
        file.write("x")
store = imagetool.Store.open()
print(sorted(ref.name.partition("@")[0] for ref in store.references()))
print(os.listdir(store.root + "/tmp"), os.listdir(store.root + "/mounts"))
try:
    imagetool.mount("nix", pull="never").__enter__()
except imagetool.ImageToolError as error:
    print(error)
""",
    )
    assert out.splitlines() == [
        "True False",
        "['data', 'etc'] True",
        "False",
        "['docker.io/library/debian', 'docker.io/library/debian:latest', 'docker.io/library/ubuntu', "
        "'docker.io/library/ubuntu:latest']",
        "[] []",
        "No such image: nix",
    ]


def test_a_trio_program(cli: Cli) -> None:
    out = program(
        cli,
        """
import os, trio, imagetool
async def main():
    await imagetool.pull_async("debian")
    async with imagetool.mount_async("debian") as one, imagetool.mount_async("ubuntu") as other:
        print(sorted(os.listdir(one)), sorted(os.listdir(other)))
        with trio.move_on_after(0.2) as scope:
            async with imagetool.mount_async("alpine") as path:
                await trio.sleep_forever()
        print(scope.cancelled_caught, os.path.ismount(one))
    print(os.path.exists(one))
trio.run(main)
""",
    )
    assert out.splitlines()[0] == "['data', 'etc'] ['data', 'etc', 'ubuntu']"
    assert out.splitlines()[2:] == ["False"]
