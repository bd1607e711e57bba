"""What SEMANTICS.md says of the union and no other test shows: layers, then an action, then the view."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Scratch
from tests.support.core import Core
from tests.support.notation import Tree, directory, hardlink, symlink
from unionfs import options, sysfd
from unionfs.model import Policy
from unionfs.override import CONTAINERS

Union = Callable[..., Core]


@pytest.fixture
def union(scratch: Scratch) -> Iterator[Union]:
    """`union(layer, …, kind=…, policy=…)`: the topmost layer first."""
    made: list[Core] = []

    def make(*layers: Tree, kind: str = "dir", policy: Policy | None = None) -> Core:
        made.append(Core(Path(tempfile.mkdtemp(dir=scratch.tmpfs)), layers, kind, policy))
        return made[-1]

    before = os.umask(0)
    yield make
    os.umask(before)
    for core in made:
        core.close()


@pytest.mark.parametrize("kind", ["dir", "tar"])
def test_a_directory_of_several_layers_has_one_link(union: Union, kind: str) -> None:
    fs = union({"two/a/f": b""}, {"two/b/f": b"", "one/a": directory()}, kind=kind)
    assert (fs.stat("two").nlink, fs.stat("one").nlink) == (1, 3 if kind == "tar" else fs.stat("one").nlink)
    fs.create("one/new")
    assert fs.stat("one").nlink == 1


@pytest.mark.parametrize("kind", ["dir", "tar"])
def test_an_inode_number_tells_its_layer(union: Union, kind: str) -> None:
    fs = union({"top": b""}, {"middle": b""}, {"bottom": b""}, kind=kind)
    fs.create("own")
    layers = {name: fs.ino(name) >> 48 for name in ("own", "bottom", "middle", "top")}
    assert layers == {"own": 0, "bottom": 1, "middle": 2, "top": 3}


@pytest.mark.parametrize("kind", ["dir", "tar"])
def test_a_hard_link_below_a_renamed_directory_is_found(union: Union, kind: str) -> None:
    fs = union({"d/s/f": b"old", "g": hardlink("d/s/f")}, kind=kind)
    fs.mkdir("own")
    fs.rename("d", "own/moved")
    assert fs.stat("g").nlink == 2
    fs.rename("own", "other")
    fs.remount()
    assert fs.stat("g").nlink == 2
    fs.write("g", b"new")
    assert (fs.read("g"), fs.read("other/moved/s/f")) == (b"new", b"new")


def test_a_directory_below_one_that_a_layer_has_moved_is_renamed(union: Union) -> None:
    """Its layers only meet there."""
    moved = directory(xattrs={"trusted.overlay.redirect": b"/old"})
    fs = union({"new": moved, "new/sub/a": b""}, {"old/sub/b": b""})
    assert fs.listing("new/sub") == ["a", "b"]
    fs.rename("new/sub", "sub")
    fs.rename("new", "newer")
    for _ in range(2):
        assert (fs.listing("sub"), fs.listing("newer")) == (["a", "b"], [])
        fs.remount()


def test_a_volatile_top_layer_can_be_mounted_again(union: Union) -> None:
    fs = union({"f": b"x"}, policy=Policy(volatile=True))
    fs.write("f", b"y")
    (fs.work_dir / "work" / "incompat" / "volatile").mkdir(parents=True)  # the mark of the kernel
    fs.remount()
    assert (fs.read("f"), os.listdir(fs.work_dir / "work")) == (b"y", [])


def test_a_symbolic_link_has_no_attribute_for_its_owner(union: Union) -> None:
    fs = union({"f": b"", "l": symlink("f")}, policy=Policy(override=CONTAINERS))
    for name in ("f", "l"):
        fs.change(name, uid=7, gid=8)
    assert (fs.stat("f").uid, fs.stat("l").uid) == (7, os.geteuid())
    assert fs.tree.readlink(fs.ino("l")) == b"f"


def test_a_link_keeps_its_number_only_where_attributes_can(union: Union) -> None:
    """Linux allows user.* attributes on files and directories only."""
    fs = union({"f": b"", "l": symlink("f")}, policy=Policy(userxattr=True))
    before = fs.ino("f"), fs.ino("l")
    for name in ("f", "l"):
        fs.change(name, mtime=(1, 2))
    assert (fs.ino("f"), fs.ino("l")) == before
    fs.remount()
    assert (fs.ino("f") == before[0], fs.ino("l") == before[1]) == (True, False)


@pytest.mark.parametrize(("target", "left"), [("lower", b"lower f"), ("own", b"own")])
def test_a_crash_in_a_rename_with_attribute_whiteouts_leaves_both_names(
    union: Union, monkeypatch: pytest.MonkeyPatch, target: str, left: bytes
) -> None:
    fs = union({"f": b"lower f", "lower": b"lower"})
    fs.write("f", b"UPPER")
    fs.create("own", b"own")
    assert fs.tree.upper is not None
    fs.tree.upper.mknod_whiteouts = False
    rename, done = sysfd.rename, []

    def only_the_first(olddir: int, old: bytes, newdir: int, new: bytes, flags: int = 0) -> None:
        if done:
            raise KeyboardInterrupt
        done.append(new)
        rename(olddir, old, newdir, new, flags)

    monkeypatch.setattr(sysfd, "rename", only_the_first)
    with pytest.raises(KeyboardInterrupt):
        fs.rename("f", target)
    fs.remount()
    assert (fs.read("f"), fs.read(target)) == (left, b"UPPER f")


def test_allow_root_is_not_an_option() -> None:
    assert options.parse(["allow_root"]).unknown == ("allow_root",)


def test_data_only_layers_are_refused() -> None:
    with pytest.raises(options.SetupError, match="data-only"):
        options.parse(["lowerdir=a::b"])
