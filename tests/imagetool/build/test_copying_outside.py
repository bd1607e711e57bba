"""COPY of trees that want to lead out, and of any tree at all: what arrives is the same, and nothing else changes."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagetool.build.copying import CopyOptions, apply, resolve
from imagetool.build.trees import Tree
from imagetool.errors import ImageToolError, NotFound
from tests.imagetool.build.copykit import Copy, Node, tree
from tests.support.snapshot import snapshot

OUTSIDE: list[tuple[str, str, dict[str, Node], dict[str, Node]]] = [
    # sources, destination, the context, the root; `{out}` is a directory beside both
    ("link", "/to", {"link": "-> {out}/secret"}, {}),
    ("link", "/to", {"link": "-> ../out/secret"}, {}),
    ("link/secret", "/to", {"link": "-> {out}"}, {}),
    ("link/secret", "/to", {"link": "-> ../out"}, {}),
    ("lin*/secret", "/to/", {"link": "-> {out}"}, {}),
    ("**/secret", "/to/", {"link": "-> {out}"}, {}),
    ("../out/secret", "/to", {}, {}),
    ("f", "/link/f", {"f": b"evil"}, {"link": "-> {out}"}),
    ("f", "/link/", {"f": b"evil"}, {"link": "-> ../out"}),
    ("f", "/link", {"f": b"evil"}, {"link": "-> {out}/secret"}),
    ("f", "../../../out/secret", {"f": b"evil"}, {}),
    ("d", "/", {"d/link/secret": b"evil"}, {"link": "-> {out}"}),
    ("d", "/link", {"d/secret": b"evil"}, {"link": "-> {out}"}),
    ("d", "/", {"d/a/b/secret": b"evil"}, {"a/b": "-> {out}"}),
]


@pytest.mark.parametrize(("sources", "destination", "context", "root"), OUTSIDE)
def test_nothing_leads_out(
    copy: Copy,
    tmp_path: Path,
    sources: str,
    destination: str,
    context: dict[str, Node],
    root: dict[str, Node],
) -> None:
    out = tree(tmp_path / "out", {"secret": b"host"})

    def there(nodes: dict[str, Node]) -> dict[str, Node]:
        return {k: v.format(out=out) if isinstance(v, str) else v for k, v in nodes.items()}

    tree(copy.context, there(context))
    tree(copy.root, there(root))
    before = snapshot(out)
    try:
        after = copy(sources, destination)
    except ImageToolError:
        after = {}
    assert snapshot(out) == before
    assert b"host" not in after.values()


def test_links_swapped_while_copying_lead_nowhere(copy: Copy, tmp_path: Path) -> None:
    """A directory of the destination becomes a link between two items: what follows stays inside, or fails."""
    out = tree(tmp_path / "out", {})
    tree(copy.context, {"d/a": b"", "d/sub/x": b"", "d/sub/y": b""})
    with Tree(copy.context) as source:
        sources = resolve(source, ["d"])
        part = sources.parts[0]
        items = part.items

        def swapping() -> object:
            for item in items():
                yield item
                if item.path[-1:] == ("x",):
                    os.rename(copy.root / "sub", copy.root / "gone")
                    os.symlink(out, copy.root / "sub")

        from imagetool.build.landing import Landing, Looks

        fd = os.open(copy.root, os.O_RDONLY | os.O_DIRECTORY)
        with Landing(fd, Looks()) as landing:
            landing.put_all(swapping())  # type: ignore[arg-type]
        os.close(fd)
    assert list(out.iterdir()) == []
    assert (copy.root / "gone/y").exists()


PATHS = st.lists(st.sampled_from(["a", "b", "c\udcff", "d e"]), min_size=1, max_size=3).map("/".join)
LINKS = st.sampled_from(["-> a", "-> /b", "-> ..", "-> ../../out", "-> /a/b"])
NODES = st.one_of(st.binary(max_size=20), st.none(), st.sampled_from([0o700, 0o1777, 0o2755]), LINKS)


def plant(root: Path, nodes: dict[str, Node]) -> None:
    """As much of it as fits together: nothing is below a file or a link."""
    leaves = {path for path, node in nodes.items() if isinstance(node, bytes | str)}
    for path in sorted(nodes):
        parts = path.split("/")
        if not any("/".join(parts[:n]) in leaves for n in range(1, len(parts))):
            tree(root, {path: nodes[path]})


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(PATHS, NODES, max_size=8), st.data())
def test_a_copy_is_the_same(nodes: dict[str, Node], data: st.DataObject) -> None:
    """Whatever the tree, all but the top directory's own looks arrives, and has the same digest there."""
    with tempfile.TemporaryDirectory() as place:
        made = Copy(Path(place))
        plant(made.context, nodes)
        files = [path for path in made.context.rglob("*") if path.is_file() and not path.is_symlink()]
        if files:
            _decorate(data, files, made.context)
        with Tree(made.context, owners=True) as source:
            sources = resolve(source, ["."])
            apply(sources, str(made.root), "/", CopyOptions())
            with Tree(made.root, owners=True) as twin:
                assert resolve(twin, ["."]).digest() == sources.digest()
        before, after = snapshot(made.context, times=True), snapshot(made.root, times=True)
        assert {k: v for k, v in before.items() if k} == {k: v for k, v in after.items() if k}


def _decorate(data: st.DataObject, files: list[Path], context: Path) -> None:
    file = data.draw(st.sampled_from(files))
    os.chown(file, data.draw(st.sampled_from([0, 7])), 8)
    file.chmod(data.draw(st.sampled_from([0, 0o640, 0o4755])))
    os.utime(file, ns=(0, data.draw(st.integers(0, 2**60))))
    if data.draw(st.booleans()):
        os.setxattr(file, "user.x", data.draw(st.binary(min_size=1, max_size=5)))
    if data.draw(st.booleans()):
        os.link(file, context / "twin")


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(PATHS, NODES, max_size=6), st.dictionaries(PATHS, NODES, max_size=6), PATHS)
def test_nothing_outside_is_changed(theirs: dict[str, Node], ours: dict[str, Node], destination: str) -> None:
    with tempfile.TemporaryDirectory() as place:
        made = Copy(Path(place))
        out = tree(Path(place) / "out", {"a": b"safe", "b/a": b"safe"})
        (Path(place) / "a").write_bytes(b"safe")
        plant(made.context, theirs)
        plant(made.root, ours)
        before = snapshot(out)
        for target in (f"/{destination}", f"/{destination}/", f"../{destination}"):
            with suppress(ImageToolError):
                copy_everything(made, target)
        assert snapshot(out) == before
        assert sorted(os.listdir(place)) == ["a", "context", "out", "root"]


def copy_everything(made: Copy, target: str) -> None:
    with Tree(made.context) as source:
        for name in (".", *os.listdir(made.context)):
            with suppress(NotFound):
                apply(resolve(source, [name]), str(made.root), target, CopyOptions())
