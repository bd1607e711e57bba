"""The union core, without a mount: layers, then an action, then what the view and the top layer are."""

from __future__ import annotations

import errno
import os
import stat
import threading
from pathlib import Path

import pytest

from tests.support.archives import END, header
from tests.support.core import ME
from tests.support.notation import WHITEOUT, directory, hardlink, symlink
from tests.unit.conftest import Union, refused
from unionfs import sysfd
from unionfs.errors import UnionError
from unionfs.layers.tarball import open_tar_layer
from unionfs.model import Caller, Policy
from unionfs.override import CONTAINERS
from unionfs.tree import UnionTree


def test_one_bad_entry_does_not_hide_the_others(union: Union) -> None:
    fs = union({"a": b"", "z": b""})
    fs.close()
    (fs.upper_dir / "bad").write_bytes(b"text")
    os.setxattr(fs.upper_dir / "bad", "trusted.overlay.metacopy", b"")
    fs.mount()
    assert fs.listing("") == ["a", "bad", "z"]
    with refused(errno.EIO):
        fs.stat("bad")


def test_upper_layers_hide_lower_ones(union: Union) -> None:
    fs = union({"a": b"top", "gone": WHITEOUT}, {"a": b"below", "gone": b"x", "b": b"kept"})
    assert (fs.read("a"), fs.read("b"), fs.listing()) == (b"top", b"kept", ["a", "b"])


def test_directories_merge_until_an_opaque_one(union: Union) -> None:
    fs = union({"d/1": b""}, {"d": directory(opaque=True), "d/2": b""}, {"d/3": b""})
    assert fs.listing("d") == ["1", "2"]


def test_a_file_ends_the_merge(union: Union) -> None:
    fs = union({"d/1": b""}, {"d": b"a file"}, {"d/3": b""})
    assert fs.listing("d") == ["1"]


def test_without_a_top_layer_nothing_changes(union: Union) -> None:
    fs = union({"f": b"x"}, upper=False)
    for action in (
        lambda: fs.write("f", b"y"),
        lambda: fs.create("g"),
        lambda: fs.unlink("f"),
        lambda: fs.rename("f", "g"),
        lambda: fs.change("f", mode=0o600),
    ):
        with refused(errno.EROFS):
            action()


def test_unlink_copies_nothing(union: Union) -> None:
    fs = union({"d/f": b"x" * 100_000})
    fs.unlink("d/f")
    assert fs.in_upper() == {"d", "d/!f"}
    assert fs.listing("d") == []


def test_rmdir_hides_lower(union: Union) -> None:
    fs = union({"d/f": b"x"})
    with refused(errno.ENOTEMPTY):
        fs.rmdir("d")
    fs.unlink("d/f")
    fs.rmdir("d")
    assert (fs.listing(), fs.in_upper()) == ([], {"!d"})


def test_a_new_directory_over_a_deleted_one_is_opaque(union: Union) -> None:
    fs = union({"d/f": b"x"})
    fs.unlink("d/f")
    fs.rmdir("d")
    fs.mkdir("d")
    assert (fs.listing("d"), fs.mark("d", "opaque")) == ([], b"y")
    fs.remount()
    assert fs.listing("d") == []


def test_a_new_file_over_a_deleted_one(union: Union) -> None:
    fs = union({"f": b"old"})
    fs.unlink("f")
    fs.create("f", b"new")
    assert (fs.read("f"), fs.in_upper()) == (b"new", {"f"})
    with refused(errno.EEXIST):
        fs.create("f")


def test_new_entries_belong_to_the_caller(union: Union) -> None:
    fs = union({"d": directory(0o2775, gid=50)})
    assert fs.create("f", caller=Caller(1000, 1001, 0, 0o027))[9:13] == (0o100640, 1, 1000, 1001)
    fs.tree.mkdir(*fs.place("d/sub"), 0o777, Caller(1000, 1001, 0, 0o022))
    sub = fs.stat("d/sub")
    assert (sub.mode, sub.uid, sub.gid) == (0o42755, 1000, 50)


def test_a_whiteout_cannot_be_made_by_hand(union: Union) -> None:
    fs = union({})
    with refused(errno.EPERM):
        fs.tree.mknod(*fs.place("w"), stat.S_IFCHR, 0, ME)


def test_unlinked_files_live_until_forgotten(union: Union) -> None:
    fs = union({"f": b"lower", "g": b"copied"})
    f, g = fs.ino("f"), fs.ino("g")
    fs.files.write(g, 0, b"C")
    fs.unlink("f")
    fs.unlink("g")
    assert (fs.files.read(f, 0, 9), fs.files.read(g, 0, 9)) == (b"lower", b"Copied")
    assert (fs.tree.getattr(f).nlink, fs.tree.getattr(g).nlink) == (0, 0)
    fs.files.write(f, 0, b"L")
    assert fs.files.read(f, 0, 9) == b"Lower"
    assert fs.in_upper() == {"!f", "!g"}
    for ino in (f, g):
        fs.tree.forget(ino, 9)
        with refused(errno.ESTALE):
            fs.tree.getattr(ino)


@pytest.mark.parametrize("count", [1000, 1001])
def test_many_whiteouts_go_with_their_directory_in_a_thread(
    union: Union, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    fs = union({f"d/{number}": b"" for number in range(count)})
    for number in range(count):
        fs.unlink(f"d/{number}")
    threads: list[threading.Thread] = []
    monkeypatch.setattr(threading.Thread, "start", lambda thread: threads.append(thread))
    fs.rmdir("d")
    monkeypatch.undo()
    work = fs.work_dir / "work"
    assert (fs.listing(), fs.in_upper()) == ([], {"!d"})
    assert (len(threads), len(os.listdir(work))) == (count > 1000, count > 1000)
    descriptors = len(os.listdir("/proc/self/fd"))
    for thread in threads:
        thread.start()
        thread.join()
    assert os.listdir(work) == []
    assert len(os.listdir("/proc/self/fd")) == descriptors - len(threads)


def test_chmod_of_a_large_file_copies_no_data(union: Union) -> None:
    fs = union({"f": b"x" * 5000}, policy=Policy(metacopy_from=4096))
    fs.change("f", mode=0o600)
    assert (fs.upper_dir / "f").stat().st_blocks == 0
    assert (fs.mark("f", "metacopy"), fs.read("f"), fs.stat("f").mode) == (b"", b"x" * 5000, 0o100600)
    fs.remount()
    assert fs.read("f") == b"x" * 5000
    fs.write("f", b"y", 4999)
    assert (fs.read("f"), fs.mark("f", "metacopy")) == (b"x" * 4999 + b"y", None)
    assert (fs.upper_dir / "f").read_bytes() == b"x" * 4999 + b"y"


def test_names_that_nobody_asked_for_leave_no_trace(union: Union) -> None:
    fs = union({"a/b/c/f": b"", "a/b/g": hardlink("a/b/c/f")})
    list(fs.tree.readdirplus(1, 0))
    ino = fs.tree.lookup(1, b"a").ino
    list(fs.tree.readdirplus(ino, 0))
    fs.tree.forget(ino, 1)
    fs.tree.nodes.sweep()
    assert set(fs.tree.nodes) == {1}


def test_the_mode_of_a_symbolic_link_is_not_that_of_its_target(union: Union, tmp_path: Path) -> None:
    """The kernel itself refuses it since Linux 6.6. The link leads out of the union, where its server may do more."""
    (tmp_path / "outside").touch(0o600)
    fs = union({"l": symlink(str(tmp_path / "outside"))})
    for policy in (Policy(), Policy(override=CONTAINERS)):
        fs.close()
        fs.policy = policy
        fs.mount()
        with refused(errno.EOPNOTSUPP):
            fs.change("l", mode=0o777)
    assert (stat.S_IMODE((tmp_path / "outside").stat().st_mode), fs.in_upper()) == (0o600, set())


def test_long_names_are_refused(union: Union) -> None:
    fs = union({})
    for action in (lambda: fs.create("x" * 256), lambda: fs.ino("x" * 256)):
        with refused(errno.ENAMETOOLONG):
            action()


def test_refresh_sees_changes_behind_the_mount(union: Union) -> None:
    fs = union({"d/f": b"x"})
    fs.mkdir("d/own")
    fs.listing("d")
    (fs.upper_dir / "d" / "behind").write_bytes(b"z")
    known = fs.tree.refresh()
    assert fs.listing("d") == ["behind", "f", "own"]
    assert (fs.ino("d"), b"own") in known


def test_a_directory_whose_whiteout_goes_behind_the_mount_is_not_the_one_that_was_removed(
    union: Union,
) -> None:
    fs = union({"d/f": b"x"})
    fs.unlink("d/f")
    fs.ino("d")
    fs.rmdir("d")
    (fs.upper_dir / "d").unlink()
    fs.tree.refresh()
    fs.write("d/f", b"new")
    assert fs.in_upper() == {"d", "d/f"}


def test_an_error_of_the_union_is_an_oserror() -> None:
    assert UnionError(errno.EXDEV).strerror == os.strerror(errno.EXDEV)


def test_a_directory_that_a_layer_only_implies_is_the_lower_ones(tmp_path: Path) -> None:
    described = header(b"d/", b"5", mode=0o700) + header(b"./", b"5", mode=0o711) + END
    for name, archive in (("0", header(b"d/f") + END), ("1", described)):
        (tmp_path / f"{name}.tar").write_bytes(archive)
    tree = UnionTree([open_tar_layer(str(tmp_path / f"{n}.tar")) for n in "01"], None)
    assert (stat.S_IMODE(tree.lookup(1, b"d").mode), stat.S_IMODE(tree.getattr(1).mode)) == (0o700, 0o711)
    assert [row.name for row in tree.readdir(tree.lookup(1, b"d").ino, 2)] == [b"f"]
    tree.close()


def test_a_removed_directory_is_empty_and_closed(union: Union) -> None:
    fs = union({"d": directory()})
    ino = fs.ino("d")
    fs.rmdir("d")
    assert fs.tree.getattr(ino).nlink == 0
    with refused(errno.ENOENT):
        fs.tree.lookup(ino, b"x")
    with refused(errno.ENOENT):
        fs.tree.mknod(ino, b"x", stat.S_IFREG | 0o644, 0, ME)


def test_a_new_directory_is_not_searched_for_what_it_has_not(
    union: Union, monkeypatch: pytest.MonkeyPatch
) -> None:
    fs = union({"below": b"b", "old/f": b"f"})
    fs.mkdir("new")
    fs.create("file")
    new = fs.ino("new")
    looked: list[bytes] = []
    look = sysfd.lstat_or_none
    monkeypatch.setattr(sysfd, "lstat_or_none", lambda fd, name: (looked.append(name), look(fd, name))[1])
    assert fs.tree.seek(new, b"nothing") is None
    assert looked == []
    fs.create("new/made")
    fs.link("file", "new/linked")
    fs.rename("below", "new/moved")
    fs.rename("old", "new/folder")
    fs.rename("new/made", "new/linked", sysfd.RENAME_EXCHANGE)
    assert {"made", "linked", "moved", "folder"} == set(fs.listing("new"))
    assert (fs.read("new/moved"), fs.read("new/folder/f")) == (b"b", b"f")
    fs.unlink("new/made")
    looked.clear()
    assert fs.tree.seek(new, b"made") is None
    assert looked == []


def test_what_comes_into_a_new_directory_behind_the_mount_is_seen_after_a_refresh(union: Union) -> None:
    fs = union({})
    fs.mkdir("new")
    (fs.upper_dir / "new/f").write_bytes(b"x")
    fs.tree.refresh()
    assert fs.read("new/f") == b"x"


def test_what_comes_into_a_new_directory_is_seen_at_once_where_layers_may_change(union: Union) -> None:
    fs = union({}, policy=Policy(changing=True))
    fs.mkdir("new")
    (fs.upper_dir / "new/f").write_bytes(b"x")
    assert fs.read("new/f") == b"x"
    with refused(errno.ENOTEMPTY):
        fs.rmdir("new")


def test_a_directory_with_an_entry_that_cannot_be_read_is_not_empty(union: Union) -> None:
    fs = union({"d/f": b"text"})
    fs.unlink("d/f")
    (fs.upper_dir / "d/bad").write_bytes(b"text")
    os.setxattr(fs.upper_dir / "d/bad", "trusted.overlay.metacopy", b"")
    with refused(errno.ENOTEMPTY):
        fs.rmdir("d")


def test_attributes_of_an_entry_are_those_of_its_handle(union: Union) -> None:
    fs = union({"d/f": b"text", "d/g": hardlink("d/f")})
    for layer in fs.tree.layers:
        for entry in layer.scan(layer.root.handle):
            assert layer.attr(entry.handle) == layer.entry(entry.handle).attr == entry.attr


def test_removals_do_without_what_the_file_system_cannot(
    union: Union, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = sysfd.rename

    def plain(olddir: int, old: bytes, newdir: int, new: bytes, flags: int = 0) -> None:
        if flags & sysfd.RENAME_WHITEOUT:
            raise OSError(errno.EINVAL, "no such flag here")
        rename(olddir, old, newdir, new, flags)

    fs = union({"f": b"below", "d/g": b"below"})
    fs.write("f", b"X")
    fs.unlink("d/g")
    monkeypatch.setattr(sysfd, "rename", plain)
    fs.unlink("f")
    fs.rmdir("d")
    fs.remount()
    assert fs.listing() == []
    assert list((fs.upper_dir.parent / "work/work").iterdir()) == []
