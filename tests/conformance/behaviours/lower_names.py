"""Names over several layers: merging, whiteouts, opaque directories, removing what is below."""

import os
from errno import EEXIST, ENOENT, ENOTEMPTY
from pathlib import Path

from tests.conformance.kit import (
    EXCHANGE,
    NOREPLACE,
    all_rows,
    behaviour,
    getdents,
    mode,
    names,
    opened,
    real,
    refuses,
    rename2,
)
from tests.support.notation import WHITEOUT, directory, file, symlink

THREE = [
    {"d/top": b"1", "d/both": b"top"},
    {"d/middle": b"2", "d/both": b"middle", "d/only": b"m"},
    {"d/bottom": b"3", "d/both": b"bottom", "e/f": b""},
]
TREE = [{"d/sub/f": b"f", "d/sub/g": b"g", "d/h": b"h", "top": b"t"}]
SPLIT = [{"d/sub/f": b"f", "d/a": b"a"}, {"d/sub/g": b"g", "d/sub/f": b"old", "d/b": b"b"}]


@behaviour(THREE)
def directories_of_all_layers_are_merged(d: Path) -> None:
    assert names(d) == ["d", "e"]
    assert names(d / "d") == ["both", "bottom", "middle", "only", "top"]
    assert (d / "d" / "both").read_bytes() == b"top"
    assert (d / "d" / "bottom").read_bytes() == b"3"


@behaviour(THREE)
def merged_listing_tells_types_and_inodes(d: Path) -> None:
    with opened(d / "d") as fd:
        rows = all_rows(fd)
    assert len(rows) == len({row.name for row in rows}) == 7
    for row in rows:
        if row.name not in (b".", b".."):
            assert row.ino == (d / "d" / os.fsdecode(row.name)).stat().st_ino
    assert [row.ino for row in rows if row.name == b"."] == [(d / "d").stat().st_ino]


@behaviour([{"d": directory(0o700)}, {"d": directory(0o755), "d/f": b""}])
def merged_directory_has_the_attributes_of_the_top(d: Path) -> None:
    assert mode(d / "d") == 0o700
    assert names(d / "d") == ["f"]


@behaviour(
    [{"d": directory(xattrs={"user.a": b"top"})}, {"d": directory(xattrs={"user.b": b"below"}), "d/f": b""}]
)
def merged_directory_has_the_xattrs_of_the_top(d: Path) -> None:
    assert os.listxattr(d / "d") == ["user.a"]


@behaviour([{"f": WHITEOUT, "d/g": WHITEOUT}, {"f": b"", "d/g": b"", "d/h": b""}])
def whiteouts_hide_names_below(d: Path) -> None:
    assert names(d) == ["d"]
    assert names(d / "d") == ["h"]
    for name in ("f", "d/g"):
        with refuses(ENOENT):
            (d / name).stat()


@behaviour([{"f": b"again"}, {"f": WHITEOUT, "d": WHITEOUT}, {"f": b"old", "d/g": b""}])
def whiteout_in_the_middle_hides_only_below(d: Path) -> None:
    assert names(d) == ["f"]
    assert (d / "f").read_bytes() == b"again"


@behaviour([{"d/new": b""}, {"d": WHITEOUT}, {"d/old": b""}])
def directory_above_a_whiteout_starts_empty(d: Path) -> None:
    assert names(d / "d") == ["new"]
    with refuses(ENOENT):
        (d / "d" / "old").stat()


@behaviour([{"d": directory(opaque=True), "d/new": b""}, {"d/old": b"", "d/sub/f": b""}])
def opaque_directory_hides_what_is_below(d: Path) -> None:
    assert names(d / "d") == ["new"]
    with refuses(ENOENT):
        (d / "d" / "sub" / "f").stat()


@behaviour([{"d/top": b""}, {"d": directory(opaque=True), "d/middle": b""}, {"d/bottom": b""}])
def opaque_directory_in_the_middle_ends_the_merge(d: Path) -> None:
    assert names(d / "d") == ["middle", "top"]


@behaviour([{"d": directory(opaque=True), "d/sub": {}}, {"d/sub/old": b""}])
def opaque_directory_hides_whole_trees(d: Path) -> None:
    assert names(d / "d") == ["sub"]
    assert names(d / "d" / "sub") == []


@behaviour([{"x": b"file now"}, {"x/f": b"", "x/sub/g": b""}])
def file_replaces_a_directory_below(d: Path) -> None:
    assert (d / "x").read_bytes() == b"file now"


@behaviour([{"x/new": b""}, {"x": b"file"}, {"x/old": b""}])
def file_in_the_middle_ends_the_merge(d: Path) -> None:
    assert names(d / "x") == ["new"]


@behaviour([{"x": symlink("d")}, {"x/old": b"", "d/f": b""}])
def symlink_replaces_a_directory_below(d: Path) -> None:
    assert os.readlink(d / "x") == "d"
    assert names(d / "x") == ["f"]


@behaviour([{"missing": WHITEOUT, "d/none": WHITEOUT}, {"d/f": b""}])
def whiteout_of_nothing_is_invisible(d: Path) -> None:
    assert names(d) == ["d"]
    (d / "missing").write_bytes(b"x")
    assert names(d) == ["d", "missing"]
    (d / "missing").unlink()
    assert names(d) == ["d"]


@behaviour(TREE)
def lower_file_is_unlinked(d: Path) -> None:
    (d / "top").unlink()
    (d / "d" / "sub" / "f").unlink()
    assert names(d) == ["d"]
    assert names(d / "d" / "sub") == ["g"]
    with refuses(ENOENT):
        (d / "top").stat()
    with refuses(ENOENT):
        (d / "top").unlink()


@behaviour(TREE)
def lower_file_is_unlinked_and_made_again(d: Path) -> None:
    for text in (b"one", b"two"):
        (d / "top").unlink()
        assert names(d) == ["d"]
        (d / "top").write_bytes(text)
        assert (d / "top").read_bytes() == text
    (d / "top").unlink()
    (d / "top").mkdir()
    assert names(d / "top") == []
    (d / "top").rmdir()
    (d / "top").symlink_to("d")
    assert names(d / "top") == ["h", "sub"]


@behaviour(TREE)
def unlinked_lower_name_is_free_for_excl(d: Path) -> None:
    with refuses(EEXIST):
        os.open(d / "top", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    (d / "top").unlink()
    os.close(os.open(d / "top", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    assert (d / "top").stat().st_size == 0


@behaviour(TREE)
def lower_directory_is_not_removed_while_full(d: Path) -> None:
    with refuses(ENOTEMPTY):
        (d / "d").rmdir()
    with refuses(ENOTEMPTY):
        (d / "d" / "sub").rmdir()


@behaviour(TREE)
def emptied_lower_directory_is_removed(d: Path) -> None:
    (d / "d" / "sub" / "f").unlink()
    (d / "d" / "sub" / "g").unlink()
    (d / "d" / "sub").rmdir()
    assert names(d / "d") == ["h"]
    with refuses(ENOENT):
        (d / "d" / "sub").stat()


@behaviour(SPLIT)
def emptied_merged_directory_is_removed(d: Path) -> None:
    with refuses(ENOTEMPTY):
        (d / "d" / "sub").rmdir()
    for name in names(d / "d" / "sub"):
        (d / "d" / "sub" / name).unlink()
    (d / "d" / "sub").rmdir()
    assert names(d / "d") == ["a", "b"]


@behaviour([{"d/f": WHITEOUT, "e": directory(opaque=True)}, {"d/f": b"", "e/g": b""}])
def directories_with_only_whiteouts_are_empty(d: Path) -> None:
    assert names(d / "d") == []
    (d / "d").rmdir()
    (d / "e").rmdir()
    assert names(d) == []


@behaviour(TREE)
def directory_made_over_a_removed_one_is_empty(d: Path) -> None:
    (d / "d" / "h").unlink()
    for name in ("f", "g"):
        (d / "d" / "sub" / name).unlink()
    (d / "d" / "sub").rmdir()
    (d / "d").rmdir()
    (d / "d").mkdir()
    assert names(d / "d") == []
    (d / "d" / "sub").mkdir()
    assert names(d / "d" / "sub") == []
    with refuses(ENOENT):
        (d / "d" / "sub" / "f").stat()


@behaviour(TREE)
def file_made_over_a_removed_directory(d: Path) -> None:
    _remove_tree(d / "d")
    (d / "d").write_bytes(b"file")
    assert (d / "d").read_bytes() == b"file"
    (d / "d").unlink()
    with refuses(ENOENT):
        (d / "d").stat()


def _remove_tree(path: Path) -> None:
    """As rm -r: each directory is emptied while it is listed."""
    with opened(path) as fd:
        while rows := [row for row in getdents(fd, 512) if row.name not in (b".", b"..")]:
            for row in rows:
                name = path / os.fsdecode(row.name)
                if row.kind == 4:
                    _remove_tree(name)
                else:
                    name.unlink()
    path.rmdir()


WIDE = [
    {f"d/{i % 7}/file{i}": b"" for i in range(0, 400, 2)},
    {f"d/{i % 7}/file{i}": b"" for i in range(0, 400, 3)},
]


@behaviour(WIDE)
def merged_tree_is_removed_in_step_with_the_listing(d: Path) -> None:
    assert names(d) == ["d"]
    _remove_tree(d / "d")
    assert names(d) == []
    (d / "d" / "1").mkdir(parents=True)
    assert names(d / "d" / "1") == []


@behaviour([{f"d/new{i}": b"" for i in range(700)}, {f"d/old{i}": b"" for i in range(700)} | {"d/new3": b""}])
def big_merged_directory_lists_every_name_once(d: Path) -> None:
    expected = sorted([b"new%d" % i for i in range(700)] + [b"old%d" % i for i in range(700)])
    with opened(d / "d") as fd:
        assert sorted(real(all_rows(fd, 700))) == expected
        os.lseek(fd, 0, os.SEEK_SET)
        assert sorted(real(all_rows(fd, 32_768))) == expected


@behaviour([{f"d/f{i}": b"" for i in range(30)}, {f"d/g{i}": b"" for i in range(30)}])
def merged_listing_resumes_from_every_offset(d: Path) -> None:
    with opened(d / "d") as fd:
        rows = all_rows(fd)
        for i, row in enumerate(rows):
            os.lseek(fd, row.offset, os.SEEK_SET)
            assert [later.name for later in all_rows(fd)] == [later.name for later in rows[i + 1 :]]


@behaviour([{f"d/f{i}": b"" for i in range(150)}, {f"d/g{i}": b"" for i in range(150)}])
def merged_listing_under_change_loses_and_repeats_nothing(d: Path) -> None:
    with opened(d / "d") as fd:
        rows = real(getdents(fd, 1024))
        for i in range(0, 150, 3):
            (d / "d" / f"f{i}").unlink()
            (d / "d" / f"g{i}").rename(d / "d" / f"moved{i}")
            (d / "d" / f"new{i}").write_bytes(b"")
            (d / "d" / f"g{i + 1}").write_bytes(b"copied up")
        rows += real(all_rows(fd, 1024))
    steady = [b"%c%d" % (letter, i) for letter in b"fg" for i in range(150) if i % 3]
    assert sorted(row for row in rows if row in set(steady)) == sorted(steady)


@behaviour([{"d/f": b"top", "d/g": WHITEOUT}, {"d/f": b"below", "d/g": b""}])
def unlink_does_not_bring_back_the_name_below(d: Path) -> None:
    (d / "d" / "f").unlink()
    assert names(d / "d") == []
    (d / "d" / "g").write_bytes(b"")
    (d / "d" / "g").unlink()
    assert names(d / "d") == []


@behaviour(TREE)
def renamed_lower_file_leaves_its_name(d: Path) -> None:
    before = (d / "top").stat().st_ino
    (d / "top").rename(d / "d" / "moved")
    assert names(d) == ["d"]
    assert (d / "d" / "moved").read_bytes() == b"t"
    assert (d / "d" / "moved").stat().st_ino == before
    with refuses(ENOENT):
        (d / "top").stat()


@behaviour(TREE)
def lower_file_replaces_another(d: Path) -> None:
    (d / "top").rename(d / "d" / "h")
    assert (d / "d" / "h").read_bytes() == b"t"
    (d / "d" / "h").unlink()
    assert names(d / "d") == ["sub"]


@behaviour(TREE)
def upper_file_replaces_a_lower_one(d: Path) -> None:
    (d / "new").write_bytes(b"new")
    (d / "new").rename(d / "top")
    assert (d / "top").read_bytes() == b"new"
    (d / "top").unlink()
    assert names(d) == ["d"]


@behaviour(TREE)
def noreplace_sees_lower_names(d: Path) -> None:
    (d / "new").write_bytes(b"")
    with refuses(EEXIST):
        rename2(d / "new", d / "top", NOREPLACE)
    (d / "top").unlink()
    rename2(d / "new", d / "top", NOREPLACE)
    rename2(d / "d" / "h", d / "h", NOREPLACE)
    assert names(d) == ["d", "h", "top"]


@behaviour(TREE)
def exchange_of_lower_files(d: Path) -> None:
    rename2(d / "top", d / "d" / "h", EXCHANGE)
    assert ((d / "top").read_bytes(), (d / "d" / "h").read_bytes()) == (b"h", b"t")
    (d / "top").unlink()
    (d / "d" / "h").unlink()
    assert names(d) == ["d"]
    assert names(d / "d") == ["sub"]


@behaviour([{".wh": b"", "d/.w": b"", "d/.whx": b""}])
def names_close_to_whiteout_markers_are_ordinary(d: Path) -> None:
    assert names(d) == [".wh", "d"]
    assert names(d / "d") == [".w", ".whx"]


@behaviour([{"d/f": b""}, {"d/g": b""}, {"d/h": b""}, {"d/i": b"", "d/f": file(b"lowest")}])
def four_layers_are_merged(d: Path) -> None:
    assert names(d / "d") == ["f", "g", "h", "i"]
    (d / "d" / "f").unlink()
    (d / "d" / "i").rename(d / "d" / "j")
    assert names(d / "d") == ["g", "h", "j"]


@behaviour(
    [
        {
            "\xe4\u20ac": b"unicode",
            "with space": b"",
            "new\nline": b"",
            "n" * 255: b"long",
            "d": {"x" * 255: b""},
        }
    ]
)
def unusual_lower_names_work(d: Path) -> None:
    assert (d / "\xe4\u20ac").read_bytes() == b"unicode"
    assert names(d) == sorted(["\xe4\u20ac", "with space", "new\nline", "n" * 255, "d"])
    (d / ("n" * 255)).unlink()
    (d / "d" / ("x" * 255)).rename(d / ("y" * 255))
    (d / "new\nline").chmod(0o600)
    (d / "with space").unlink()
    assert names(d) == sorted(["\xe4\u20ac", "new\nline", "y" * 255, "d"])


@behaviour([{"d/x": b"", "e/y": b""}])
def negative_names_in_lower_directories_appear_once_created(d: Path) -> None:
    for name in ("d/new", "e/new"):
        with refuses(ENOENT):
            (d / name).stat()
    (d / "d" / "new").write_bytes(b"1")
    (d / "d" / "new").rename(d / "e" / "new")
    assert names(d / "e") == ["new", "y"]
    with refuses(ENOENT):
        (d / "d" / "new").stat()


@behaviour(
    [{".wh.f": b"", ".wh.d": b"", "s/.wh.l": b""}, {"f": b"x", "d/g": b"", "s/l": symlink("f"), "s/m": b""}]
)
def wh_file_of_a_layer_deletes_a_name(d: Path) -> None:
    assert names(d) == ["s"]
    assert names(d / "s") == ["m"]
    with refuses(ENOENT):
        os.lstat(d / "s" / ".wh.l")
    (d / "f").write_bytes(b"new")
    (d / "d").mkdir()
    assert names(d / "d") == []
    (d / "f").unlink()
    (d / "d").rmdir()
    assert names(d) == ["s"]


@behaviour([{"d": {".wh..wh..opq": b"", "new": b""}}, {"d": {"old": b""}}])
def wh_file_of_a_layer_makes_a_directory_opaque(d: Path) -> None:
    assert names(d / "d") == ["new"]
    (d / "d").rename(d / "e")
    assert names(d / "e") == ["new"]
    assert names(d) == ["e"]


@behaviour([{".wh.d": b"", "d/new": b"", ".wh.f": b"", "f": b"new"}, {"d/old": b"", "f": b"old"}])
def entry_beside_its_wh_file_covers_what_is_below(d: Path) -> None:
    assert names(d) == ["d", "f"]
    assert names(d / "d") == ["new"]
    assert (d / "f").read_bytes() == b"new"


@behaviour([{"x": b""}, {".wh..wh.aufs": b"", "a": b"", "l" * 255: b""}])
def wh_files_of_a_layer_are_not_seen(d: Path) -> None:
    assert names(d) == ["a", "l" * 255, "x"]
    with refuses(ENOENT):
        os.lstat(d / ("m" * 255))
    (d / ".wh.a").write_bytes(b"in the top layer it is a name as others")
    assert names(d) == [".wh.a", "a", "l" * 255, "x"]
