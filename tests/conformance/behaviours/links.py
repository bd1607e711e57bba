"""Symbolic links and hard links."""

import os
from errno import EEXIST, EINVAL, ELOOP, ENAMETOOLONG, ENOENT, EPERM
from pathlib import Path

from tests.conformance.kit import (
    ALICE,
    Needs,
    behaviour,
    mode,
    names,
    opened,
    refuses,
)
from tests.support import process


@behaviour()
def symlink_tells_its_target(d: Path) -> None:
    (d / "l").symlink_to("some/where")
    assert os.readlink(d / "l") == "some/where"
    assert os.lstat(d / "l").st_size == 10
    assert mode(d / "l") == 0o777


@behaviour()
def symlink_leads_to_file_and_directory(d: Path) -> None:
    (d / "d").mkdir()
    (d / "d" / "f").write_bytes(b"x")
    (d / "toward").symlink_to("d")
    (d / "file").symlink_to("toward/f")
    assert names(d / "toward") == ["f"]
    assert (d / "file").read_bytes() == b"x"
    (d / "file").write_bytes(b"yy")
    assert (d / "d" / "f").read_bytes() == b"yy"


@behaviour()
def symlink_may_dangle(d: Path) -> None:
    (d / "l").symlink_to("missing")
    with refuses(ENOENT):
        (d / "l").stat()
    assert names(d) == ["l"]


@behaviour()
def symlink_to_itself_is_a_loop(d: Path) -> None:
    (d / "l").symlink_to("l")
    with refuses(ELOOP):
        (d / "l").stat()


@behaviour()
def symlink_target_may_be_4095_bytes(d: Path) -> None:
    (d / "l").symlink_to("t" * 4095)
    assert os.readlink(d / "l") == "t" * 4095
    with refuses(ENAMETOOLONG):
        (d / "m").symlink_to("t" * 4096)


@behaviour()
def symlink_target_may_not_be_empty(d: Path) -> None:
    with refuses(ENOENT):
        os.symlink("", d / "l")


@behaviour()
def symlink_target_that_is_not_utf8_is_kept(d: Path) -> None:
    os.symlink(b"\xff/\x80", os.fsencode(d) + b"/l")
    assert os.readlink(os.fsencode(d) + b"/l") == b"\xff/\x80"


@behaviour()
def symlink_is_removed_without_its_target(d: Path) -> None:
    (d / "f").write_bytes(b"")
    (d / "l").symlink_to("f")
    (d / "l").unlink()
    assert names(d) == ["f"]


@behaviour()
def symlink_over_an_existing_name_is_eexist(d: Path) -> None:
    (d / "f").write_bytes(b"")
    with refuses(EEXIST):
        (d / "f").symlink_to("x")
    with refuses(EEXIST):
        d.symlink_to("x")


@behaviour()
def readlink_of_others_is_einval(d: Path) -> None:
    (d / "f").write_bytes(b"")
    for path in (d, d / "f"):
        with refuses(EINVAL):
            os.readlink(path)


@behaviour()
def chmod_through_a_symlink_changes_its_target(d: Path) -> None:
    (d / "f").write_bytes(b"")
    (d / "l").symlink_to("f")
    (d / "l").chmod(0o604)
    assert mode(d / "f") == 0o604
    assert mode(d / "l") == 0o777


@behaviour(needs=Needs.IDS)
def chown_of_a_symlink_leaves_its_target(d: Path) -> None:
    (d / "f").write_bytes(b"")
    (d / "l").symlink_to("f")
    os.lchown(d / "l", ALICE, ALICE)
    assert os.lstat(d / "l").st_uid == ALICE
    assert (d / "f").stat().st_uid == 0


@behaviour()
def symlink_is_renamed_itself(d: Path) -> None:
    (d / "f").write_bytes(b"")
    (d / "l").symlink_to("f")
    (d / "l").rename(d / "m")
    assert names(d) == ["f", "m"]
    assert os.readlink(d / "m") == "f"


@behaviour()
def hard_links_are_one_file(d: Path) -> None:
    (d / "f").write_bytes(b"one")
    os.link(d / "f", d / "g")
    one, two = (d / "f").stat(), (d / "g").stat()
    assert (one.st_ino, one.st_nlink) == (two.st_ino, 2)
    (d / "g").write_bytes(b"changed")
    (d / "g").chmod(0o640)
    assert (d / "f").read_bytes() == b"changed"
    assert mode(d / "f") == 0o640


@behaviour()
def unlink_of_a_hard_link_keeps_the_file(d: Path) -> None:
    (d / "f").write_bytes(b"one")
    os.link(d / "f", d / "g")
    (d / "f").unlink()
    assert (d / "g").read_bytes() == b"one"
    assert (d / "g").stat().st_nlink == 1


@behaviour()
def hard_link_across_directories(d: Path) -> None:
    (d / "a").mkdir()
    (d / "b").mkdir()
    (d / "a" / "f").write_bytes(b"x")
    os.link(d / "a" / "f", d / "b" / "g")
    (d / "a" / "f").unlink()
    (d / "a").rmdir()
    assert (d / "b" / "g").read_bytes() == b"x"


@behaviour()
def many_hard_links_are_counted(d: Path) -> None:
    (d / "f").write_bytes(b"")
    for i in range(50):
        os.link(d / "f", d / f"g{i}")
    assert (d / "f").stat().st_nlink == 51
    for i in range(0, 50, 2):
        (d / f"g{i}").unlink()
    assert (d / "g1").stat().st_nlink == 26


@behaviour()
def hard_link_count_follows_an_open_descriptor(d: Path) -> None:
    with opened(d / "f", os.O_CREAT | os.O_RDWR) as fd:
        os.link(d / "f", d / "g")
        assert os.fstat(fd).st_nlink == 2
        (d / "f").unlink()
        assert os.fstat(fd).st_nlink == 1
        (d / "g").unlink()
        assert os.fstat(fd).st_nlink == 0


@behaviour()
def hard_link_over_an_existing_name_is_eexist(d: Path) -> None:
    (d / "f").write_bytes(b"1")
    (d / "g").write_bytes(b"2")
    (d / "d").mkdir()
    for name in ("g", "d", "f"):
        with refuses(EEXIST):
            os.link(d / "f", d / name)
    assert (d / "g").read_bytes() == b"2"


@behaviour()
def hard_link_of_a_missing_file_is_enoent(d: Path) -> None:
    with refuses(ENOENT):
        os.link(d / "f", d / "g")


@behaviour()
def hard_link_of_a_directory_is_eperm(d: Path) -> None:
    (d / "d").mkdir()
    with refuses(EPERM):
        os.link(d / "d", d / "e")


@behaviour()
def hard_link_of_a_symlink_links_the_symlink(d: Path) -> None:
    (d / "f").write_bytes(b"")
    (d / "l").symlink_to("f")
    os.link(d / "l", d / "m", follow_symlinks=False)
    assert os.readlink(d / "m") == "f"
    assert os.lstat(d / "l").st_nlink == 2
    assert (d / "f").stat().st_nlink == 1


@behaviour()
def hard_link_can_follow_a_symlink(d: Path) -> None:
    (d / "f").write_bytes(b"")
    (d / "l").symlink_to("f")
    flags, here = 0x400, -100  # AT_SYMLINK_FOLLOW, AT_FDCWD
    call = process.LIBC.linkat
    process.checked(call(here, os.fsencode(d / "l"), here, os.fsencode(d / "m"), flags))
    assert (d / "m").stat().st_ino == (d / "f").stat().st_ino
    assert not (d / "m").is_symlink()


@behaviour()
def hard_link_of_a_fifo_works(d: Path) -> None:
    os.mkfifo(d / "p")
    os.link(d / "p", d / "q")
    assert (d / "q").is_fifo()
    assert (d / "p").stat().st_nlink == 2


@behaviour()
def renaming_one_hard_link_onto_another_does_nothing(d: Path) -> None:
    (d / "f").write_bytes(b"x")
    os.link(d / "f", d / "g")
    (d / "f").rename(d / "g")
    assert names(d) == ["f", "g"]
    assert (d / "f").stat().st_nlink == 2


@behaviour()
def replacing_a_hard_link_by_rename_lowers_the_count(d: Path) -> None:
    (d / "f").write_bytes(b"x")
    os.link(d / "f", d / "g")
    (d / "new").write_bytes(b"new")
    (d / "new").rename(d / "g")
    assert (d / "f").stat().st_nlink == 1
    assert (d / "f").read_bytes() == b"x"
    assert (d / "g").read_bytes() == b"new"


@behaviour()
def hard_linked_names_are_reused(d: Path) -> None:
    for _ in range(3):
        (d / "f").write_bytes(b"x")
        os.link(d / "f", d / "g")
        assert (d / "g").stat().st_nlink == 2
        (d / "f").unlink()
        (d / "g").rename(d / "f")
        assert (d / "f").stat().st_nlink == 1
        (d / "f").unlink()
    assert names(d) == []
