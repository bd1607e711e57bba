"""Renaming of files and directories, with and without flags."""

import os
from errno import EBUSY, EEXIST, EINVAL, EISDIR, ENOENT, ENOTDIR, ENOTEMPTY
from pathlib import Path

from tests.conformance.kit import EXCHANGE, NOREPLACE, behaviour, names, opened, refuses, rename2


def _tree(d: Path) -> None:
    (d / "sub" / "deep").mkdir(parents=True)
    (d / "sub" / "f").write_bytes(b"f")
    (d / "sub" / "deep" / "g").write_bytes(b"g")


@behaviour()
def rename_moves_a_file(d: Path) -> None:
    (d / "f").write_bytes(b"x")
    before = (d / "f").stat()
    (d / "f").rename(d / "g")
    after = (d / "g").stat()
    assert names(d) == ["g"]
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@behaviour()
def rename_replaces_a_file(d: Path) -> None:
    (d / "f").write_bytes(b"new")
    (d / "g").write_bytes(b"old")
    (d / "f").rename(d / "g")
    assert names(d) == ["g"]
    assert (d / "g").read_bytes() == b"new"


@behaviour()
def rename_moves_between_directories(d: Path) -> None:
    _tree(d)
    (d / "sub" / "deep" / "g").rename(d / "g")
    (d / "sub" / "f").rename(d / "sub" / "deep" / "f")
    assert names(d) == ["g", "sub"]
    assert names(d / "sub") == ["deep"]
    assert names(d / "sub" / "deep") == ["f"]


@behaviour()
def rename_moves_a_tree(d: Path) -> None:
    _tree(d)
    (d / "to").mkdir()
    (d / "sub").rename(d / "to" / "moved")
    assert names(d) == ["to"]
    assert (d / "to" / "moved" / "f").read_bytes() == b"f"
    assert (d / "to" / "moved" / "deep" / "g").read_bytes() == b"g"
    with refuses(ENOENT):
        (d / "sub" / "f").stat()


@behaviour()
def renamed_directory_has_a_new_dotdot(d: Path) -> None:
    _tree(d)
    (d / "to").mkdir()
    (d / "sub" / "deep").rename(d / "to" / "deep")
    assert os.stat(d / "to" / "deep" / "..").st_ino == (d / "to").stat().st_ino


@behaviour()
def rename_replaces_an_empty_directory(d: Path) -> None:
    _tree(d)
    (d / "empty").mkdir()
    (d / "sub").rename(d / "empty")
    assert names(d) == ["empty"]
    assert names(d / "empty") == ["deep", "f"]


@behaviour()
def rename_over_a_full_directory_is_enotempty(d: Path) -> None:
    _tree(d)
    (d / "other").mkdir()
    with refuses(ENOTEMPTY, EEXIST):
        (d / "other").rename(d / "sub")
    assert names(d) == ["other", "sub"]


@behaviour()
def rename_does_not_mix_files_and_directories(d: Path) -> None:
    (d / "f").write_bytes(b"")
    (d / "d").mkdir()
    with refuses(EISDIR):
        (d / "f").rename(d / "d")
    with refuses(ENOTDIR):
        (d / "d").rename(d / "f")


@behaviour()
def rename_into_itself_is_einval(d: Path) -> None:
    _tree(d)
    with refuses(EINVAL):
        (d / "sub").rename(d / "sub" / "inside")
    with refuses(EINVAL):
        (d / "sub").rename(d / "sub" / "deep" / "inside")
    with refuses(ENOTEMPTY, EEXIST):
        (d / "sub" / "deep").rename(d / "sub")


@behaviour()
def rename_of_a_missing_name_is_enoent(d: Path) -> None:
    (d / "f").write_bytes(b"")
    with refuses(ENOENT):
        (d / "x").rename(d / "f")
    with refuses(ENOENT):
        (d / "f").rename(d / "x" / "f")
    assert names(d) == ["f"]


@behaviour()
def rename_onto_itself_does_nothing(d: Path) -> None:
    (d / "f").write_bytes(b"x")
    (d / "d").mkdir()
    (d / "f").rename(d / "f")
    (d / "d").rename(d / "d")
    assert (d / "f").read_bytes() == b"x"
    assert names(d) == ["d", "f"]


@behaviour()
def rename_of_dot_is_refused(d: Path) -> None:
    (d / "d").mkdir()
    for name in (".", ".."):
        with refuses(EBUSY, EINVAL):
            os.rename(f"{d}/d/{name}", d / "x")


@behaviour()
def rename_keeps_a_replaced_file_readable(d: Path) -> None:
    (d / "f").write_bytes(b"new")
    (d / "g").write_bytes(b"old")
    with opened(d / "g") as fd:
        (d / "f").rename(d / "g")
        assert os.read(fd, 10) == b"old"
        assert os.fstat(fd).st_nlink == 0


@behaviour()
def rename_replaces_a_link_and_not_its_target(d: Path) -> None:
    (d / "f").write_bytes(b"new")
    (d / "target").write_bytes(b"target")
    (d / "l").symlink_to("target")
    (d / "f").rename(d / "l")
    assert not (d / "l").is_symlink()
    assert (d / "target").read_bytes() == b"target"


@behaviour()
def rename_back_and_forth_ends_where_it_began(d: Path) -> None:
    _tree(d)
    before = (d / "sub" / "deep" / "g").stat().st_ino
    for i in range(5):
        (d / "sub").rename(d / f"other{i}")
        (d / f"other{i}" / "deep").rename(d / "deep")
        (d / "deep").rename(d / f"other{i}" / "deep")
        (d / f"other{i}").rename(d / "sub")
    assert (d / "sub" / "deep" / "g").stat().st_ino == before
    assert names(d) == ["sub"]


@behaviour()
def rename_shifts_a_chain_of_names(d: Path) -> None:
    for i in range(10):
        (d / f"log.{i}").write_bytes(b"%d" % i)
    for i in reversed(range(10)):
        (d / f"log.{i}").rename(d / f"log.{i + 1}")
    assert [(d / f"log.{i}").read_bytes() for i in range(1, 11)] == [b"%d" % i for i in range(10)]


@behaviour()
def rename_changes_the_times_of_both_directories(d: Path) -> None:
    for name in ("a", "b"):
        (d / name).mkdir()
    (d / "a" / "f").write_bytes(b"")
    for name in ("a", "b"):
        os.utime(d / name, ns=(1, 1))
    (d / "a" / "f").rename(d / "b" / "f")
    assert (d / "a").stat().st_mtime_ns > 1
    assert (d / "b").stat().st_mtime_ns > 1


@behaviour()
def noreplace_moves_to_a_free_name(d: Path) -> None:
    (d / "f").write_bytes(b"x")
    rename2(d / "f", d / "g", NOREPLACE)
    assert names(d) == ["g"]


@behaviour()
def noreplace_refuses_a_taken_name(d: Path) -> None:
    (d / "f").write_bytes(b"x")
    (d / "g").write_bytes(b"y")
    (d / "d").mkdir()
    for name in ("g", "d", "f"):
        with refuses(EEXIST):
            rename2(d / "f", d / name, NOREPLACE)
    assert (d / "g").read_bytes() == b"y"


@behaviour()
def exchange_swaps_two_files(d: Path) -> None:
    (d / "f").write_bytes(b"f")
    (d / "g").write_bytes(b"g")
    inodes = (d / "f").stat().st_ino, (d / "g").stat().st_ino
    rename2(d / "f", d / "g", EXCHANGE)
    assert ((d / "f").read_bytes(), (d / "g").read_bytes()) == (b"g", b"f")
    assert ((d / "g").stat().st_ino, (d / "f").stat().st_ino) == inodes


@behaviour()
def exchange_swaps_a_file_and_a_full_directory(d: Path) -> None:
    _tree(d)
    (d / "f").write_bytes(b"x")
    rename2(d / "f", d / "sub", EXCHANGE)
    assert (d / "sub").read_bytes() == b"x"
    assert names(d / "f") == ["deep", "f"]
    assert (d / "f" / "deep" / "g").read_bytes() == b"g"


@behaviour()
def exchange_swaps_across_directories(d: Path) -> None:
    _tree(d)
    (d / "other").mkdir()
    (d / "other" / "x").mkdir()
    (d / "other" / "x" / "in").write_bytes(b"")
    rename2(d / "sub" / "deep", d / "other" / "x", EXCHANGE)
    assert names(d / "sub" / "deep") == ["in"]
    assert names(d / "other" / "x") == ["g"]
    assert os.stat(d / "other" / "x" / "..").st_ino == (d / "other").stat().st_ino


@behaviour()
def exchange_needs_both_names(d: Path) -> None:
    (d / "f").write_bytes(b"")
    with refuses(ENOENT):
        rename2(d / "f", d / "g", EXCHANGE)
    with refuses(ENOENT):
        rename2(d / "g", d / "f", EXCHANGE)


@behaviour()
def exchange_with_an_ancestor_is_einval(d: Path) -> None:
    _tree(d)
    for one, two in ((d / "sub", d / "sub" / "deep"), (d / "sub" / "deep", d / "sub")):
        with refuses(EINVAL):
            rename2(one, two, EXCHANGE)


@behaviour()
def exchange_and_noreplace_together_are_einval(d: Path) -> None:
    (d / "f").write_bytes(b"")
    (d / "g").write_bytes(b"")
    with refuses(EINVAL):
        rename2(d / "f", d / "g", NOREPLACE | EXCHANGE)


@behaviour()
def unknown_rename_flag_is_einval(d: Path) -> None:
    (d / "f").write_bytes(b"")
    with refuses(EINVAL):
        rename2(d / "f", d / "g", 1 << 10)
    assert names(d) == ["f"]
