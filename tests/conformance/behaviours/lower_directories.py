"""Directories of the layers below that are renamed, exchanged and given to others."""

import os
from errno import EEXIST, ENOENT, ENOTEMPTY
from pathlib import Path

from tests.conformance.kit import (
    ACL_DEFAULT,
    ALICE,
    EXCHANGE,
    GROUP,
    GROUP_OBJ,
    MASK,
    OTHER,
    USER,
    USER_OBJ,
    Needs,
    acl,
    all_rows,
    as_user,
    behaviour,
    getdents,
    mode,
    names,
    opened,
    real,
    refuses,
    rename2,
)
from tests.support.notation import LONG_AGO, WHITEOUT, Tree, directory

TREE = [{"d/sub/f": b"f", "d/sub/deep/g": b"g", "d/h": b"h", "e": {}, "full/x": b""}]
SPLIT: list[Tree] = [
    {"d/sub/f": b"top", "d/a": b"a", "d/gone": WHITEOUT},
    {"d/sub/f": b"below", "d/sub/g": b"g", "d/b": b"b", "d/gone": b""},
    {"d/c": b"c", "d/sub/deep/i": b"i", "d/gone": b"!"},
]


def _whole(d: Path) -> list[str]:
    return sorted(str(path.relative_to(d)) for path in d.rglob("*"))


@behaviour(TREE)
def lower_directory_is_renamed(d: Path) -> None:
    before = (d / "d").stat().st_ino
    (d / "d").rename(d / "moved")
    assert _whole(d / "moved") == ["h", "sub", "sub/deep", "sub/deep/g", "sub/f"]
    assert (d / "moved" / "sub" / "deep" / "g").read_bytes() == b"g"
    assert (d / "moved").stat().st_ino == before
    assert names(d) == ["e", "full", "moved"]
    with refuses(ENOENT):
        (d / "d").stat()


@behaviour(SPLIT)
def merged_directory_is_renamed(d: Path) -> None:
    (d / "d").rename(d / "moved")
    assert _whole(d) == [
        *("moved", "moved/a", "moved/b", "moved/c", "moved/sub"),
        *("moved/sub/deep", "moved/sub/deep/i", "moved/sub/f", "moved/sub/g"),
    ]
    assert (d / "moved" / "sub" / "f").read_bytes() == b"top"
    assert (d / "moved" / "c").read_bytes() == b"c"


@behaviour(TREE)
def renamed_lower_directory_keeps_its_attributes(d: Path) -> None:
    (d / "d").rename(d / "moved")
    assert (d / "moved").stat().st_mtime_ns == LONG_AGO
    assert (d / "moved" / "sub").stat().st_mtime_ns == LONG_AGO


@behaviour(SPLIT)
def renamed_merged_directory_can_be_changed(d: Path) -> None:
    (d / "d").rename(d / "moved")
    moved = d / "moved"
    (moved / "new").write_bytes(b"new")
    (moved / "a").unlink()
    (moved / "c").unlink()
    (moved / "gone").mkdir()
    (moved / "sub" / "g").write_bytes(b"changed")
    (moved / "sub" / "f").rename(moved / "f")
    assert names(moved) == ["b", "f", "gone", "new", "sub"]
    assert names(moved / "sub") == ["deep", "g"]
    assert names(moved / "gone") == []
    assert (moved / "sub" / "g").read_bytes() == b"changed"


@behaviour(SPLIT)
def merged_directory_is_renamed_twice(d: Path) -> None:
    (d / "d").rename(d / "one")
    (d / "one").rename(d / "two")
    assert names(d) == ["two"]
    assert names(d / "two") == ["a", "b", "c", "sub"]
    assert (d / "two" / "sub" / "deep" / "i").read_bytes() == b"i"


@behaviour(SPLIT)
def merged_directory_is_renamed_back(d: Path) -> None:
    before = _whole(d)
    (d / "d").rename(d / "away")
    (d / "away").rename(d / "d")
    assert _whole(d) == before
    assert (d / "d" / "sub" / "f").read_bytes() == b"top"


@behaviour(TREE)
def directory_made_at_the_old_name_is_empty(d: Path) -> None:
    (d / "d").rename(d / "moved")
    (d / "d").mkdir()
    assert names(d / "d") == []
    (d / "d" / "sub").mkdir()
    assert names(d / "d" / "sub") == []
    assert names(d / "moved" / "sub") == ["deep", "f"]


@behaviour(TREE)
def lower_directory_moves_into_another(d: Path) -> None:
    (d / "d" / "sub").rename(d / "full" / "sub")
    assert names(d / "d") == ["h"]
    assert names(d / "full") == ["sub", "x"]
    assert (d / "full" / "sub" / "deep" / "g").read_bytes() == b"g"
    assert os.stat(d / "full" / "sub" / "..").st_ino == (d / "full").stat().st_ino


@behaviour(TREE)
def lower_directory_moves_into_a_new_one(d: Path) -> None:
    (d / "new").mkdir()
    (d / "d").rename(d / "new" / "d")
    assert names(d / "new" / "d") == ["h", "sub"]
    (d / "new" / "d" / "sub").rename(d / "new" / "sub")
    assert names(d / "new" / "sub") == ["deep", "f"]
    assert names(d / "new" / "d") == ["h"]


@behaviour(SPLIT)
def nested_directories_are_renamed_one_after_the_other(d: Path) -> None:
    (d / "d" / "sub").rename(d / "d" / "inner")
    (d / "d").rename(d / "outer")
    (d / "outer" / "inner" / "deep").rename(d / "deepest")
    assert _whole(d) == [
        *("deepest", "deepest/i", "outer", "outer/a", "outer/b", "outer/c"),
        *("outer/inner", "outer/inner/f", "outer/inner/g"),
    ]
    assert (d / "deepest" / "i").read_bytes() == b"i"


@behaviour(SPLIT)
def parent_then_child_are_renamed(d: Path) -> None:
    (d / "d").rename(d / "outer")
    (d / "outer" / "sub").rename(d / "sub")
    (d / "outer").rename(d / "sub" / "outer")
    assert names(d) == ["sub"]
    assert names(d / "sub") == ["deep", "f", "g", "outer"]
    assert names(d / "sub" / "outer") == ["a", "b", "c"]
    assert names(d / "sub" / "deep") == ["i"]


@behaviour(TREE)
def lower_directory_replaces_an_empty_lower_one(d: Path) -> None:
    (d / "d").rename(d / "e")
    assert names(d) == ["e", "full"]
    assert names(d / "e") == ["h", "sub"]


@behaviour(TREE)
def directory_replaces_an_emptied_lower_one(d: Path) -> None:
    (d / "full" / "x").unlink()
    (d / "d").rename(d / "full")
    assert names(d / "full") == ["h", "sub"]
    (d / "new").mkdir()
    (d / "new").rename(d / "e")
    assert names(d / "e") == []
    with refuses(ENOENT):
        (d / "full" / "x").stat()


@behaviour(TREE)
def directory_does_not_replace_a_full_lower_one(d: Path) -> None:
    (d / "new").mkdir()
    for source in ("d", "new", "e"):
        with refuses(ENOTEMPTY, EEXIST):
            (d / source).rename(d / "full")
    assert names(d / "full") == ["x"]


@behaviour([*SPLIT, {"other/o": b"o"}])
def exchange_of_merged_and_lower_directories(d: Path) -> None:
    rename2(d / "d", d / "other", EXCHANGE)
    assert names(d / "d") == ["o"]
    assert names(d / "other") == ["a", "b", "c", "sub"]
    (d / "other" / "a").unlink()
    rename2(d / "d", d / "other", EXCHANGE)
    assert names(d / "d") == ["b", "c", "sub"]


@behaviour(TREE)
def exchange_of_a_lower_directory_and_a_new_file(d: Path) -> None:
    (d / "file").write_bytes(b"file")
    rename2(d / "file", d / "d", EXCHANGE)
    assert (d / "d").read_bytes() == b"file"
    assert names(d / "file") == ["h", "sub"]
    (d / "d").unlink()
    assert names(d) == ["e", "file", "full"]


@behaviour(TREE)
def renamed_lower_directory_can_be_removed(d: Path) -> None:
    (d / "full").rename(d / "gone")
    with refuses(ENOTEMPTY):
        (d / "gone").rmdir()
    (d / "gone" / "x").unlink()
    (d / "gone").rmdir()
    assert names(d) == ["d", "e"]


@behaviour(TREE)
def lower_directory_renamed_over_a_removed_name(d: Path) -> None:
    (d / "full" / "x").unlink()
    (d / "full").rmdir()
    (d / "d").rename(d / "full")
    assert names(d / "full") == ["h", "sub"]
    (d / "full").rename(d / "d")
    assert names(d) == ["d", "e"]


@behaviour([{f"d/f{i}": b"" for i in range(200)}, {f"d/g{i}": b"" for i in range(200)}])
def merged_directory_is_listed_across_its_rename(d: Path) -> None:
    with opened(d / "d") as fd:
        rows = real(getdents(fd, 1024))
        (d / "d").rename(d / "moved")
        rows += real(all_rows(fd))
    assert sorted(rows) == sorted(b"%c%d" % (letter, i) for letter in b"fg" for i in range(200))


@behaviour(TREE)
def open_files_follow_the_rename_of_a_lower_directory(d: Path) -> None:
    with opened(d / "d" / "sub" / "f", os.O_RDWR) as fd, opened(d / "d" / "sub") as folder:
        (d / "d").rename(d / "moved")
        os.pwrite(fd, b"written", 0)
        os.mkdir("made", dir_fd=folder)
    assert (d / "moved" / "sub" / "f").read_bytes() == b"written"
    assert names(d / "moved" / "sub") == ["deep", "f", "made"]


@behaviour([{"d": directory(0o2777, gid=GROUP), "d/f": b""}], needs=Needs.IDS)
def lower_setgid_directory_passes_on_its_group(d: Path) -> None:
    def make() -> None:
        (d / "d" / "new").write_bytes(b"")
        (d / "d" / "sub").mkdir()

    as_user(make)
    for name in ("new", "sub"):
        info = (d / "d" / name).stat()
        assert (info.st_uid, info.st_gid) == (ALICE, GROUP)
    assert mode(d / "d" / "sub") & 0o2000


INHERITED = acl((USER_OBJ, 7), (USER, 6, ALICE), (GROUP_OBJ, 5), (MASK, 7), (OTHER, 0))


@behaviour([{"d": directory(xattrs={ACL_DEFAULT: INHERITED}), "d/f": b""}], needs=Needs.ROOT)
def default_acl_of_a_lower_directory_is_inherited(d: Path) -> None:
    (d / "d" / "sub").mkdir()
    assert os.getxattr(d / "d" / "sub", ACL_DEFAULT) == INHERITED
    assert os.getxattr(d / "d", ACL_DEFAULT) == INHERITED


@behaviour([{"d": directory(0o750), "d/f": b""}, {"d/g": b""}])
def chmod_of_a_merged_directory_keeps_its_names(d: Path) -> None:
    (d / "d").chmod(0o700)
    assert mode(d / "d") == 0o700
    assert names(d / "d") == ["f", "g"]
    assert (d / "d").stat().st_mtime_ns == LONG_AGO


@behaviour(TREE)
def hard_link_into_a_renamed_directory(d: Path) -> None:
    (d / "d").rename(d / "moved")
    os.link(d / "moved" / "h", d / "moved" / "sub" / "h")
    (d / "moved" / "h").write_bytes(b"linked")
    assert (d / "moved" / "sub" / "h").read_bytes() == b"linked"


@behaviour([{"a/b/c/d/e/f": b"deep"}])
def every_level_of_a_lower_path_is_renamed(d: Path) -> None:
    path = d
    for old, new in zip("abcde", "ABCDE", strict=True):
        (path / old).rename(path / new)
        path = path / new
    assert (d / "A/B/C/D/E/f").read_bytes() == b"deep"
    (d / "A/B/C/D/E/f").write_bytes(b"changed")
    assert _whole(d)[-1] == "A/B/C/D/E/f"
