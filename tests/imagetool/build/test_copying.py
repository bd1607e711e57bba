"""COPY: Docker's rules for sources and destinations, the digest, and trees that want to lead out."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagetool.build import modes
from imagetool.build.copying import CopyOptions, apply, resolve
from imagetool.build.ignore import Ignore
from imagetool.build.memory import Memory, forget
from imagetool.build.trees import Tree
from imagetool.errors import ImageToolError, NotFound, UsageError
from tests.support.snapshot import snapshot

Node = bytes | str | None | int
"""b"content", "-> link", None for a directory, a mode for a directory with one."""


def tree(root: Path, nodes: dict[str, Node]) -> Path:
    root.mkdir(exist_ok=True)
    for name, node in nodes.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(node, bytes):
            path.write_bytes(node)
        elif isinstance(node, str):
            path.symlink_to(node.removeprefix("-> "))
        else:
            path.mkdir(exist_ok=True)
            path.chmod(node or 0o755)
    return root


def listing(root: Path) -> dict[str, Node]:
    """The inverse of `tree`: directories that hold something are not listed."""
    found: dict[str, Node] = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if path.is_symlink():
            found[name] = f"-> {os.readlink(path)}"
        elif path.is_dir():
            if not any(path.iterdir()):
                found[name] = None
        elif path.is_file():
            found[name] = path.read_bytes()
    return found


class Copy:
    """copy(sources, destination) from a context with FILES into a root; `listing` is what is there after."""

    def __init__(self, base: Path) -> None:
        self.context, self.root = base / "context", base / "root"
        self.context.mkdir()
        self.root.mkdir()

    def __call__(
        self,
        sources: str | Sequence[str],
        destination: str,
        options: CopyOptions = CopyOptions(),  # noqa: B008
        *,
        ignore: str = "",
        owners: bool = False,
        **more: object,
    ) -> dict[str, Node]:
        words = sources.split() if isinstance(sources, str) else sources
        with Tree(self.context, ignore=Ignore.parse(ignore), owners=owners) as source:
            apply(resolve(source, words, **more), str(self.root), destination, options)  # type: ignore[arg-type]
        return listing(self.root)

    def digest(self, sources: str, *, memory: Memory | None = None, **more: object) -> str:
        with Tree(self.context, memory=memory) as source:
            return resolve(source, sources.split(), **more).digest()  # type: ignore[arg-type]


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    return Copy(tmp_path)


FILES: dict[str, Node] = {
    "a.txt": b"a", "b.txt": b"b", "c.md": b"c", "dir/x": b"x", "dir/sub/y": b"y", "dir/link": "-> x",
    "other/x": b"o", "other/empty": None, "to-file": "-> a.txt", "to-dir": "-> dir", "[odd]": b"odd", ".hidden": b"h",
}  # fmt: skip
DIR: dict[str, Node] = {"link": "-> x", "sub/y": b"y", "x": b"x"}


def under(prefix: str, nodes: dict[str, Node] = DIR) -> dict[str, Node]:
    return {f"{prefix}/{name}": node for name, node in nodes.items()}


RULES: list[tuple[str, str, dict[str, Node], dict[str, Node]]] = [
    # sources, destination, what the root has, what it has then
    ("a.txt", "/new", {}, {"new": b"a"}),
    ("a.txt", "/new/", {}, {"new/a.txt": b"a"}),
    ("a.txt", "/deep/er/new", {}, {"deep/er/new": b"a"}),
    ("a.txt", "/there", {"there": None}, {"there/a.txt": b"a"}),
    ("a.txt", "/there", {"there": b"old"}, {"there": b"a"}),
    ("a.txt", "rel", {"work": None}, {"work/rel": b"a"}),
    ("a.txt", ".", {}, {"work/a.txt": b"a"}),
    ("a.txt", "./", {}, {"work/a.txt": b"a"}),
    ("a.txt", "..", {}, {"a.txt": b"a", "work": None}),
    ("./a.txt", "/new", {}, {"new": b"a"}),
    ("/a.txt", "/new", {}, {"new": b"a"}),
    ("../../a.txt", "/new", {}, {"new": b"a"}),
    ("dir/../a.txt", "/new", {}, {"new": b"a"}),
    ("a.txt", "/x/../new", {}, {"new": b"a"}),
    ("a.txt", "/link/../new", {"link": "-> d/e", "d/e": None}, {"d/e": None, "link": "-> d/e", "new": b"a"}),
    ("a.txt b.txt", "/to/", {}, {"to/a.txt": b"a", "to/b.txt": b"b"}),
    ("a.txt b.txt", "/to", {"to": None}, {"to/a.txt": b"a", "to/b.txt": b"b"}),
    ("*.txt", "/to/", {}, {"to/a.txt": b"a", "to/b.txt": b"b"}),
    ("?.md", "/one", {}, {"one": b"c"}),
    ("[ab].txt", "/to/", {}, {"to/a.txt": b"a", "to/b.txt": b"b"}),
    ("[^a].txt", "/to/", {}, {"to/b.txt": b"b"}),
    ("\\[odd]", "/to/", {}, {"to/[odd]": b"odd"}),
    ("[[]odd]", "/to/", {}, {"to/[odd]": b"odd"}),
    ("a.txt no*", "/to/", {}, {"to/a.txt": b"a"}),
    ("*/x", "/to/", {}, {"to/x": b"o"}),
    ("**/y", "/to/", {}, {"to/y": b"y"}),
    ("**/x", "/to/", {}, {"to/x": b"o"}),
    ("dir", "/to", {}, under("to")),
    ("dir/", "/to/", {}, under("to")),
    ("dir", "/to", {"to/old": b"1", "to/x": b"2"}, {**under("to"), "to/old": b"1"}),
    ("di?", "/to", {}, under("to")),
    ("dir other", "/to/", {}, {**under("to"), "to/x": b"o", "to/empty": None}),
    ("dir a.txt", "/to/", {}, {**under("to"), "to/a.txt": b"a"}),
    ("dir/sub", "/", {}, {"y": b"y"}),
    ("to-file", "/new", {}, {"new": b"a"}),
    ("to-file", "/to/", {}, {"to/to-file": b"a"}),
    ("to-dir", "/to", {}, under("to")),
    ("to-dir/x", "/new", {}, {"new": b"x"}),
    ("to-*", "/to/", {}, {**under("to"), "to/to-file": b"a"}),
    (".hid*", "/to/", {}, {"to/.hidden": b"h"}),
    ("a.txt", "/link", {"link": "-> real", "real": b"old"}, {"link": "-> real", "real": b"a"}),
    ("a.txt", "/link", {"link": "-> /not/there/yet"}, {"link": "-> /not/there/yet", "not/there/yet": b"a"}),
    ("a.txt", "/link/", {"link": "-> real", "real": None}, {"link": "-> real", "real/a.txt": b"a"}),
    ("a.txt", "/link/new", {"link": "-> missing"}, {"link": "-> missing", "missing/new": b"a"}),
    ("dir", "/link", {"link": "-> real", "real/old": b"1"}, {"link": "-> real", "real/old": b"1", **under("real")}),
    ("dir", "/to", {"to/x": "-> /elsewhere", "elsewhere": b"safe"}, {**under("to"), "elsewhere": b"safe"}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("sources", "destination", "before", "after"), RULES, ids=[f"{row[0]} {row[1]} {' '.join(row[2])}" for row in RULES]
)  # fmt: skip
def test_rules(
    copy: Copy, sources: str, destination: str, before: dict[str, Node], after: dict[str, Node]
) -> None:
    tree(copy.context, FILES)
    tree(copy.root, {"work": None, **before} if "work" in str(after) else before)
    assert copy(sources, destination, CopyOptions(workdir="/work")) == after


@pytest.mark.parametrize(
    ("sources", "destination", "before", "words"),
    [
        ("missing", "/to", {}, '"/missing": not found'),
        ("dir/missing", "/to", {}, '"/dir/missing": not found'),
        ("a.txt/x", "/to", {}, "not found"),
        ("no*", "/to/", {}, "no source files were specified"),
        ("[a", "/to/", {}, "has no end"),
        ("*.txt", "/to", {}, "end with a /"),
        ("a.txt b.txt", "/to", {"to": b""}, "end with a /"),
        ("dir", "/to", {"to": b""}, "cannot copy to non-directory"),
        ("dir", "/to", {"to/sub": b""}, "cannot copy to non-directory: sub"),
        ("dir", "/to", {"to/sub": "-> /", "safe": b""}, "cannot copy to non-directory: sub is a symbolic link"),
        ("dir", "/to", {"to/link": None}, "cannot replace the directory link with a file"),
        ("dir", "/to", {"to/x": None}, "cannot replace the directory x with a file"),
        ("a.txt", "/to/new", {"to": b""}, "cannot copy to non-directory: to is no directory"),
        ("a.txt", "/loop/new", {"loop": "-> loop"}, "cannot copy to /loop/new: too many symbolic links"),
    ],
)  # fmt: skip
def test_refusals(copy: Copy, sources: str, destination: str, before: dict[str, Node], words: str) -> None:
    tree(copy.context, FILES)
    tree(copy.root, before)
    with pytest.raises(ImageToolError) as error:
        copy(sources, destination)
    assert words in str(error.value)
    assert "\n" not in str(error.value)
    assert "safe" not in before or (copy.root / "safe").exists()


def test_owners_modes_and_times(copy: Copy) -> None:
    tree(copy.context, {"d": 0o2750, "d/f": b"f", "d/link": "-> f", "lonely": 0o700})
    os.chown(copy.context / "d", 7, 8)
    os.chown(copy.context / "d/f", 7, 8)
    os.chmod(copy.context / "d/f", 0o4711)
    os.utime(copy.context / "d/f", ns=(10**18 + 5, 10**18 + 7))
    os.setxattr(copy.context / "d/f", "user.x", b"1")
    copy("d", "/made/here")
    file = os.stat(copy.root / "made/here/f")
    assert (file.st_uid, file.st_gid, stat.S_IMODE(file.st_mode), file.st_mtime_ns) == (
        0,
        0,
        0o4711,
        10**18 + 7,
    )
    assert os.getxattr(copy.root / "made/here/f", "user.x") == b"1"
    assert {stat.S_IMODE(os.stat(copy.root / name).st_mode) for name in ("made", "made/here")} == {0o755}
    copy("lonely", "/x/y", CopyOptions(uid=5, gid=6))
    assert [(os.stat(copy.root / n).st_uid, os.stat(copy.root / n).st_gid) for n in ("x", "x/y")] == [
        (5, 6)
    ] * 2


def test_what_comes_from_a_stage_keeps_its_owner(copy: Copy) -> None:
    tree(copy.context, {"d/f": b"f", "d/sub": 0o711, "d/link": "-> f"})
    for name in ("f", "sub", "link"):
        os.chown(copy.context / "d" / name, 7, 8, follow_symlinks=False)
    copy("d", "/to", owners=True)
    owned = [os.lstat(copy.root / "to" / name) for name in ("f", "sub", "link")]
    assert {(info.st_uid, info.st_gid) for info in owned} == {(7, 8)}
    copy("d", "/given", CopyOptions(uid=1, gid=2), owners=True)
    assert os.lstat(copy.root / "given/link").st_uid == 1


def test_directories_below_get_the_looks_of_the_source_and_the_top_keeps_its_own(copy: Copy) -> None:
    tree(copy.context, {"d": 0o711, "d/sub": 0o711, "d/sub/f": b""})
    tree(copy.root, {"to": 0o700, "to/sub": 0o700})
    copy("d", "/to")
    assert [stat.S_IMODE(os.stat(copy.root / n).st_mode) for n in ("to", "to/sub")] == [0o700, 0o711]


def test_chmod_is_for_files_and_directories(copy: Copy) -> None:
    tree(copy.context, {"d/sub/f": b"", "d/x": b"", "d/link": "-> x"})
    os.chmod(copy.context / "d/x", 0o700)
    os.chmod(copy.context / "d/sub/f", 0o600)
    copy("d", "/octal", CopyOptions(chmod="0751"))
    copy("d", "/symbolic", CopyOptions(chmod="u=rwX,go=rX"))
    names = ("sub", "sub/f", "x")
    assert [stat.S_IMODE(os.stat(copy.root / "octal" / n).st_mode) for n in names] == [0o751] * 3
    assert [stat.S_IMODE(os.stat(copy.root / "symbolic" / n).st_mode) for n in names] == [0o755, 0o644, 0o755]


@pytest.mark.parametrize(
    ("text", "before", "after"),
    [
        ("644", 0o777, 0o644), ("4755", 0, 0o4755), ("07777", 0, 0o7777), ("0", 0o777, 0),
        ("u=rw", 0o777, 0o677), ("a+x", 0o644, 0o755), ("+x", 0o600, 0o711), ("go-rwx", 0o777, 0o700),
        ("u=rwX,go=rX", 0o644, 0o644), ("u=rwX,go=rX", 0o744, 0o755), ("u+s,g+s", 0o755, 0o6755), ("+t", 0o755, 0o1755),
        ("g=u", 0o740, 0o770), ("o=g-w", 0o660, 0o664), ("u-x+w", 0o500, 0o600), ("=", 0o6755, 0), ("", 0o644, 0o644),
        ("a=r", 0o7777, 0o444), ("g=", 0o2755, 0o705),
    ],
)  # fmt: skip
def test_chmod_values(text: str, before: int, after: int) -> None:
    assert modes.parse(text)(stat.S_IFREG | before) == after


@pytest.mark.parametrize("text", ["8", "99", "17777", "u", "u=z", "rwx", "u=r;", ",", "-1", "0o644", "u=r,"])
def test_chmod_values_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="invalid chmod parameter"):
        modes.parse(text)


@given(
    st.integers(0, 0o7777),
    st.text("ugoa", max_size=2),
    st.sampled_from("+-="),
    st.text("rwxXstugo", max_size=3),
)
def test_symbolic_modes_are_those_of_chmod(mode: int, who: str, sign: str, what: str) -> None:
    """Against chmod(1): with `a` for nobody, as there is no umask in an image."""
    import subprocess

    if (set(what) & set("ugo") and len(what) > 1) or (not who and sign == "="):
        return  # chmod(1) takes letters of one kind only
    with tempfile.NamedTemporaryFile() as file:
        os.chmod(file.name, mode)
        subprocess.run(["chmod", "--", f"{who or 'a'}{sign}{what}", file.name], check=True)
        expected = stat.S_IMODE(os.stat(file.name).st_mode)
    assert modes.parse(f"{who or 'a'}{sign}{what}")(stat.S_IFREG | mode) == expected


def test_ignored_files_are_not_there(copy: Copy) -> None:
    tree(copy.context, {**FILES, "secret/key": b"k", "secret/public": b"p"})
    rules = "*.md\nsecret\n!secret/public\nother"
    assert copy(".", "/", ignore=rules) == {
        **under("dir"), "a.txt": b"a", "b.txt": b"b", "secret/public": b"p", "to-file": "-> a.txt", "to-dir": "-> dir",
        "[odd]": b"odd", ".hidden": b"h",
    }  # fmt: skip
    for source in ("c.md", "secret/key", "other", "other/x", "*.md"):
        with pytest.raises(ImageToolError, match=r"dockerignore|no source files"):
            copy(source, "/to/", ignore=rules)
    assert copy("secret", "/s", ignore=rules)["s/public"] == b"p"


@given(
    st.lists(
        st.sampled_from(["a", "b", "a/b", "**/b", "!a", "!a/b", "!**/c", "*", "a/*", "!b/a/*"]), max_size=4
    )
)
def test_walking_ignores_what_each_path_alone_would(rules: list[str]) -> None:
    import itertools

    ignore = Ignore.parse("\n".join(rules))
    paths = ["/".join(names) for names in itertools.product("abc", repeat=3)]
    with tempfile.TemporaryDirectory() as place:
        tree(Path(place), dict.fromkeys(paths, b""))
        with Tree(place, ignore=ignore) as source:
            walked = {"/".join((*f.path, name)) for f in source.folder(()).walk() for name, _ in f.others}
    assert walked == {path for path in paths if not ignore.excludes(path)}


def test_excludes(copy: Copy) -> None:
    tree(copy.context, FILES)
    assert copy("dir", "/to", excludes=["sub"]) == {"to/link": "-> x", "to/x": b"x"}
    assert copy("*.txt c.md", "/t/", excludes=["a*", "*.md"]) == {
        "t/b.txt": b"b",
        **under("to", {"link": "-> x", "x": b"x"}),
    }
    assert "all/dir/x" in copy(".", "/all", excludes=["**/y", "*.txt", "!b.txt"])
    assert (copy.root / "all/b.txt").exists()
    assert not (copy.root / "all/a.txt").exists()
    assert not (copy.root / "all/dir/sub/y").exists()


def test_parents(copy: Copy) -> None:
    tree(copy.context, {**FILES, "deep": 0o711, "deep/er/f.txt": b"f", "deep/er/g": b"g"})
    assert copy("./dir/x a.txt", "/p/", parents=True) == {"p/a.txt": b"a", "p/dir/x": b"x"}
    copy("deep/./er/*.txt", "/pivot/", parents=True)
    assert listing(copy.root / "pivot") == {"er/f.txt": b"f"}
    copy("**/*.txt", "/all", parents=True)
    assert listing(copy.root / "all") == {"a.txt": b"a", "b.txt": b"b", "deep/er/f.txt": b"f"}
    assert stat.S_IMODE(os.stat(copy.root / "all/deep").st_mode) == 0o711
    copy("dir deep/er", "/d/", parents=True, excludes=["deep/er/g"])
    assert listing(copy.root / "d") == {**under("dir"), "deep/er/f.txt": b"f"}
    with pytest.raises(NotFound):
        copy("dir/missing", "/p/", parents=True)


def test_hard_links_and_holes_are_kept(copy: Copy) -> None:
    tree(copy.context, {"d/a": b"one", "d/sub/x": b"x"})
    os.link(copy.context / "d/a", copy.context / "d/sub/b")
    with open(copy.context / "d/sparse", "wb") as file:
        file.truncate(64 << 20)
        file.seek(32 << 20)
        file.write(b"data")
    copy("d", "/to")
    assert os.stat(copy.root / "to/a").st_ino == os.stat(copy.root / "to/sub/b").st_ino
    sparse = os.stat(copy.root / "to/sparse")
    assert (sparse.st_size, sparse.st_blocks < 4096) == (64 << 20, True)
    assert (copy.root / "to/sparse").read_bytes()[32 << 20 :][:5] == b"data\0"


def test_a_file_in_the_destination_is_replaced_not_written_to(copy: Copy) -> None:
    tree(copy.context, {"f": b"new"})
    tree(copy.root, {"f": b"old"})
    os.link(copy.root / "f", copy.root / "other")
    assert copy("f", "/f") == {"f": b"new", "other": b"old"}


def test_devices_and_pipes_are_copied_and_sockets_are_not(copy: Copy) -> None:
    import socket

    tree(copy.context, {"d": None})
    os.mkfifo(copy.context / "d/pipe", 0o640)
    os.mknod(copy.context / "d/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    with socket.socket(socket.AF_UNIX) as bound:
        here = os.getcwd()
        os.chdir(copy.context / "d")
        bound.bind("sock")
        os.chdir(here)
        copy("d", "/to")
    names = {path.name: path.lstat() for path in (copy.root / "to").iterdir()}
    assert set(names) == {"pipe", "null"}
    assert stat.S_ISFIFO(names["pipe"].st_mode)
    assert names["null"].st_rdev == os.makedev(1, 3)


def test_documents(copy: Copy) -> None:
    documents = {"EOF": "text\n", "two": "2"}
    assert copy("<<EOF", "/file", documents=documents) == {"file": b"text\n"}
    assert copy("<<EOF <<-'two'", "/d/", documents=documents) == {
        "d/EOF": b"text\n",
        "d/two": b"2",
        "file": b"text\n",
    }
    copy("<<EOF", "/run", CopyOptions(chmod="755", uid=3), documents=documents)
    info = os.stat(copy.root / "run")
    assert (stat.S_IMODE(info.st_mode), info.st_uid) == (0o755, 3)


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


CHANGES: list[tuple[str, Callable[[Path], object], bool]] = [
    ("nothing", lambda d: None, True),
    ("times", lambda d: os.utime(d / "f", (1, 1)), True),
    ("a copy", lambda d: (os.rename(d / "f", d / "g"), (d / "f").write_bytes(b"12345"), os.unlink(d / "g")), True),
    ("owner", lambda d: os.chown(d / "f", 5, 5), True),
    ("content", lambda d: (d / "f").write_bytes(b"54321"), False),
    ("content in place, times put back", lambda d: _rewrite(d / "f"), False),
    ("mode", lambda d: os.chmod(d / "f", 0o640), False),
    ("mode of a directory", lambda d: os.chmod(d / "sub", 0o700), False),
    ("name", lambda d: os.rename(d / "f", d / "g"), False),
    ("new", lambda d: (d / "new").touch(), False),
    ("new directory", lambda d: (d / "new").mkdir(), False),
    ("gone", lambda d: os.unlink(d / "sub/x"), False),
    ("target", lambda d: (os.unlink(d / "link"), os.symlink("sub", d / "link")), False),
    ("attribute", lambda d: os.setxattr(d / "f", "user.a", b"1"), False),
    ("hard link", lambda d: (os.unlink(d / "twin"), os.link(d / "f", d / "twin")), False),
    ("type", lambda d: (os.unlink(d / "f"), os.mkdir(d / "f")), False),
]  # fmt: skip


def _rewrite(path: Path) -> None:
    info = path.stat()
    with open(path, "r+b") as file:
        file.write(b"5")
    os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))


@pytest.mark.parametrize(("change", "same"), [row[1:] for row in CHANGES], ids=[row[0] for row in CHANGES])
@pytest.mark.parametrize("remember", [False, True])
def test_the_digest_is_of_the_content(
    copy: Copy, tmp_path: Path, change: Callable[[Path], object], same: bool, remember: bool
) -> None:
    tree(copy.context, {"d/f": b"12345", "d/twin": b"12345", "d/sub/x": b"x", "d/link": "-> f"})
    for path in copy.context.rglob("*"):
        os.utime(path, (1, 1), follow_symlinks=False)

    def digest() -> str:
        if not remember:
            return copy.digest("d")
        with Memory.open(str(tmp_path / "memory"), str(copy.context)) as memory:
            return copy.digest("d", memory=memory)

    before = digest()
    change(copy.context / "d")
    assert (digest() == before) is same
    assert digest() == copy.digest("d")


def test_digests_tell_sources_apart(copy: Copy) -> None:
    tree(copy.context, {**FILES, "twin": b"a"})
    asked = ["a.txt", "twin", "a.txt twin", "twin a.txt", "dir", "dir/sub", "dir other", "."]
    found = [copy.digest(sources) for sources in asked]
    assert len(set(found)) == len(asked)
    assert copy.digest("dir", excludes=["x"]) not in found


def test_what_is_remembered_is_not_read_again(
    copy: Copy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree(copy.context, FILES)
    old = [(path, path.lstat()) for path in (copy.context, *copy.context.rglob("*"))]
    import time

    monkeypatch.setattr(time, "time_ns", lambda: max(i.st_ctime_ns for _, i in old) + 3 * 10**9)
    with Memory.open(str(tmp_path / "memory"), str(copy.context)) as memory:
        before = copy.digest(".", memory=memory)
    monkeypatch.setattr("imagetool.build.content._content", None)
    (file,) = (tmp_path / "memory").iterdir()
    os.utime(file, (1, 1))
    with Memory.open(str(tmp_path / "memory"), str(copy.context)) as memory:
        assert copy.digest(".", memory=memory) == before
    assert file.stat().st_mtime > 1, "it counts as used"


def test_a_file_that_was_just_changed_is_not_trusted(copy: Copy, tmp_path: Path) -> None:
    """Two contents within one tick of the clock look the same to stat(2)."""
    tree(copy.context, {"f": b"one"})
    with Memory.open(str(tmp_path / "memory"), str(copy.context)) as memory:
        copy.digest("f", memory=memory)
        assert memory.get(os.lstat(copy.context / "f")) is None


def test_memories_that_nobody_uses_go(copy: Copy, tmp_path: Path) -> None:
    tree(copy.context, FILES)
    directory = tmp_path / "memory"

    def remember(context: str) -> None:
        with Memory.open(str(directory), context) as memory:
            memory.put(os.lstat("/etc"), b"1" * 32)

    remember("/old")
    os.utime(next(directory.iterdir()), (1, 1))
    remember("/new")
    assert len(list(directory.iterdir())) == 1
    assert forget(str(directory), older=0) > 0
    assert list(directory.iterdir()) == []
    assert forget(str(tmp_path / "missing")) == 0


@pytest.mark.parametrize("damage", [b"", b"imagetool contents 1\n", b"x" * 500])
def test_a_damaged_memory_is_none(copy: Copy, tmp_path: Path, damage: bytes) -> None:
    tree(copy.context, FILES)
    before = copy.digest(".")
    with Memory.open(str(tmp_path / "memory"), str(copy.context)) as memory:
        memory.put(os.lstat(copy.context), b"1" * 32)
        memory.changed = True
    (file,) = (tmp_path / "memory").iterdir()
    file.write_bytes(damage)
    with Memory.open(str(tmp_path / "memory"), str(copy.context)) as memory:
        assert copy.digest(".", memory=memory) == before


def test_the_size_that_is_announced(copy: Copy) -> None:
    tree(copy.context, {"Dockerfile": b"FROM scratch\n"})
    with Tree(copy.context) as source:
        assert source.transfer_size() == 2048


def test_deep_trees(copy: Copy) -> None:
    """Deeper than a path may be long."""
    fd = os.open(copy.context, os.O_RDONLY)
    for _ in range(40):
        os.mkdir("n" * 200, dir_fd=fd)
        below = os.open("n" * 200, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(os.open("leaf", os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=fd))
    os.close(fd)
    with Tree(copy.context) as source:
        sources = resolve(source, ["."])
        assert len(sources.digest()) == 64
        apply(sources, str(copy.root), "/", CopyOptions())
    with Tree(copy.root) as twin:
        assert resolve(twin, ["."]).digest() == sources.digest()


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
