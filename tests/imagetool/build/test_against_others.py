"""The same Dockerfiles by Debian's buildah and by imagetool: the same tree and config, field by field.

Each file of corpus/ is built by both on the same base image. A line `# build: OPTIONS` in it gives options to both,
`# ignore: RULE|RULE` a context with such a .dockerignore. DIFFERENT has all that is
not the same on purpose.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from imagetool import compression
from imagetool.archive.data import pieces
from imagetool.archive.tree import of_tars
from imagetool.store.store import Store
from tests.conftest import Scratch
from tests.imagetool.build import corpus_context as context
from tests.support.sandbox import CHECKOUT

CORPUS = Path(__file__).parent / "corpus"
NAMES = sorted(path.name.removesuffix(".Dockerfile") for path in CORPUS.glob("*.Dockerfile"))

BUILDAH = shlex.split(
    "-q --isolation chroot --layers=false --format docker --identity-label=false --pull-never"
)

UNCOMPARED = ("Hostname", "Image")
"""Of the container that buildah built in."""

SETUID = "buildah takes setuid and setgid off what it copies from a context; BuildKit does not"
STUBS = "directories that were only made to mount something on do not stay in the image"
IMPLIED = "an ignored directory that holds what is not ignored has its own looks, as with BuildKit"
VOLUME = "a volume's directory is made when a container is"

DIFFERENT: dict[str, dict[str, str]] = {
    "add-archive-chown": dict.fromkeys(
        ["/to/setuid", "/to/top", "/to/top/f", "/to/top/link", "/to/top/twin"],
        "buildah does not apply --chown to what it unpacks",
    ),
    "copy-everything": dict.fromkeys(["/all/modes/setuid", "/all/private/d"], SETUID),
    "copy-modes": dict.fromkeys(["/modes/setuid", "/private/d", "/setuid"], SETUID),
    "ignore-all-but": {"/dir": IMPLIED},
    "ignore-deep-all-but": {"/dir": IMPLIED, "/dir/sub": IMPLIED},
    "ignore-doublestar": dict.fromkeys(
        ["/dir/sub", "/dir/sub/y"], "buildah looks for exceptions with ** in no directory that is left out"
    ),
    "ignored": dict.fromkeys(["/all/other", "/all/other/sub"], IMPLIED),
    "ignore-subdirectory-back": {"/dir": IMPLIED},
    "copy-to-linked-file": dict.fromkeys(
        ["/link", "/real"], "a link that is the destination is followed, as Docker does; buildah replaces it"
    ),
    "escape-directive": {"Env": "buildah escapes with a backslash whatever the directive says"},
    "expose": {"ExposedPorts": "ranges are ports, as in Docker's configs"},
    "inherit": {"/v": VOLUME},
    "run-mount-bind-stage": {"/mnt": STUBS},
    "run-mount-secret": {"/run/secrets": STUBS},
    "shell": dict.fromkeys(
        ["Cmd", "Entrypoint"], "buildah takes /bin/sh for CMD and ENTRYPOINT whatever SHELL says"
    ),
    "volume": dict.fromkeys(["/a", "/b"], VOLUME),
}
"""By name of the Dockerfile: a path or a field of the config -> why it is not as buildah has it."""


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
    """Both builders, with all of the corpus under way."""

    def __init__(self, base: Path, pool: ThreadPoolExecutor) -> None:
        self.base = base
        self._pool = pool
        context.write_base(base / "oci")
        context.write_context(base / "plain")
        self._prepare_buildah()
        self._prepare_ours()
        self.built = {
            name: (self._start(self._buildah, name), self._start(self._ours, name)) for name in NAMES
        }

    def _start(self, build: Any, name: str) -> Future[Image]:
        return self._pool.submit(build, name)

    def _prepare_buildah(self) -> None:
        conf = self.base / "storage.conf"
        places = f'graphroot = "{self.base}/buildah"\nrunroot = "{self.base}/run"'
        conf.write_text(f'[storage]\ndriver = "overlay"\n{places}\n')
        self._env = {
            "PATH": os.environ["PATH"], "HOME": str(self.base), "CONTAINERS_STORAGE_CONF": str(conf),
            "TMPDIR": str(self.base), "PYTHONPATH": str(CHECKOUT), "IMAGETOOL_ROOT": str(self.base / "store"),
        }  # fmt: skip
        image = self._run("buildah", "pull", "-q", f"oci:{self.base}/oci:base").strip()
        self._run("buildah", "tag", image, "base")

    def _prepare_ours(self) -> None:
        archive = f"oci-archive:{self.base}/base.tar:docker.io/library/base:latest"
        self._run("skopeo", "--insecure-policy", "copy", "-q", f"oci:{self.base}/oci:base", archive)
        self._run(sys.executable, "-m", "imagetool", "load", "-q", "-i", str(self.base / "base.tar"))

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
            if not (self.base / place).exists():
                context.write_context(self.base / place, rules[1].replace("|", "\n"))
        return [*options, "-f", str(file), str(self.base / place)]

    def _buildah(self, name: str) -> Image:
        out = self.base / f"buildah-{name}"
        self._run("buildah", "bud", *BUILDAH, "-t", name, *self._arguments(name))
        self._run("buildah", "push", "-q", "--disable-compression", name, f"dir:{out}")
        manifest = json.loads((out / "manifest.json").read_text())
        config = json.loads((out / manifest["config"]["digest"].partition(":")[2]).read_text())
        layers = [out / layer["digest"].partition(":")[2] for layer in manifest["layers"]]
        return Image(_tree([_uncompressed(layer) for layer in reversed(layers)]), _config(config))

    def _ours(self, name: str) -> Image:
        command = [sys.executable, "-m", "imagetool", "build", "-q", "--network", "none"]
        image_id = self._run(*command, "-t", name, *self._arguments(name)).strip()
        store = Store.open(str(self.base / "store"))
        image = store.image(store.resolve(image_id))
        return Image(_tree(store.layer_tars(image)), _config(json.loads(store.read_blob(image.id))))


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
    return {key: value for key, value in rows.items() if value and key not in UNCOMPARED}


@pytest.fixture(scope="module")
def builders(scratch: Scratch) -> Iterator[Builders]:
    with ThreadPoolExecutor(2) as pool:
        base = scratch.tmpfs / "corpus"
        base.mkdir()
        yield Builders(base, pool)
        pool.shutdown(cancel_futures=True)


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {
        key: (ours.get(key), theirs.get(key))
        for key in sorted({*ours, *theirs})
        if ours.get(key) != theirs.get(key)
    }


@pytest.mark.timeout(200)
@pytest.mark.parametrize("name", NAMES)
def test_the_same(builders: Builders, name: str) -> None:
    theirs, ours = (future.result(190) for future in builders.built[name])
    found = differences(ours.tree, theirs.tree) | differences(ours.config, theirs.config)
    assert set(found) == set(DIFFERENT.get(name, {})), json.dumps(found, indent=1, default=repr)


def test_the_corpus_is_large_and_the_differences_are_of_it() -> None:
    assert len(NAMES) >= 60
    assert set(DIFFERENT) <= set(NAMES)
