"""The same Dockerfiles by Debian's buildah, by Docker's BuildKit and by imagetool: the same tree and config.

Each file of corpus/ is built by all on the same base image. A line `# build: OPTIONS` in it gives options to all,
`# ignore: RULE|RULE` a context with such a .dockerignore. DIFFERENT and REFUSED have all that is not the same on
purpose.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from tests.conftest import Scratch
from tests.imagetool.build.corpus_builders import BUILDERS, CORPUS, Builders, Fact, Image, builders

NAMES = sorted(path.name.removesuffix(".Dockerfile") for path in CORPUS.glob("*.Dockerfile"))
PEERS = [name for name in BUILDERS if name != "imagetool"]

UNDATED = {"docker"}
"""Whose directories below one that is copied are as old as the build: BuildKit 0.8 fills them once they are dated."""

SETUID = "buildah takes setuid and setgid off what it copies from a context; BuildKit does not"
STUBS = "directories that were only made to mount something on do not stay in the image"
IMPLIED = "an ignored directory that holds what is not ignored has its own looks, as with BuildKit"
VOLUME = "a volume's directory is made when a container is"
INHERITED = "arguments are inherited by the stages that build on theirs, as with BuildKit"
ARCHIVE = "BuildKit applies --chown to what it unpacks from 0.23 on; buildah does not"
DOUBLESTAR = "exceptions with ** count in directories that are left out, as with BuildKit from 0.10 on"
DOTS = "a destination that ends with /. is a directory, as with BuildKit from 0.9 on"
SPECIAL = (
    "a named pipe is copied as any other file; BuildKit 0.8 leaves it out, buildah puts it into a directory"
)
HOSTNAME = "/etc/hostname is the container's, as in any container; that of BuildKit is the image's own"
DOCUMENTED = "an ENV always wins over an ARG, as is documented; BuildKit takes what came last"
KEPT_WRITES = "what a RUN writes into a bind is gone afterwards, as is documented; buildah keeps it"

DIFFERENT: dict[str, dict[str, dict[str, str]]] = {
    "buildah": {
        "add-archive-chown": dict.fromkeys(
            ["/to/setuid", "/to/top", "/to/top/f", "/to/top/link", "/to/top/twin"], ARCHIVE
        ),
        "arg-again": dict.fromkeys(["/c", "/w-", "/w-3", "Env", "Labels", "WorkingDir"], INHERITED),
        "arg-given-inherited": dict.fromkeys(["/c", "/d"], INHERITED),
        "arg-predefined": {
            "/a": "buildah knows a proxy by the name that is given; for BuildKit it has both spellings",
            "Env": "proxies are for RUN; buildah expands them everywhere",
        },
        "arg-stages": {"/b": INHERITED},
        "copy-dots": dict.fromkeys(["/a", "/a/hello"], DOTS),
        "copy-everything": dict.fromkeys(["/all/modes/setuid", "/all/private/d"], SETUID),
        "copy-from-special": dict.fromkeys(["/pp", "/pp/p"], SPECIAL),
        "copy-modes": dict.fromkeys(["/modes/setuid", "/private/d", "/setuid"], SETUID),
        "copy-onto-private": {"/d/d": SETUID},
        "copy-to-linked-file": dict.fromkeys(
            ["/link", "/real"],
            "a link that is the destination is followed, as Docker does; buildah replaces it",
        ),
        "copy-to-links": dict.fromkeys(
            ["/nowhere/file", "/nowhere/file/hello"], "buildah makes a directory where a dangling link leads"
        ),
        "env-dollar": {
            "Env": "$$ and $@ are variables without a value, as for BuildKit; buildah lets them stand"
        },
        "escape-directive": {"Env": "buildah escapes with a backslash whatever the directive says"},
        "expose": {"ExposedPorts": "ranges are ports, as in Docker's configs"},
        "expose-forms": {
            "ExposedPorts": "ranges are ports, and protocols in lower case, as in Docker's configs"
        },
        "ignore-all-but": {"/dir": IMPLIED},
        "ignore-deep-all-but": {"/dir": IMPLIED, "/dir/sub": IMPLIED},
        "ignore-doublestar": dict.fromkeys(["/dir/sub", "/dir/sub/y"], DOUBLESTAR),
        "ignored": dict.fromkeys(["/all/other", "/all/other/sub"], IMPLIED),
        "ignore-subdirectory-back": {"/dir": IMPLIED},
        "inherit": {"/v": VOLUME},
        "onbuild-all": {"/tmp/v": INHERITED},
        "run-mount-all": {"/b": KEPT_WRITES, "/c2": KEPT_WRITES},
        "run-mount-bind-stage": {"/mnt": STUBS},
        "run-mount-readonly": {"/c": KEPT_WRITES},
        "run-mount-secret": {"/run/secrets": STUBS},
        "run-writes-etc": {"/o": "the hostname of the container, which each gives its own"},
        "shell": dict.fromkeys(
            ["Cmd", "Entrypoint"], "buildah takes /bin/sh for CMD and ENTRYPOINT whatever SHELL says"
        ),
        "shell-last-stage": {"Entrypoint": "buildah takes /bin/sh for ENTRYPOINT whatever SHELL says"},
        "volume": dict.fromkeys(["/a", "/b"], VOLUME),
        "volume-forms": dict.fromkeys(["/j k", "/relative", "/vv"], VOLUME)
        | {"/later/after": "buildah drops what a RUN writes into a volume; BuildKit does not"},
    },
    "docker": {
        "add-archive-chown": dict.fromkeys(
            ["/to/setuid", "/to/top", "/to/top/f", "/to/top/link", "/to/top/twin"], ARCHIVE
        ),
        "arg-and-env": {"/out2": DOCUMENTED},
        "copy-chmod": {"/d": "BuildKit 0.8 gives away the file after --chmod, which takes setuid off"},
        "copy-chown-forms": {
            "/a": "`user:` is the user's own group, as in chown(1); for BuildKit it is root's"
        },
        "copy-dots": dict.fromkeys(["/a", "/a/hello"], DOTS),
        "copy-from-special": dict.fromkeys(["/o/p", "/pp"], SPECIAL),
        "ignore-doublestar": dict.fromkeys(["/dir/sub", "/dir/sub/y"], DOUBLESTAR),
        "run-hardlink-later": dict.fromkeys(
            ["/a", "/b"], "hard links stay one file; in Docker's overlay they break"
        ),
        "run-mount-all": dict.fromkeys(["/c", "/c3", "/ctx", "/ctx2", "/ctx3", "/mm", "/t"], STUBS),
        "run-mount-bind": {"/ctx": STUBS, "/mnt": STUBS},
        "run-mount-bind-stage": {"/mnt": STUBS},
        "run-mount-cache": {"/cache": STUBS},
        "run-mount-readonly": {"/m": STUBS},
        "run-mount-secret": {"/run/secrets": STUBS},
        "run-mount-tmpfs": {"/scratch": STUBS},
        "run-writes-etc": {"/etc/hostname": HOSTNAME, "/o": HOSTNAME},
    },
}
"""Builder -> name of the Dockerfile -> a path or a field of the config -> why it is not as they have it."""

REFUSED: dict[str, dict[str, tuple[str, str]]] = {
    "buildah": {
        "directives": (
            "unexpected end of statement", "buildah escapes with a backslash whatever the directive says"
        ),
    },
    "docker": {
        "scratch-nothing": ("empty export", "BuildKit 0.8 has no word for an image without layers"),
        "syntax-directive": (
            "docker/dockerfile", "BuildKit pulls the language that is named, and there is no network; here it is known"
        ),
    },
}  # fmt: skip
"""Builder -> name of a Dockerfile that it does not build -> (what it says, why it is built here)."""

TABLES = {"buildah": "1.28", "docker": "20.10"}
"""Debian's versions, which the tables are about: with others there may be less of it."""

Built = dict[str, dict[str, Future[Image]]]


@pytest.fixture(scope="module")
def built(scratch: Scratch) -> Iterator[Built]:
    """By builder and name, with all of the corpus under way."""
    with ThreadPoolExecutor(2) as pool, builders(scratch.tmpfs / "corpus") as made:
        yield _started(pool, made)
        pool.shutdown(cancel_futures=True)


@pytest.fixture(scope="module")
def versions() -> dict[str, str]:
    """`docker version 20.10.24+dfsg1, build 297e128` -> 20.10.24+dfsg1,"""
    found = {}
    for peer, program in (("buildah", "buildah"), ("docker", "/usr/bin/docker")):
        said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
        found[peer] = said.split()[2]
    return found


def _started(pool: ThreadPoolExecutor, made: Builders) -> Built:
    started: Built = {who: {} for who in BUILDERS}
    for name in NAMES:
        for who, build in BUILDERS.items():
            started[who][name] = pool.submit(build, made, name)
    return started


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {
        key: (ours.get(key), theirs.get(key))
        for key in sorted({*ours, *theirs})
        if ours.get(key) != theirs.get(key)
    }


def _undated(tree: Mapping[str, Fact]) -> dict[str, Fact]:
    return {path: fact._replace(dated=False) if fact.mode[0] == "d" else fact for path, fact in tree.items()}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("peer", PEERS)
def test_the_same(built: Built, versions: Mapping[str, str], peer: str, name: str) -> None:
    ours = built["imagetool"][name].result(290)
    if name in REFUSED[peer] and (failure := built[peer][name].exception(290)):
        assert REFUSED[peer][name][0] in str(failure)
        return
    theirs = built[peer][name].result(290)
    trees = [_undated(image.tree) if peer in UNDATED else image.tree for image in (ours, theirs)]
    found = differences(*trees) | differences(ours.config, theirs.config)
    allowed = DIFFERENT[peer].get(name, {})
    assert set(found) <= set(allowed), json.dumps(found, indent=1, default=repr)
    if versions[peer].startswith(f"{TABLES[peer]}."):
        assert set(found) == set(allowed)
        assert name not in REFUSED[peer]


def test_the_corpus_is_large_and_the_differences_are_of_it() -> None:
    assert len(NAMES) >= 60
    for peer in PEERS:
        assert {*DIFFERENT[peer], *REFUSED[peer]} <= set(NAMES)
