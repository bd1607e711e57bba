"""The union core, without a mount: copy-up, links, attributes, and the descriptors it holds."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Scratch
from tests.support.core import ME, Core
from tests.support.notation import WHITEOUT, Tree, directory, file, hardlink, symlink
from tests.unit.conftest import Union, refused
from unionfs.model import NOW, Change, Policy
from unionfs.sysfd import RENAME_EXCHANGE


def test_two_directories_are_at_hand_at_once_however_few_may_be_open(union: Union) -> None:
    fs = union({f"l{i}/f": b"%d" % i for i in range(4)})
    upper = fs.tree.upper
    assert upper is not None
    upper.max_dirs = upper.max_files = 1
    for i in range(4):
        fs.mkdir(f"d{i}")
        fs.create(f"d{i}/f", b"%d" % i)
    for i in range(4):
        fs.rename(f"d{i}/f", f"d{(i + 1) % 4}/g")
        fs.rename(f"l{i}/f", f"d{i}/l")
    for i in range(4):
        fs.link(f"d{i}/g", f"d{(i + 2) % 4}/h")
    for i in range(4):
        fs.rename(f"d{i}/g", f"d{(i + 1) % 4}/g", RENAME_EXCHANGE)
        fs.files.copy_range(fs.ino(f"d{i}/h"), 0, fs.create(f"d{(i + 3) % 4}/c").ino, 0, 9)
    # Each exchange hands on the first file, 3, by one.
    assert [fs.read(f"d{i}/g") for i in range(4)] == [b"3", b"1", b"2", b"0"]
    assert [fs.read(f"d{i}/h") for i in range(4)] == [b"1", b"2", b"3", b"0"]
    assert [fs.read(f"d{i}/c") for i in range(4)] == [b"2", b"3", b"0", b"1"]
    assert [fs.read(f"d{i}/l") for i in range(4)] == [b"0", b"1", b"2", b"3"]


def test_a_program_that_runs_from_the_top_layer_can_be_read(union: Union) -> None:
    fs = union({})
    fs.create("sleep", Path("/bin/sleep").read_bytes())
    fs.tree.setattr(fs.ino("sleep"), Change(mode=0o755))
    fs.remount()
    running = subprocess.Popen([fs.upper_dir / "sleep", "100"])
    try:
        assert fs.read("sleep")[:4] == b"\x7fELF"
        with refused(errno.ETXTBSY):
            fs.write("sleep", b"text")
        assert fs.read("sleep")[:4] == b"\x7fELF"
    finally:
        running.kill()
        running.wait()
    fs.write("sleep", b"text")
    assert fs.read("sleep")[:4] == b"text"


def test_a_copy_without_data_may_take_blocks_for_its_attributes(union: Union) -> None:
    fs = union({"f": b"data"})
    fs.close()
    (fs.upper_dir / "f").write_bytes(b"\0\0\0\0")
    os.setxattr(fs.upper_dir / "f", "trusted.overlay.metacopy", b"")
    fs.mount()
    assert fs.read("f") == b"data"
    fs.write("f", b"D")
    assert fs.read("f") == b"Data"


def test_a_copy_without_data_in_the_lowest_layer_is_an_error(scratch: Scratch) -> None:
    base = Path(tempfile.mkdtemp(dir=scratch.tmpfs))
    fs = Core(base, [{"f": file(b"\0\0\0\0", xattrs={"trusted.overlay.metacopy": b""})}])
    assert fs.stat("f").size == 4
    with refused(errno.EIO):
        fs.read("f")
    with refused(errno.EIO):
        fs.write("f", b"D")
    fs.close()


def test_closing_a_tree_closes_every_descriptor(union: Union) -> None:
    before = os.listdir("/proc/self/fd")
    fs = union({"d/f": b"1", "d/sub/g": b"2"})
    fs.write("d/f", b"L")
    fs.create("new", b"mine")
    fs.ino("new")
    fs.unlink("new")
    fs.rename("d/sub", "moved")
    fs.close()
    assert os.listdir("/proc/self/fd") == before
    fs.mount()


def test_copy_up_keeps_what_the_file_was(union: Union) -> None:
    attrs = {"user.k": b"v", "trusted.t": b"w"}
    fs = union({"d": directory(0o750), "d/f": file(b"hello", 0o640, uid=7, gid=8, xattrs=attrs)})
    before, above = fs.stat("d/f"), fs.stat("d")
    fs.change("d/f", mtime=(5, 6))
    after = fs.stat("d/f")
    assert after._replace(ctime=0, ctimensec=0, blocks=0, blksize=0) == before._replace(
        mtime=5, mtimensec=6, ctime=0, ctimensec=0, blocks=0, blksize=0
    )
    assert fs.stat("d")[4:5] + fs.stat("d")[7:8] == above[4:5] + above[7:8]
    assert {k: fs.tree.getxattr(fs.ino("d/f"), k.encode()) for k in attrs} == attrs
    assert fs.read("d/f") == b"hello"


def test_the_inode_number_outlives_copy_up_and_remount(union: Union) -> None:
    fs = union({"d/f": b"x"})
    inos = fs.ino("d"), fs.ino("d/f")
    fs.write("d/f", b"y")
    fs.rename("d/f", "g")
    assert fs.ino("g") == inos[1]
    fs.remount()
    assert (fs.ino("d"), fs.ino("g")) == inos


def test_the_numbers_of_other_layers_are_not_believed(union: Union) -> None:
    """A top layer that is moved over other layers keeps no number that could be another file's there."""
    fs = union({"f": b"x", "g": b"y"})
    fs.write("f", b"z")
    fs.close()
    fs.places[0] = fs._write(9, {"a": b"", "f": b"x", "g": b"y"})
    fs.mount()
    assert len({fs.ino("a"), fs.ino("f"), fs.ino("g")}) == 3


def test_a_reader_sees_what_was_copied_up_under_it(union: Union) -> None:
    fs = union({"f": b"old text"})
    ino = fs.ino("f")
    assert fs.files.read(ino, 0, 8) == b"old text"
    fs.files.write(ino, 0, b"new")
    assert fs.files.read(ino, 0, 8) == b"new text"


def test_hard_links_survive_copy_up_and_remount(union: Union) -> None:
    fs = union({"a": b"one", "d/b": hardlink("a"), "d/c": hardlink("a")})
    assert fs.stat("a").nlink == 3
    fs.write("d/b", b"O")
    assert (fs.read("a"), fs.read("d/c"), fs.stat("a").nlink) == (b"One", b"One", 3)
    fs.remount()
    assert len({fs.ino("a"), fs.ino("d/b"), fs.ino("d/c")}) == 1
    fs.unlink("a")
    fs.remount()
    assert (fs.stat("d/c").nlink, fs.read("d/b")) == (2, b"One")


def test_a_hard_link_that_is_open_but_unlinked_still_is_one(union: Union) -> None:
    fs = union({"d/a": b"one file", "b": hardlink("d/a")})
    ino = fs.ino("b")
    fs.unlink("b")
    fs.files.write(ino, 0, b"ONE")
    assert (fs.read("d/a"), fs.ino("d/a"), fs.stat("d/a").nlink) == (b"ONE file", ino, 1)
    fs.remount()
    assert (fs.listing(), fs.read("d/a"), fs.stat("d/a").nlink) == (["d"], b"ONE file", 1)


def test_link_counts_are_right_after_an_unlink_and_a_remount(union: Union) -> None:
    fs = union({"a": b"one", "d/b": hardlink("a")})
    ino = fs.ino("a")
    fs.unlink("d/b")
    assert fs.tree.getattr(ino).nlink == 1
    fs.remount()
    assert (fs.stat("a").nlink, fs.in_upper()) == (1, {"d", "d/!b"})


def test_link_of_a_lower_file(union: Union) -> None:
    fs = union({"a": b"one", "gone": b""})
    fs.unlink("gone")
    assert fs.link("a", "b").nlink == 2
    assert fs.link("a", "gone").nlink == 3
    fs.remount()
    assert fs.ino("a") == fs.ino("b") == fs.ino("gone")


THIN = Policy(metacopy_from=4096)


@pytest.mark.parametrize("changed", [True, False])
def test_a_large_file_moves_without_its_data(union: Union, changed: bool) -> None:
    fs = union({"d/f": b"x" * 5000, "e/h": b""}, policy=THIN)
    ino = fs.ino("d/f")
    if changed:
        fs.change("d/f", mode=0o600)
    for old, new in (("d/f", "d/g"), ("d/g", "e/f"), ("e", "d/e")):
        fs.rename(old, new)
    assert (fs.upper_dir / "d/e/f").stat().st_blocks == 0
    assert (fs.mark("d/e/f", "metacopy"), fs.mark("d/e/f", "redirect")) == (b"", b"/d/f")
    for _ in range(2):
        assert (fs.read("d/e/f"), fs.listing("d"), fs.ino("d/e/f")) == (b"x" * 5000, ["e"], ino)
        fs.remount()
    fs.write("d/e/f", b"y", 4999)
    assert (fs.mark("d/e/f", "metacopy"), fs.mark("d/e/f", "redirect")) == (None, None)
    assert (fs.upper_dir / "d/e/f").read_bytes() == b"x" * 4999 + b"y"


def test_a_large_file_is_linked_without_its_data(union: Union) -> None:
    fs = union({"f": b"x" * 5000, "gone": b""}, policy=THIN)
    fs.unlink("gone")
    assert (fs.link("f", "g").nlink, fs.link("g", "gone").nlink) == (2, 3)
    assert (fs.upper_dir / "g").stat().st_blocks == 0
    fs.rename("f", "h")
    fs.remount()
    assert len({fs.ino(name) for name in ("g", "gone", "h")}) == 1
    assert [fs.read(name) for name in fs.listing()] == [b"x" * 5000] * 3
    fs.write("g", b"y", 4999)
    fs.unlink("g")
    assert [fs.read(name) for name in fs.listing()] == [b"x" * 4999 + b"y"] * 2


def test_large_files_change_places_without_their_data(union: Union) -> None:
    fs = union({"f": b"x" * 5000, "g": b"y" * 6000}, policy=THIN)
    fs.rename("f", "g", RENAME_EXCHANGE)
    fs.remount()
    assert (fs.read("f"), fs.read("g")) == (b"y" * 6000, b"x" * 5000)
    assert (fs.mark("f", "redirect"), fs.mark("g", "redirect")) == (b"/g", b"/f")


def test_small_files_and_those_with_several_names_move_with_their_data(union: Union) -> None:
    deep = "/".join(["a" * 250] * 5)
    above: Tree = {"over/k": b"k" * 5000}
    below: Tree = {
        "f": b"x" * 5000,
        "g": hardlink("f"),
        "small": b"s",
        "over/l": b"l" * 5000,
        f"{deep}/m": b"m" * 5000,
    }
    fs = union(above, below, policy=THIN)
    for old, new in (("f", "f2"), ("small", "small2"), (f"{deep}/m", "m")):  # no room for its redirect
        fs.rename(old, new)
        assert (fs.mark(new, "metacopy"), fs.mark(new, "redirect")) == (None, None), old
    for name in ("k", "l"):  # of a directory that merges
        fs.rename(f"over/{name}", name)
        assert fs.mark(name, "redirect") == f"/over/{name}".encode()
    fs.remount()
    seen = {name: fs.read(name)[:1] for name in ("f2", "g", "small2", "m", "k", "l")}
    assert seen == {"f2": b"x", "g": b"x", "small2": b"s", "m": b"m", "k": b"k", "l": b"l"}


@pytest.mark.parametrize("hidden", [False, True])
def test_a_file_that_a_layer_has_moved_moves_again(scratch: Scratch, hidden: bool) -> None:
    """By the name that the layers show, where one above hides the place that the data are in."""
    moved = file(b"\0" * 5000, xattrs={"trusted.overlay.metacopy": b"", "trusted.overlay.redirect": b"/was"})
    above: Tree = {"moved": moved} | ({"was": b"other"} if hidden else {})
    fs = Core(Path(tempfile.mkdtemp(dir=scratch.tmpfs)), [above, {"was": b"w" * 5000}], policy=THIN)
    try:
        fs.rename("moved", "again")
        assert fs.mark("again", "redirect") == (b"/moved" if hidden else b"/was")
        fs.remount()
        fs.rename("again", "at last")
        fs.remount()
        assert (fs.mark("at last", "metacopy"), fs.read("at last")) == (b"", b"w" * 5000)
    finally:
        fs.close()


def test_a_file_that_has_no_room_for_a_redirect_moves_with_its_data(
    union: Union, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on ext4, which has one block for all attributes of a file."""
    full, setxattr = b"x" * 4096, os.setxattr

    def refuse(path: str | bytes | int, key: bytes, *args: Any, **options: Any) -> None:
        if key.endswith(b"redirect"):
            raise OSError(errno.ENOSPC, "no room")
        setxattr(path, key, *args, **options)

    fs = union({"f": full, "g": full}, policy=THIN)
    monkeypatch.setattr(os, "setxattr", refuse)
    fs.rename("f", "f2")
    fs.link("g", "g2")
    fs.remount()
    assert [(fs.read(name), fs.mark(name, "metacopy")) for name in ("f2", "g", "g2")] == [(full, None)] * 3


LED: tuple[Tree, Tree] = (
    {
        "z": directory(xattrs={"trusted.overlay.redirect": b"/d"}),
        "d": directory(xattrs={"trusted.overlay.redirect": b"/e"}),
        "e": WHITEOUT,
        "d/own": b"own",
    },
    {"d/f": b"d" * 5000, "e/f": b"e" * 5000, "d/s/t": b"d", "e/s/t": b"e"},
)
"""Directories that a layer has moved: z was d, and d was e."""


def test_a_redirect_is_followed_through_moved_directories(scratch: Scratch) -> None:
    fs = Core(Path(tempfile.mkdtemp(dir=scratch.tmpfs)), LED, policy=THIN)
    try:
        assert (fs.listing("z"), fs.listing("d"), fs.listing()) == (["f", "s"], ["f", "own", "s"], ["d", "z"])
        fs.close()
        for name, target in (("one", b"/z/f"), ("two", b"/d/f")):  # as the kernel notes its renames
            (fs.upper_dir / name).write_bytes(bytes(5000))
            os.setxattr(fs.upper_dir / name, "trusted.overlay.metacopy", b"")
            os.setxattr(fs.upper_dir / name, "trusted.overlay.redirect", target)
        fs.mount()
        assert (fs.read("one")[:1], fs.read("two")[:1]) == (b"d", b"e")
        fs.rename("z/f", "g")
        fs.rename("d/f", "h")
        assert (fs.mark("g", "redirect"), fs.mark("h", "redirect")) == (b"/z/f", b"/d/f")
        fs.rename("z/s", "s")
        fs.rename("z", "y")
        fs.rename("d", "y/d")
        fs.rename("y/d/s", "s2")
        assert [fs.mark(name, "redirect") for name in ("s", "y", "y/d", "s2")] == [
            b"/z/s",
            b"/z",
            b"/d",
            b"/d/s",
        ]
        for _ in range(2):
            assert (fs.read("g"), fs.read("h")) == (b"d" * 5000, b"e" * 5000)
            assert (fs.read("s/t"), fs.read("s2/t"), fs.read("y/d/own")) == (b"d", b"e", b"own")
            fs.remount()
    finally:
        fs.close()


def test_a_top_layer_without_attributes(union: Union, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a tmpfs of Linux before 6.6, for users: what overlayfs does without them is done."""

    def refuse(*args: object, **options: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "no attributes")

    fs = union({"big": b"x" * 5000, "a": b"a", "b": hardlink("a"), "d/f": b""}, policy=THIN)
    fs.close()
    monkeypatch.setattr(os, "setxattr", refuse)
    fs.mount()
    fs.change("big", mode=0o600)
    fs.rename("big", "big2")
    fs.unlink("a")
    fs.mkdir("new")
    fs.rename("new", "newer")
    with refused(errno.EXDEV):
        fs.rename("d", "e")
    fs.remount()
    assert (fs.listing(), fs.read("big2"), fs.read("b")) == (["b", "big2", "d", "newer"], b"x" * 5000, b"a")
    assert stat.S_IMODE(fs.stat("big2").mode) == 0o600


def test_truncate_copies_only_what_stays(union: Union) -> None:
    fs = union({"f": b"x" * 5000})
    fs.change("f", size=10)
    assert fs.read("f") == b"x" * 10
    fs.change("f", size=20)
    assert fs.read("f") == b"x" * 10 + bytes(10)


def test_truncate_to_the_same_size_is_no_change(union: Union) -> None:
    fs = union({"f": b"", "g": b"xy"})
    for path, size in (("f", 0), ("g", 2)):
        before = fs.stat(path)
        after = fs.change(path, size=size)
        assert (after.mtime, after.mtimensec) == (before.mtime, before.mtimensec)


def test_symlinks_copy_up_as_they_are(union: Union) -> None:
    fs = union({"s": symlink("../t", uid=5)})
    fs.change("s", mtime=(1, 2))
    assert (fs.tree.readlink(fs.ino("s")), fs.stat("s").uid, fs.stat("s").mtime) == (b"../t", 5, 1)


def test_the_overlays_own_attributes_are_hidden(union: Union) -> None:
    fs = union({"f": b"x", "d/g": b""})
    fs.write("f", b"y")
    fs.rename("d", "e")
    assert (fs.tree.listxattr(fs.ino("f")), fs.tree.listxattr(fs.ino("e"))) == ([], [])
    fs.tree.setxattr(fs.ino("f"), b"trusted.overlay.opaque", b"mine")
    assert fs.mark("f", "overlay.opaque") == b"mine"
    assert fs.tree.listxattr(fs.ino("f")) == [b"trusted.overlay.opaque"]
    assert fs.tree.getxattr(fs.ino("f"), b"trusted.overlay.opaque") == b"mine"


def test_xattrs(union: Union) -> None:
    fs = union({"f": file(b"x", xattrs={"user.a": b"1"})})
    ino = fs.ino("f")
    with refused(errno.ENODATA):
        fs.tree.removexattr(ino, b"user.none")
    assert fs.in_upper() == set()
    fs.tree.setxattr(ino, b"user.b", b"2")
    fs.tree.removexattr(ino, b"user.a")
    assert fs.tree.listxattr(ino) == [b"user.b"]
    with refused(errno.EEXIST):
        fs.tree.setxattr(ino, b"user.b", b"3", os.XATTR_CREATE)


def test_a_nameless_file_can_get_a_name(union: Union) -> None:
    fs = union({"gone": b""})
    fs.unlink("gone")
    attr = fs.tree.tmpfile(1, 0o600, ME)
    fs.files.write(attr.ino, 0, b"data")
    assert (attr.nlink, fs.listing()) == (0, [])
    assert fs.tree.link(attr.ino, 1, b"named").nlink == 1
    assert fs.tree.link(attr.ino, 1, b"gone").nlink == 2
    assert fs.read("named") == fs.read("gone") == b"data"


def test_cookies_survive_changes(union: Union) -> None:
    fs = union({f"d/{n:02}": b"" for n in range(40)})
    rows = list(fs.tree.readdir(fs.ino("d"), 0))
    cookie = rows[21].cookie
    rest = [row.name for row in rows[22:]]
    for n in range(0, 40, 2):
        fs.unlink(f"d/{n:02}")
    fs.create("d/new")
    after = [row.name for row in fs.tree.readdir(fs.ino("d"), cookie)]
    assert after == [name for name in rest if int(name) % 2] + [b"new"]


def test_now_is_the_clock_of_the_file_system(union: Union) -> None:
    fs = union({"f": b""})
    made = fs.create("g")
    changed = fs.change("f", mtime=NOW)
    assert (changed.mtime, changed.mtimensec) >= (made.mtime, made.mtimensec)


def test_kill_suidgid(union: Union) -> None:
    fs = union({"f": file(b"x", 0o6755), "g": file(b"x", 0o2644)})
    fs.files.write(fs.ino("f"), 0, b"y", kill_suidgid=True)
    fs.files.write(fs.ino("g"), 0, b"y", kill_suidgid=True)
    assert (fs.stat("f").mode, fs.stat("g").mode) == (0o100755, 0o102644)
