"""The union core, without a mount: renames of files and directories of every layer."""

from __future__ import annotations

import errno

import pytest

from tests.support.notation import directory
from tests.unit.conftest import Union, refused
from unionfs import sysfd
from unionfs.sysfd import RENAME_EXCHANGE, RENAME_NOREPLACE, RENAME_WHITEOUT


def test_rename_of_a_lower_directory_is_a_redirect(union: Union) -> None:
    fs = union({"d/sub/f": b"x", "e": directory()})
    sub = fs.ino("d/sub")
    fs.rename("d", "e/moved")
    assert fs.in_upper() == {"!d", "e", "e/moved"}
    assert (fs.read("e/moved/sub/f"), fs.ino("e/moved/sub")) == (b"x", sub)
    fs.write("e/moved/sub/f", b"y")
    fs.rename("e/moved/sub", "sub")
    fs.remount()
    assert (fs.read("sub/f"), fs.listing("e/moved"), fs.mark("sub", "redirect")) == (b"y", [], b"/d/sub")


def test_rename_over_a_directory_that_only_looks_empty(union: Union) -> None:
    fs = union({"old/f": b"x", "new/g": b"y"})
    fs.unlink("new/g")
    fs.rename("old", "new")
    fs.remount()
    assert (fs.listing(), fs.listing("new")) == (["new"], ["f"])


def test_a_directory_that_was_not_replaced_after_all_is_the_same_one(
    union: Union, monkeypatch: pytest.MonkeyPatch
) -> None:
    fs = union({"old/f": b"x", "new/g": b"y"})
    fs.unlink("new/g")
    fs.tree.setxattr(fs.ino("new"), b"user.k", b"kept")
    rename = sysfd.rename

    def full(olddir: int, old: bytes, newdir: int, new: bytes, flags: int = 0) -> None:
        if flags == RENAME_WHITEOUT:
            raise OSError(errno.ENOSPC, "No space left on device")
        rename(olddir, old, newdir, new, flags)

    with monkeypatch.context() as patch:
        patch.setattr(sysfd, "rename", full)
        with refused(errno.ENOSPC):
            fs.rename("old", "new")
    fs.create("new/own")
    fs.remount()
    assert (fs.listing("new"), fs.listing("old")) == (["own"], ["f"])
    assert fs.tree.getxattr(fs.ino("new"), b"user.k") == b"kept"


def test_a_new_directory_does_not_merge_where_it_moves(union: Union) -> None:
    fs = union({"d/f": b"x"})
    fs.unlink("d/f")
    fs.rmdir("d")
    fs.mkdir("n")
    fs.create("n/own")
    fs.rename("n", "d")
    fs.remount()
    assert (fs.listing(), fs.listing("d")) == (["d"], ["own"])


def test_rename_exchange(union: Union) -> None:
    fs = union({"d/f": b"x", "e": b"file"})
    fs.rename("d", "e", RENAME_EXCHANGE)
    fs.remount()
    assert (fs.listing("e"), fs.read("d"), fs.listing()) == (["f"], b"file", ["d", "e"])


def test_rename_flags(union: Union) -> None:
    fs = union({"a": b"1", "b": b"2"})
    with refused(errno.EEXIST):
        fs.rename("a", "b", RENAME_NOREPLACE)
    with refused(errno.EINVAL):
        fs.rename("a", "b", RENAME_EXCHANGE | RENAME_NOREPLACE)
    with refused(errno.ENOENT):
        fs.rename("a", "c", RENAME_EXCHANGE)
    fs.create("new")
    fs.rename("new", "newer", RENAME_WHITEOUT)
    assert fs.in_upper() == {"!new", "newer"}


def test_a_directory_cannot_move_into_itself(union: Union) -> None:
    fs = union({"d/e": directory()})
    with refused(errno.EINVAL):
        fs.rename("d", "d/e/f")


def test_replaced_files_stay_readable(union: Union) -> None:
    fs = union({"a": b"first", "b": b"second"})
    b = fs.ino("b")
    fs.rename("a", "b")
    assert (fs.files.read(b, 0, 9), fs.read("b"), fs.tree.getattr(b).nlink) == (b"second", b"first", 0)


def test_a_refused_rename_changes_nothing(union: Union) -> None:
    fs = union({"d/f": b"", "e/g": b"", "h": b""})
    for old, new, number in (
        ("d", "e", errno.ENOTEMPTY),
        ("d", "h", errno.ENOTDIR),
        ("h", "d", errno.EISDIR),
    ):
        with refused(number):
            fs.rename(old, new)
    assert (fs.in_upper(), fs.listing()) == (set(), ["d", "e", "h"])
