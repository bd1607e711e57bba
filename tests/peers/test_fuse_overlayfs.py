"""Layers and top layers exchanged with fuse-overlayfs, as when a container's store changes its mount program.

It knows neither redirects nor metadata-only copies, so no directory of a layer is renamed here. Counts of links
and times are not compared: it counts by what it has seen, and sets times anew. What it has made itself, it may show as
files of their own where its top layer has hard links, or not at all (EIO): then there is nothing to compare.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import Mounts, Scratch
from tests.property.operations import LAYERS, Operation, operations
from tests.property.playing import COPIES, Seen, copies, look, play, without_counts, without_times
from tests.support.mounts import Mounted, Stack, stack
from tests.support.notation import Tree
from tests.support.peers import PEERS
from tests.support.process import ChildFailed
from tests.support.snapshot import Facts, differences, snapshot

EXAMPLES = 25
NOTES = (b".wh..wh..opq", b".wh..opq")
"""Files it leaves in its top layer, beside the attribute that says opaque. There we take them for what they are."""
OPTIONS = {"ours": "metacopy=off", "fuse-overlayfs": ""}


def _is_common(step: Operation) -> bool:
    """Whether both can do it: no rename of a directory, and no attribute that the other one hides."""
    return (
        step.name != "rename" and not step.name.startswith("mknod") and "overlay" not in repr(step.arguments)
    )


steps = st.lists(operations.filter(_is_common), min_size=8, max_size=30)


@pytest.fixture
def made(scratch: Scratch, request: pytest.FixtureRequest) -> Stack:
    return stack(scratch.tmpfs / request.node.name.replace("/", "-"), copies(LAYERS)[:3])


def _comparable(seen: Seen) -> Seen:
    """Without what is not compared; its own notes are ordinary names and attributes to everybody else."""
    return {
        path: facts._replace(xattrs=_plain(facts))
        for path, facts in without_times(without_counts(seen)).items()
        if path.rpartition(b"/")[2] not in NOTES
    }


def _without_links(seen: Seen) -> Seen:
    return {path: facts._replace(links=()) for path, facts in seen.items()}


def _plain(facts: Facts) -> tuple[tuple[str, bytes], ...]:
    return tuple(pair for pair in facts.xattrs if not pair[0].startswith("user.fuseoverlayfs."))


def _play_examples(mounted: Mounted, *, is_peer: bool) -> list[str]:
    names = (str(i) for i in range(COPIES))
    used: list[str] = []

    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(steps)
    def one(chosen: list[Operation]) -> None:
        used.append(next(names))
        try:
            play(mounted, used[-1], chosen)
        except ChildFailed:
            if not is_peer:
                raise
            used.pop()

    one()
    return used


def _views(mounted: Mounted, names: list[str], *, is_peer: bool) -> list[Seen | None]:
    def view(name: str) -> Seen | None:
        try:
            return look(Path(mounted.path, name))
        except OSError:
            if not is_peer:
                raise
            return None

    return mounted.call(lambda: [view(name) for name in names])


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("writer", "reader"), [("ours", "fuse-overlayfs"), ("fuse-overlayfs", "ours")])
def test_upper_of_one_is_read_by_the_other(made: Stack, writer: str, reader: str) -> None:
    foreign = {which: which != "ours" for which in (writer, reader)}
    with PEERS[writer](made, OPTIONS[writer]) as mounted:
        names = _play_examples(mounted, is_peer=foreign[writer])
    with PEERS[writer](made, OPTIONS[writer]) as mounted:  # again, so that only what is on disk counts
        before = _views(mounted, names, is_peer=foreign[writer])
    with PEERS[reader](made, OPTIONS[reader]) as mounted:
        after = _views(mounted, names, is_peer=foreign[reader])
    compared = 0
    for name, one, other in zip(names, before, after, strict=True):
        if one is not None and other is not None:
            if foreign[writer]:
                one, other = _without_links(one), _without_links(other)
            assert differences(_comparable(one), _comparable(other)) == [], f"copy {name}"
            compared += 1
    assert compared > EXAMPLES // 2


def _random_tree(rng: random.Random, depth: int = 2) -> Tree:
    """Files and directories, some of them deleted by files as containers/storage writes them."""
    tree: dict[str, object] = {}
    for name in "abc":
        kind = rng.choice(["none", "file", "directory", "deleted"])
        if kind == "file":
            tree[name] = rng.randbytes(4)
        elif kind == "directory" and depth:
            tree[name] = _random_tree(rng, depth - 1)
        elif kind == "deleted":
            tree[f".wh.{name}"] = b""
    return tree | ({".wh..wh..opq": b""} if rng.random() < 0.1 else {})


@pytest.mark.timeout(120)
def test_layers_with_wh_files_look_the_same(union_mounts: Mounts) -> None:
    rng = random.Random(7)
    layers: list[Tree] = [{str(i): _random_tree(rng) for i in range(200)} for _ in range(4)]
    made = union_mounts.stack(layers, upper=None)
    seen: list[Seen] = []
    for peer in ("fuse-overlayfs", "ours"):
        with PEERS[peer](made, "") as mounted:
            seen.append(mounted.call(lambda path=mounted.path: _comparable(snapshot(path))))  # type: ignore[misc]
    assert differences(*seen) == []
