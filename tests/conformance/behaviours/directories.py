"""Directories: making, removing, listing, and listing while they change."""

import os
import stat
from contextlib import suppress
from errno import EEXIST, EINVAL, EISDIR, ENOENT, ENOTDIR, ENOTEMPTY
from pathlib import Path

from tests.conformance.kit import all_rows, behaviour, getdents, names, opened, real, refuses

MANY = 800


def _fill(d: Path, count: int = MANY) -> list[bytes]:
    for i in range(count):
        os.close(os.open(d / f"file-{i:05d}", os.O_CREAT | os.O_WRONLY))
    return sorted(b"file-%05d" % i for i in range(count))


@behaviour()
def mkdir_makes_an_empty_directory(d: Path) -> None:
    (d / "d").mkdir()
    assert (d / "d").is_dir()
    assert names(d / "d") == []
    assert (d / "d").stat().st_nlink in (1, 2)  # 1: the file system does not count


@behaviour()
def mkdir_over_an_existing_name_is_eexist(d: Path) -> None:
    (d / "d").mkdir()
    (d / "f").write_bytes(b"")
    (d / "l").symlink_to("missing")
    for name in ("d", "f", "l"):
        with refuses(EEXIST):
            (d / name).mkdir()


@behaviour()
def mkdir_needs_its_parent(d: Path) -> None:
    with refuses(ENOENT):
        (d / "a" / "b").mkdir()


@behaviour()
def directory_link_count_counts_subdirectories(d: Path) -> None:
    (d / "d").mkdir()
    before = (d / "d").stat().st_nlink
    (d / "d" / "a").mkdir()
    (d / "d" / "b").mkdir()
    (d / "d" / "f").write_bytes(b"")
    assert (d / "d").stat().st_nlink == before + 2
    (d / "d" / "a").rmdir()
    (d / "d" / "b").rename(d / "b")
    assert (d / "d").stat().st_nlink == before


@behaviour()
def rmdir_removes(d: Path) -> None:
    (d / "d").mkdir()
    (d / "d").rmdir()
    assert names(d) == []
    with refuses(ENOENT):
        (d / "d").stat()


@behaviour()
def rmdir_of_a_full_directory_is_enotempty(d: Path) -> None:
    (d / "d").mkdir()
    for fill in (lambda: (d / "d" / "f").write_bytes(b""), lambda: (d / "d" / "s").mkdir()):
        fill()
        with refuses(ENOTEMPTY):
            (d / "d").rmdir()
    (d / "d" / "f").unlink()
    (d / "d" / "s").rmdir()
    (d / "d").rmdir()


@behaviour()
def rmdir_of_others_is_enotdir(d: Path) -> None:
    (d / "f").write_bytes(b"")
    (d / "d").mkdir()
    (d / "l").symlink_to("d")
    for name in ("f", "l"):
        with refuses(ENOTDIR):
            (d / name).rmdir()


@behaviour()
def rmdir_of_dot_and_dotdot_is_refused(d: Path) -> None:
    (d / "d" / "e").mkdir(parents=True)
    with refuses(EINVAL):
        os.rmdir(f"{d}/d/.")
    with refuses(ENOTEMPTY):
        os.rmdir(f"{d}/d/e/..")


@behaviour()
def unlink_of_a_directory_is_eisdir(d: Path) -> None:
    (d / "d").mkdir()
    with refuses(EISDIR):
        (d / "d").unlink()


@behaviour()
def reading_a_directory_as_a_file_is_eisdir(d: Path) -> None:
    with opened(d) as fd, refuses(EISDIR):
        os.read(fd, 1)


@behaviour()
def listing_a_file_is_enotdir(d: Path) -> None:
    (d / "f").write_bytes(b"")
    with refuses(ENOTDIR):
        os.listdir(d / "f")


@behaviour()
def listing_has_dot_and_dotdot(d: Path) -> None:
    (d / "d").mkdir()
    with opened(d / "d") as fd:
        rows = {row.name: row for row in all_rows(fd)}
    assert set(rows) == {b".", b".."}
    assert rows[b"."].ino == (d / "d").stat().st_ino


@behaviour()
def listing_tells_types_and_inodes(d: Path) -> None:
    (d / "f").write_bytes(b"")
    (d / "d").mkdir()
    (d / "l").symlink_to("f")
    os.mkfifo(d / "p")
    with opened(d) as fd:
        rows = {row.name: row for row in all_rows(fd)}
    for name in (b"f", b"d", b"l", b"p"):
        info = os.lstat(d / os.fsdecode(name))
        assert rows[name].kind == stat.S_IFMT(info.st_mode) >> 12
        assert rows[name].ino == info.st_ino


@behaviour()
def big_directory_lists_every_name_once(d: Path) -> None:
    expected = _fill(d)
    with opened(d) as fd:
        assert sorted(real(all_rows(fd, 32_768))) == expected
        os.lseek(fd, 0, os.SEEK_SET)
        assert sorted(real(all_rows(fd, 300))) == expected


@behaviour()
def listing_resumes_from_every_offset(d: Path) -> None:
    _fill(d, 60)
    with opened(d) as fd:
        rows = all_rows(fd)
        for i, row in enumerate(rows):
            os.lseek(fd, row.offset, os.SEEK_SET)
            assert [later.name for later in all_rows(fd)] == [later.name for later in rows[i + 1 :]]


@behaviour()
def rewinding_shows_what_changed(d: Path) -> None:
    (d / "old").write_bytes(b"")
    with opened(d) as fd:
        assert real(all_rows(fd)) == [b"old"]
        (d / "old").unlink()
        (d / "new").write_bytes(b"")
        os.lseek(fd, 0, os.SEEK_SET)
        assert real(all_rows(fd)) == [b"new"]


@behaviour()
def two_listings_do_not_disturb_each_other(d: Path) -> None:
    expected = _fill(d, 200)
    with opened(d) as one, opened(d) as two:
        first = getdents(one, 1024)
        assert sorted(real(all_rows(two))) == expected
        assert sorted(real(first + all_rows(one))) == expected


@behaviour()
def names_removed_during_a_listing_lose_no_others(d: Path) -> None:
    expected = set(_fill(d, 300))
    seen: set[bytes] = set()
    doomed = {name for name in expected if name.endswith((b"3", b"7"))}
    with opened(d) as fd:
        seen.update(real(getdents(fd, 1024)))
        for name in doomed:
            (d / os.fsdecode(name)).unlink()
        rest = real(all_rows(fd, 1024))
    assert len(rest) == len(set(rest))
    assert seen | set(rest) >= expected - doomed


@behaviour()
def names_added_during_a_listing_repeat_and_lose_no_others(d: Path) -> None:
    expected = _fill(d, 300)
    with opened(d) as fd:
        rows = real(getdents(fd, 1024))
        for i in range(200):
            (d / f"added-{i}").write_bytes(b"")
        rows += real(all_rows(fd, 1024))
    assert sorted(name for name in rows if not name.startswith(b"added")) == expected


@behaviour()
def names_renamed_during_a_listing_lose_no_others(d: Path) -> None:
    expected = _fill(d, 300)
    with opened(d) as fd:
        rows = real(getdents(fd, 1024))
        for i in range(0, 300, 5):
            (d / f"file-{i:05d}").rename(d / f"renamed-{i}")
        rows += real(all_rows(fd, 1024))
    kept = [name for name in expected if int(name[5:]) % 5]
    assert sorted(name for name in rows if name in set(kept)) == kept


@behaviour()
def removing_in_step_with_the_listing_leaves_nothing(d: Path) -> None:
    _fill(d)
    with opened(d) as fd:
        while rows := getdents(fd, 2048):
            for name in real(rows):
                os.unlink(name, dir_fd=fd)
    assert names(d) == []


@behaviour()
def listing_of_a_removed_directory_is_empty(d: Path) -> None:
    (d / "gone").mkdir()
    with opened(d / "gone") as fd:
        (d / "gone").rmdir()
        with suppress(FileNotFoundError):  # what ext4 and tmpfs say
            assert real(all_rows(fd)) == []
        assert os.fstat(fd).st_nlink in (0, 1)


@behaviour()
def working_directory_that_is_removed_has_no_path(d: Path) -> None:
    (d / "gone").mkdir()
    os.chdir(d / "gone")
    assert os.getcwd() == str(d / "gone")
    (d / "gone").rmdir()
    with refuses(ENOENT):
        os.getcwd()
    with refuses(ENOENT):
        os.stat("../gone")


@behaviour()
def directory_descriptor_follows_rename(d: Path) -> None:
    (d / "a").mkdir()
    (d / "to").mkdir()
    with opened(d / "a") as fd:
        (d / "a").rename(d / "to" / "b")
        os.mkdir("inside", dir_fd=fd)
        assert os.listdir(fd) == ["inside"]
    assert names(d / "to" / "b") == ["inside"]


@behaviour()
def listing_during_a_rename_of_the_directory_goes_on(d: Path) -> None:
    (d / "a").mkdir()
    expected = _fill(d / "a", 300)
    with opened(d / "a") as fd:
        rows = getdents(fd, 1024)
        (d / "a").rename(d / "b")
        assert sorted(real(rows + all_rows(fd))) == expected


@behaviour()
def deep_tree_is_made_and_removed(d: Path) -> None:
    deep = d.joinpath(*["x"] * 100)
    deep.mkdir(parents=True)
    (deep / "f").write_bytes(b"x")
    (deep / "f").unlink()
    while deep != d:
        deep.rmdir()
        deep = deep.parent
    assert names(d) == []


@behaviour()
def wide_and_deep_tree_is_walked_completely(d: Path) -> None:
    for i in range(8):
        for j in range(8):
            (d / f"{i}" / f"{j}").mkdir(parents=True)
            (d / f"{i}" / f"{j}" / "f").write_bytes(b"")
    assert sum(len(files) for _, _, files in os.walk(d)) == 64


@behaviour()
def inode_number_is_kept_across_reopening(d: Path) -> None:
    (d / "d").mkdir()
    (d / "d" / "f").write_bytes(b"")
    before = [os.stat(path).st_ino for path in (d / "d", d / "d" / "f")]
    names(d / "d")
    with opened(d / "d" / "f") as fd:
        assert os.fstat(fd).st_ino == before[1]
    assert [os.stat(path).st_ino for path in (d / "d", d / "d" / "f")] == before


@behaviour()
def inode_numbers_are_unique(d: Path) -> None:
    _fill(d, 300)
    (d / "d").mkdir()
    numbers = [os.stat(d / name).st_ino for name in names(d)] + [d.stat().st_ino]
    assert len(set(numbers)) == len(numbers)
    assert len({os.stat(d / name).st_dev for name in names(d)}) == 1
