"""Hard links in the layers below: they stay one file, whatever is done to one of the names."""

import os
from pathlib import Path

from tests.conformance.kit import behaviour, mode, names, opened
from tests.support.notation import WHITEOUT, hardlink, symlink

PAIR = [{"f": b"shared", "d/g": hardlink("f")}]
TRIPLE = [{"f": b"shared", "d/g": hardlink("f"), "d/h": hardlink("f")}]


def _one_inode(*paths: Path) -> bool:
    return len({os.lstat(path).st_ino for path in paths}) == 1


@behaviour(PAIR)
def lower_hard_links_are_one_file(d: Path) -> None:
    assert _one_inode(d / "f", d / "d" / "g")
    assert (d / "f").stat().st_nlink == 2
    assert (d / "d" / "g").read_bytes() == b"shared"


@behaviour(PAIR)
def write_to_one_lower_hard_link_changes_the_other(d: Path) -> None:
    with opened(d / "d" / "g") as reader:
        (d / "f").write_bytes(b"changed")
        assert os.read(reader, 100) == b"changed"
    assert (d / "d" / "g").read_bytes() == b"changed"
    assert _one_inode(d / "f", d / "d" / "g")
    assert (d / "d" / "g").stat().st_nlink == 2


@behaviour(PAIR)
def write_to_one_lower_hard_link_before_the_other_is_seen(d: Path) -> None:
    (d / "f").write_bytes(b"changed")
    assert names(d / "d") == ["g"]
    assert (d / "d" / "g").read_bytes() == b"changed"


@behaviour(PAIR)
def write_to_one_lower_hard_link_that_is_unlinked_changes_the_other(d: Path) -> None:
    with opened(d / "f", os.O_RDWR) as fd:
        (d / "f").unlink()
        os.pwrite(fd, b"SHARE", 0)
        assert (d / "d" / "g").read_bytes() == b"SHAREd"
        assert os.fstat(fd).st_ino == (d / "d" / "g").stat().st_ino
        assert os.fstat(fd).st_nlink == 1


@behaviour(PAIR)
def chmod_of_one_lower_hard_link_changes_the_other(d: Path) -> None:
    (d / "d" / "g").chmod(0o600)
    assert mode(d / "f") == 0o600
    os.utime(d / "f", ns=(1, 2))
    assert (d / "d" / "g").stat().st_mtime_ns == 2


@behaviour(TRIPLE)
def unlink_of_a_lower_hard_link_lowers_the_count(d: Path) -> None:
    assert (d / "f").stat().st_nlink == 3
    (d / "d" / "g").unlink()
    assert (d / "f").stat().st_nlink == 2
    (d / "f").unlink()
    assert (d / "d" / "h").stat().st_nlink == 1
    assert (d / "d" / "h").read_bytes() == b"shared"


@behaviour(TRIPLE)
def unlink_after_copy_up_keeps_the_other_names(d: Path) -> None:
    (d / "f").write_bytes(b"changed")
    (d / "f").unlink()
    assert (d / "d" / "g").read_bytes() == b"changed"
    assert (d / "d" / "g").stat().st_nlink == 2
    (d / "d" / "g").unlink()
    assert (d / "d" / "h").read_bytes() == b"changed"
    assert (d / "d" / "h").stat().st_nlink == 1


@behaviour(PAIR)
def rename_of_a_lower_hard_link_keeps_it_linked(d: Path) -> None:
    (d / "d" / "g").rename(d / "moved")
    assert _one_inode(d / "f", d / "moved")
    (d / "f").write_bytes(b"changed")
    assert (d / "moved").read_bytes() == b"changed"
    assert names(d / "d") == []


@behaviour(PAIR)
def rename_between_lower_hard_links_does_nothing(d: Path) -> None:
    (d / "f").rename(d / "d" / "g")
    assert names(d) == ["d", "f"]
    assert names(d / "d") == ["g"]
    assert (d / "f").stat().st_nlink == 2


@behaviour(PAIR)
def new_link_to_a_lower_hard_link_joins_it(d: Path) -> None:
    os.link(d / "f", d / "third")
    assert _one_inode(d / "f", d / "d" / "g", d / "third")
    assert (d / "d" / "g").stat().st_nlink == 3
    (d / "third").write_bytes(b"changed")
    assert (d / "d" / "g").read_bytes() == b"changed"


@behaviour([{"f": b"single"}])
def new_link_to_a_lower_file(d: Path) -> None:
    before = (d / "f").stat().st_ino
    os.link(d / "f", d / "g")
    assert (d / "f").stat().st_nlink == 2
    assert (d / "g").stat().st_ino == before
    (d / "g").write_bytes(b"changed")
    assert (d / "f").read_bytes() == b"changed"
    (d / "f").unlink()
    assert (d / "g").stat().st_nlink == 1


@behaviour([{"d/g": b"own"}, {"f": b"shared", "d/g": hardlink("f"), "d/h": hardlink("f")}])
def name_covered_by_a_layer_is_no_longer_linked(d: Path) -> None:
    assert (d / "d" / "g").read_bytes() == b"own"
    assert not _one_inode(d / "f", d / "d" / "g")
    assert _one_inode(d / "f", d / "d" / "h")
    assert (d / "f").stat().st_nlink == 2
    (d / "f").write_bytes(b"changed")
    assert (d / "d" / "g").read_bytes() == b"own"
    assert (d / "d" / "h").read_bytes() == b"changed"


@behaviour([{"f": WHITEOUT}, {"f": b"shared", "g": hardlink("f"), "h": hardlink("f")}])
def link_whose_first_name_is_hidden_is_read(d: Path) -> None:
    assert names(d) == ["g", "h"]
    assert (d / "g").read_bytes() == b"shared"
    assert (d / "g").stat().st_nlink == 2
    (d / "h").write_bytes(b"changed")
    assert (d / "g").read_bytes() == b"changed"


@behaviour([{"d/f": b"shared", "d/sub/g": hardlink("d/f")}])
def hard_links_survive_the_rename_of_their_directory(d: Path) -> None:
    (d / "d").rename(d / "moved")
    assert _one_inode(d / "moved" / "f", d / "moved" / "sub" / "g")
    (d / "moved" / "f").write_bytes(b"changed")
    assert (d / "moved" / "sub" / "g").read_bytes() == b"changed"


@behaviour([{"l": symlink("target"), "m": hardlink("l")}])
def hard_linked_symlinks_are_one_inode(d: Path) -> None:
    assert os.readlink(d / "m") == "target"
    assert _one_inode(d / "l", d / "m")
    os.utime(d / "l", ns=(1, 2), follow_symlinks=False)
    assert os.lstat(d / "m").st_mtime_ns == 2


@behaviour([{"f": b"one"}, {"g": b"two", "h": hardlink("g")}])
def link_replaced_by_rename_leaves_its_group(d: Path) -> None:
    (d / "f").rename(d / "g")
    assert (d / "g").read_bytes() == b"one"
    assert (d / "h").read_bytes() == b"two"
    assert (d / "h").stat().st_nlink == 1
