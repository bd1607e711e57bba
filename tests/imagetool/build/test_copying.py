"""COPY: Docker's rules for sources and destinations, owners, modes, and what is left out."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagetool.build import modes
from imagetool.build.copying import CopyOptions, apply, resolve
from imagetool.build.ignore import Ignore
from imagetool.build.trees import Tree
from imagetool.errors import ImageToolError, NotFound, UsageError
from tests.imagetool.build.copykit import FILES, Copy, Node, listing, tree, under

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
