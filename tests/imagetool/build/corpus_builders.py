"""Who builds the Dockerfiles of the corpus, and what came of each: its tree and its config."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

from imagetool import compression
from imagetool.archive.data import pieces
from imagetool.archive.tree import of_tars
from imagetool.store.store import Store
from tests.imagetool.build import corpus_context as context
from tests.support.docker import Docker, docker
from tests.support.sandbox import CHECKOUT

CORPUS = Path(__file__).parent / "corpus"

BUILDAH = shlex.split(
    "-q --isolation chroot --layers=false --format docker --identity-label=false --pull-never"
)

UNCOMPARED = ("Hostname", "Image", "ArgsEscaped")
"""The first two are of the container that buildah built in; the last, Docker's, is about Windows."""


class Fact(NamedTuple):
    """One name of a tree. `content` is a digest or a link's target."""

    mode: str
    owner: tuple[int, int]
    rdev: int
    dated: bool  # as the files of the context
    content: str
    links: tuple[str, ...]
    xattrs: tuple[tuple[bytes, bytes], ...]


class Image(NamedTuple):
    tree: Mapping[str, Fact]
    config: Mapping[str, Any]


class Builders:
    """Each method builds one Dockerfile of the corpus, by its name; AssertionError with the builder's words."""

    def __init__(self, base: Path, daemon: Docker) -> None:
        self.base = base
        self._docker_command = daemon
        self._writing = Lock()
        context.write_base(base / "oci")
        context.write_context(base / "plain")
        self._prepare()

    def _prepare(self) -> None:
        conf = self.base / "storage.conf"
        places = f'graphroot = "{self.base}/buildah"\nrunroot = "{self.base}/run"'
        conf.write_text(f'[storage]\ndriver = "overlay"\n{places}\n')
        self._env = {
            "PATH": os.environ["PATH"], "HOME": str(self.base), "CONTAINERS_STORAGE_CONF": str(conf),
            "TMPDIR": str(self.base), "PYTHONPATH": str(CHECKOUT), "IMAGETOOL_ROOT": str(self.base / "store"),
        }  # fmt: skip
        image = self._run("buildah", "pull", "-q", f"oci:{self.base}/oci:base").strip()
        self._run("buildah", "tag", image, "base")
        archive = self.base / "base.tar"
        target = f"docker-archive:{archive}:docker.io/library/base:latest"
        self._run("skopeo", "--insecure-policy", "copy", "-q", f"oci:{self.base}/oci:base", target)
        self._run(sys.executable, "-m", "imagetool", "load", "-q", "-i", str(archive))
        self._docker_command("load", "-q", "-i", str(archive))

    def _run(self, *command: str) -> str:
        done = subprocess.run(
            command, capture_output=True, env=self._env, cwd=self.base / "plain", timeout=100
        )
        text = done.stdout.decode() + done.stderr.decode()
        assert done.returncode == 0, f"{shlex.join(command)}\n{text}"
        return done.stdout.decode()

    def _arguments(self, name: str) -> list[str]:
        file = CORPUS / f"{name}.Dockerfile"
        text = file.read_text()
        options = shlex.split(" ".join(re.findall(r"^# build: (.*)$", text, re.M)))
        place = "plain"
        if rules := re.search(r"^# ignore: (.*)$", text, re.M):
            place = name
            with self._writing:
                if not (self.base / place).exists():
                    context.write_context(self.base / place, rules[1].replace("|", "\n"))
        return [*options, "-f", str(file), str(self.base / place)]

    def imagetool(self, name: str) -> Image:
        command = [sys.executable, "-m", "imagetool", "build", "-q", "--network", "none"]
        image_id = self._run(*command, "-t", name, *self._arguments(name)).strip()
        store = Store.open(str(self.base / "store"))
        image = store.image(store.resolve(image_id))
        return Image(_tree(store.layer_tars(image)), _config(json.loads(store.read_blob(image.id))))

    def buildah(self, name: str) -> Image:
        out = self.base / f"buildah-{name}"
        self._run("buildah", "bud", *BUILDAH, "-t", name, *self._arguments(name))
        self._run("buildah", "push", "-q", "--disable-compression", name, f"dir:{out}")
        manifest = json.loads((out / "manifest.json").read_text())
        config = json.loads((out / manifest["config"]["digest"].partition(":")[2]).read_text())
        layers = [out / layer["digest"].partition(":")[2] for layer in manifest["layers"]]
        return Image(_tree([_uncompressed(layer) for layer in reversed(layers)]), _config(config))

    def docker(self, name: str) -> Image:
        """By BuildKit."""
        out = self.base / f"docker-{name}"
        words = ["build", "-q", "--network", "none", "-t", name, *self._arguments(name)]
        self._docker_command(*words, cwd=self.base / "plain")
        self._docker_command("save", "-o", f"{out}.tar", name)
        out.mkdir()
        self._run("tar", "-x", "-C", str(out), "-f", f"{out}.tar")
        (saved,) = json.loads((out / "manifest.json").read_text())
        layers = [str(out / layer) for layer in reversed(saved["Layers"])]
        return Image(_tree(layers), _config(json.loads((out / saved["Config"]).read_text())))


BUILDERS: Mapping[str, Callable[[Builders, str], Image]] = {
    "imagetool": Builders.imagetool,
    "buildah": Builders.buildah,
    "docker": Builders.docker,
}


@contextmanager
def builders(base: Path) -> Iterator[Builders]:
    (base / "docker").mkdir(parents=True)
    with docker(base / "docker") as daemon:
        yield Builders(base, daemon)


def _uncompressed(layer: Path) -> str:
    target = layer.with_suffix(".tar")
    with open(layer, "rb") as source, open(target, "wb") as out:
        out.writelines(compression.decoded(source.read))
    return str(target)


def _tree(tars: list[str]) -> dict[str, Fact]:
    found: dict[str, Fact] = {}
    groups: dict[int, list[str]] = {}
    if not tars:
        return {"/": Fact("drwxr-xr-x", (0, 0), 0, False, "", (), ())}
    with of_tars(tars) as tree:
        for item in tree.walk():
            attr, content, path = item.attr, "", os.fsdecode(b"/" + b"/".join(item.path))
            if attr.nlink > 1 and not stat.S_ISDIR(attr.mode):
                groups.setdefault(attr.ino, []).append(path)
            if stat.S_ISREG(attr.mode):
                source = tree.source(attr.ino)
                content = hashlib.sha256(b"".join(pieces(source, 0, source.size))).hexdigest()
            elif stat.S_ISLNK(attr.mode):
                content = os.fsdecode(tree.readlink(attr.ino))
            xattrs = tuple(sorted(tree.xattrs(attr.ino).items()))
            found[path] = Fact(
                stat.filemode(attr.mode),
                (attr.uid, attr.gid),
                attr.rdev,
                attr.mtime == context.TIME,
                content,
                (),
                xattrs,
            )
    for names in groups.values():
        found |= {name: found[name]._replace(links=tuple(names)) for name in names}
    return found


def _config(document: Mapping[str, Any]) -> dict[str, Any]:
    """What a config says, without what it leaves open."""
    rows = {"author": document.get("author"), **document.get("config", {})}
    if rows.get("WorkingDir") == "/":
        del rows["WorkingDir"]  # so it is without one; BuildKit says so of `scratch`
    return {key: value for key, value in rows.items() if value and key not in UNCOMPARED}
