"""Builds by the command line, with a store that has busybox in it, and looks at what came of them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

from tests.support import command
from tests.support.imagetool import PROGRAM, Cli, Done
from tests.support.process import wait_until
from tests.support.sandbox import ROOT, Sandbox

NO_NETWORK = ("--network", "none")


class Builder(Cli):
    """`build` takes a Dockerfile's text; the context is `context`, which tests write into."""

    def __init__(self, folder: Path, box: Sandbox = ROOT) -> None:
        super().__init__(folder, box=box)
        self.context = folder / "context"
        self.context.mkdir(exist_ok=True)

    def write(self, files: Mapping[str, str]) -> None:
        for name, text in files.items():
            path = self.context / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def build(self, text: str, *options: str, code: int = 0, **env: str) -> Done:
        """The run of a build without a network. The Dockerfile is not part of the context."""
        (self.folder / "Dockerfile").write_text(text)
        words = ("-f", str(self.folder / "Dockerfile"), *NO_NETWORK, *options)
        return self.run("build", *words, str(self.context), code=code, **env)

    def image(self, text: str, *options: str, **env: str) -> str:
        """The ID of the image that a Dockerfile makes."""
        return self.build(text, "-q", *options, code=0, **env).stdout.strip()

    def config(self, image: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self("image", "inspect", image))[0]
        return found

    def files(self, image: str) -> dict[str, tarfile.TarInfo]:
        with tarfile.open(fileobj=BytesIO(self.raw("export", image))) as tar:
            return {member.name.rstrip("/"): member for member in tar if member.name != "."}

    def content(self, image: str, path: str) -> bytes:
        with tarfile.open(fileobj=BytesIO(self.raw("export", image))) as tar:
            file = tar.extractfile(path)
            assert file is not None
            return file.read()

    def layers(self, image: str) -> list[list[str]]:
        """The names in each layer, the lowest first."""
        found = []
        for diff_id in self.config(image)["RootFS"]["Layers"]:
            with tarfile.open(self.root / "layers" / diff_id.replace(":", "/") / "layer.tar") as tar:
                found.append(sorted(member.name for member in tar))
        return found

    def history(self, image: str) -> list[str]:
        """How each step of the image came about, the first at the front."""
        rows = self("history", "--no-trunc", "--format", "{{json .CreatedBy}}", image).splitlines()
        return [json.loads(row) for row in rows][::-1]

    def start(self, text: str, *options: str, name: str = "Dockerfile") -> subprocess.Popen[str]:
        """A build in the background."""
        (self.folder / name).write_text(text)
        words = ["build", "-f", str(self.folder / name), *NO_NETWORK, *options, str(self.context)]
        return subprocess.Popen(
            [*PROGRAM, *words], env=self.env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            preexec_fn=self.box.enter,
        )  # fmt: skip

    def traces(self) -> list[str]:
        """Processes, mounts and temporary files of builds."""
        found = [f"process {pid}" for pid in self.processes()]
        found += [
            line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(self.root) in line
        ]
        return found + os.listdir(self.root / "tmp")

    def processes(self) -> list[int]:
        mark = f"IMAGETOOL_ROOT={self.root}\0".encode()
        return [
            int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and _has(entry, mark)
        ]


def _has(process: Path, mark: bytes) -> bool:
    try:
        return mark in (process / "environ").read_bytes()
    except OSError:
        return False


def steps(output: str) -> list[tuple[str, bool]]:
    """Each step with whether it came from the cache."""
    found: list[tuple[str, bool]] = []
    for line in output.splitlines():
        if match := re.fullmatch(r"Step \d+/\d+ : (.*)", line):
            found.append((match[1], False))
        elif line == " ---> Using cache":
            found[-1] = (found[-1][0], True)
    return found


def cached(output: str) -> list[bool]:
    """Of the steps but FROM, in their order: whether each came from the cache."""
    return [hit for text, hit in steps(output) if not text.startswith("FROM")]


@contextmanager
def builder(folder: Path, layer: bytes, box: Sandbox = ROOT) -> Iterator[Builder]:
    """A store with the image `busybox`, and nothing left behind at the end."""
    with command.cleanup(folder, box):
        made = Builder(folder, box)
        (folder / "busybox.tar").write_bytes(layer)
        made("import", folder / "busybox.tar", "busybox:latest", "-c", 'CMD ["/bin/sh"]')
        yield made
        wait_until(lambda: made.traces() == [], 10, "the end of all processes")
