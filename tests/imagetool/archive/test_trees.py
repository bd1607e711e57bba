"""Trees go through export and unpack, and top layers through pack, and nothing of them is lost."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imagetool.archive.export import export
from imagetool.archive.pack import Options, pack
from imagetool.archive.unpack import unpack
from imagetool.errors import ImageToolError, Malformed, UsageError
from tests.imagetool.archive.kit import gnu_tar, run, unpacked, without_links
from tests.property.test_tar_trees import Node, make, trees
from tests.support.notation import WHITEOUT, directory, file, hardlink, symlink
from tests.support.snapshot import differences, snapshot
from tests.support.write import to_directory
from unionfs.layers.tarball import open_tar_layer

SETTINGS = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@SETTINGS
@given(trees(big=True))
def test_a_tree_survives_export_and_unpack(tree: list[tuple[bytes, Node]]) -> None:
    with TemporaryDirectory(dir="/var/tmp") as place:
        base = Path(place)
        (base / "src").mkdir()
        make(os.fsencode(base / "src"), tree, True)
        expected = snapshot(base / "src", times=True)
        tar = gnu_tar(base / "src", base / "gnu.tar")
        with open(base / "ours.tar", "wb") as out:
            export([str(tar)], out.write)
        assert differences(expected, unpacked([base / "ours.tar"], base / "out")) == []
        (base / "again").mkdir()
        run("tar", "--xattrs", "--xattrs-include=*", "-C", base / "again", "-xpf", base / "ours.tar")
        assert differences(expected, snapshot(base / "again", times=True)) == []


NAMES = ["a", "b", "d", "d/x", "d/y", "d/s", "d/s/z", "e", "e/f", "l"]
OPERATIONS = [
    "write",
    "append",
    "unlink",
    "rmtree",
    "mkdir",
    "rename",
    "chmod",
    "link",
    "symlink",
    "fifo",
    "xattr",
    "device",
]
operations = st.lists(
    st.tuples(st.sampled_from(OPERATIONS), st.sampled_from(NAMES), st.sampled_from(NAMES)), max_size=12
)
LOWER = {
    "a": b"lower a",
    "b": hardlink("a"),
    "d/x": file(b"x" * 5000, 0o4755),
    "d/y": symlink("x"),
    "d/s/z": file(b"z", xattrs={"user.k": b"\xff\0v"}),
    "e": directory(0o1777, uid=7),
    "l": symlink("nowhere/to/be/found"),
}


NEW = os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK  # never through a link, never waiting for a pipe's reader


def operate_within(root: Path, steps: list[tuple[str, str, str]]) -> None:
    """Makes the changes in a child whose root directory is the tree: whatever a link says, nothing else is in reach."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.chroot(root)
            os.chdir("/")
            for step in steps:
                operate(*step)
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0


def operate(kind: str, one: str, two: str) -> None:
    """One change by one system call, or few; what cannot be done is not."""
    with suppress(OSError):
        match kind:
            case "write":
                put(one, NEW | os.O_CREAT | os.O_TRUNC, f"written for {two}")
            case "append":
                put(one, NEW | os.O_APPEND, "more")
            case "unlink":
                os.unlink(one)
            case "rmtree" if stat.S_ISDIR(os.lstat(one).st_mode):  # it would wait for who writes to a pipe
                shutil.rmtree(one)
            case "mkdir":
                os.mkdir(one, 0o750)
            case "rename":
                os.rename(one, two)
            case "chmod" if not os.path.islink(one):
                os.chmod(one, 0o2640)
            case "link":
                os.link(one, two, follow_symlinks=False)
            case "symlink":
                os.symlink(f"nowhere/{two}", one)
            case "fifo":
                os.mkfifo(one)
            case "device":
                os.mknod(one, stat.S_IFCHR | 0o640, os.makedev(1, 3))
            case "xattr":
                os.setxattr(one, "user.new", two.encode(), follow_symlinks=False)


def put(path: str, flags: int, text: str) -> None:
    fd = os.open(path, flags, 0o640)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


@SETTINGS
@given(operations, st.booleans())
def test_what_the_kernels_overlay_wrote_packs_into_the_same_tree(
    steps: list[tuple[str, str, str]], whole: bool
) -> None:
    """Deletions, opaque directories, redirects, copies of metadata only, hard links."""
    with TemporaryDirectory(dir="/var/tmp") as place:
        base = Path(place)
        to_directory(base / "lower", LOWER)
        lower_tar = gnu_tar(base / "lower", base / "lower.tar")
        for name in ("upper", "work", "merged"):
            (base / name).mkdir()
        features = "off" if whole else "on"
        options = f"lowerdir={base}/lower,upperdir={base}/upper,workdir={base}/work"
        options += f",redirect_dir={features},metacopy={features},index=off"
        run("mount", "-t", "overlay", "overlay", "-o", options, base / "merged")
        try:
            operate_within(base / "merged", steps)
            expected = snapshot(base / "merged", times=True)
        finally:
            run("umount", "-l", base / "merged")
        for target in ("one.tar", "two.tar"):
            with open(base / target, "wb") as out:
                pack(str(base / "upper"), out.write, [open_tar_layer(str(lower_tar))])
        assert (base / "one.tar").read_bytes() == (base / "two.tar").read_bytes()
        found = unpacked([base / "one.tar", lower_tar], base / "out")
        lower_root = found.pop(b""), expected.pop(b"")
        assert lower_root[0].mode == lower_root[1].mode
        assert differences(without_links(expected), without_links(found)) == []


def test_hard_links_of_a_top_layer_stay_together(tmp_path: Path) -> None:
    upper = to_directory(
        tmp_path / "upper", {"a": b"1", "d/b": hardlink("a"), "gone": WHITEOUT, "o": directory(opaque=True)}
    )
    with open(tmp_path / "l.tar", "wb") as out:
        packed = pack(str(upper), out.write)
    assert (packed.whiteouts, packed.size) == (2, 1)
    found = unpacked([tmp_path / "l.tar"], tmp_path / "out")
    assert found[b"a"].links == found[b"d/b"].links == (b"a", b"d/b")
    listed = run("tar", "-tf", tmp_path / "l.tar").split()
    assert listed == ["a", "d/", "d/b", ".wh.gone", "o/", "o/.wh..wh..opq"] or ".wh.gone" in listed
    assert "o/.wh..wh..opq" in listed


def test_source_date_epoch_bounds_times(tmp_path: Path) -> None:
    upper = to_directory(
        tmp_path / "upper", {"new": file(b"1", mtime=2_000_000_000 * 10**9 + 5), "old": file(b"1", mtime=5)}
    )
    with open(tmp_path / "l.tar", "wb") as out:
        pack(str(upper), out.write, options=Options(epoch=1_000_000_000))
    found = unpacked([tmp_path / "l.tar"], tmp_path / "out")
    assert (found[b"new"].mtime, found[b"old"].mtime) == (10**18, 5)


def test_zeros_become_holes_however_they_were_written(tmp_path: Path) -> None:
    data = bytes(3 << 20) + b"x" * 70_000 + bytes(1 << 20)
    tars = []
    for number, start in enumerate((0, 3 << 20)):
        upper = tmp_path / f"upper{number}"
        upper.mkdir()
        with open(upper / "f", "wb") as out:
            out.truncate(len(data))
            out.seek(start)
            out.write(data[start : -(1 << 20)] if start else data)
        os.utime(upper / "f", (0, 0))
        with open(tmp_path / f"{number}.tar", "wb") as out:
            pack(str(upper), out.write)
        tars.append(tmp_path / f"{number}.tar")
    assert tars[0].read_bytes() == tars[1].read_bytes()
    assert tars[0].stat().st_size < 200_000
    unpacked([tars[0]], tmp_path / "out")
    assert (tmp_path / "out/f").read_bytes() == data
    assert (tmp_path / "out/f").stat().st_blocks * 512 < 1 << 20
    (tmp_path / "gnu").mkdir()
    run("tar", "-C", tmp_path / "gnu", "-xf", tars[0])
    assert (tmp_path / "gnu/f").read_bytes() == data


def test_a_name_that_would_mean_a_deletion_is_refused(tmp_path: Path) -> None:
    upper = to_directory(tmp_path / "upper", {"d/.wh.x": b"1"})
    with pytest.raises(Malformed, match=r"\.wh\.x"):
        pack(str(upper), lambda data: None)


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A directory that every user can reach; pytest's own are root's alone."""
    with TemporaryDirectory(dir="/var/tmp") as place:
        os.chmod(place, 0o755)
        yield Path(place)


def test_unprivileged_owners_are_kept_in_an_attribute(open_place: Path) -> None:
    tree = {
        "f": file(b"1", 0o4711, uid=5, gid=6),
        "d": directory(0o500, uid=7),
        "d/g": b"2",
        "l": symlink("f"),
    }
    source = to_directory(open_place / "src", tree)
    os.mknod(source / "dev", stat.S_IFCHR | 0o600, os.makedev(5, 1))
    os.mkfifo(source / "pipe", 0o644)
    tar = gnu_tar(source, open_place / "src.tar")
    home = open_place / "home"
    home.mkdir()
    os.chown(home, 12345, 12345)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.setgroups([])
            os.setgid(12345)
            os.setuid(12345)
            assert unpack([str(tar)], str(home / "out")).warnings == ()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0
    found = {
        name: os.getxattr(home / "out" / name, "user.containers.override_stat")
        for name in ("", "f", "d", "d/g", "dev", "pipe")
    }
    assert found == {
        "": b"0:0:755:dir",
        "f": b"5:6:4711:file",
        "d": b"7:0:500:dir",
        "d/g": b"0:0:644:file",
        "dev": b"0:0:600:char-5-1",
        "pipe": b"0:0:644:pipe",
    }
    assert (home / "out/d/g").read_bytes() == b"2"


def test_a_link_out_of_the_tree_is_never_followed(tmp_path: Path) -> None:
    """A layer makes `d` a link to a place outside; the next one puts a file into `d`."""
    outside = tmp_path / "outside"
    outside.mkdir()
    low = gnu_tar(
        to_directory(tmp_path / "low", {"d": symlink(str(outside)), "e": symlink("..")}), tmp_path / "low.tar"
    )
    high = gnu_tar(to_directory(tmp_path / "high", {"d/f": b"1", "e/f": b"2"}), tmp_path / "high.tar")
    found = unpacked([high, low], tmp_path / "deep" / "out")
    assert {b"d/f", b"e/f"} <= found.keys()
    assert os.listdir(outside) == []
    assert os.listdir(tmp_path / "deep") == ["out"]


def test_unpack_wants_an_empty_directory_and_cleans_up(tmp_path: Path) -> None:
    tar = gnu_tar(to_directory(tmp_path / "src", {"a": b"1", "big": b"x" * 5000}), tmp_path / "src.tar")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine").write_text("mine")
    with pytest.raises(UsageError, match="not empty"):
        unpack([str(tar)], str(tmp_path / "full"))
    assert os.listdir(tmp_path / "full") == ["mine"]
    open_tar_layer(str(tar)).close()
    os.truncate(tar, 1024)
    with pytest.raises(ImageToolError) as caught:
        unpack([str(tar)], str(tmp_path / "new"))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "new").exists()


def test_opaque_is_said_only_where_it_hides_something(tmp_path: Path) -> None:
    """The kernel's overlayfs marks every directory that is made beside ones from below; a layer need not."""
    lower = gnu_tar(to_directory(tmp_path / "lower", {"there/f": b"1", "file": b"2"}), tmp_path / "lower.tar")
    new = {name: directory(opaque=True) for name in ("there", "file", "new")}
    upper = to_directory(tmp_path / "upper", new)
    with open(tmp_path / "l.tar", "wb") as out:
        packed = pack(str(upper), out.write, [open_tar_layer(str(lower))])
    assert run("tar", "-tf", tmp_path / "l.tar").split() == ["file/", "new/", "there/", "there/.wh..wh..opq"]
    assert packed.whiteouts == 1


def test_a_deletion_is_said_only_where_there_is_something(tmp_path: Path) -> None:
    lower = gnu_tar(to_directory(tmp_path / "lower", {"d/there": b"1"}), tmp_path / "lower.tar")
    upper = to_directory(tmp_path / "upper", {"d/there": WHITEOUT, "d/never": WHITEOUT, "no": WHITEOUT})
    with open(tmp_path / "l.tar", "wb") as out:
        packed = pack(str(upper), out.write, [open_tar_layer(str(lower))])
    assert run("tar", "-tf", tmp_path / "l.tar").split() == ["d/", "d/.wh.there"]
    assert packed.whiteouts == 1
