"""The digest of what a COPY takes in, and what is remembered of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from imagetool.build.memory import Memory, forget
from tests.imagetool.build.copykit import FILES, Copy, tree

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
