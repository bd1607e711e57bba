"""Random trees, archived by GNU tar and by Python in every format: our view, Python's, and the disk agree."""

from __future__ import annotations

import os
import stat
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.archives import Seen, seen
from unionfs.layers.tarball import open_tar_layer

SETTINGS = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


Archive = Callable[[Path, Path], None]


class Node(NamedTuple):
    kind: str  # dir, file, link, symlink, fifo, device
    mode: int
    uid: int
    gid: int
    mtime: int  # nanoseconds
    data: bytes  # of a file; the target of a symbolic link
    hole: int  # bytes before the data
    pick: int  # which earlier file a hard link means


def names(longest: int) -> st.SearchStrategy[bytes]:
    plain = st.text("abcdef.-é ", min_size=1, max_size=min(longest // 2, 12)).map(str.encode)
    wild = st.binary(min_size=1, max_size=longest)
    lengthy = st.integers(1, longest).map(lambda size: b"n" * size)
    legal = (plain | wild | lengthy).map(lambda name: name.replace(b"/", b"_").replace(b"\0", b"_"))
    return legal.filter(lambda name: name not in (b".", b"..") and not name.startswith(b".wh."))


def nodes(big: bool) -> st.SearchStrategy[Node]:
    return st.builds(
        Node,
        kind=st.sampled_from(["dir", "dir", "file", "file", "file", "link", "symlink", "fifo", "device"]),
        mode=st.integers(0, 0o7777),
        uid=st.integers(0, (1 << 32) - 2 if big else 0o7777777),
        gid=st.integers(0, (1 << 32) - 2 if big else 0o7777777),
        mtime=st.integers(-(1 << 31), 1 << 33) | st.integers(0, 1 << 31) if big else st.integers(0, 1 << 31),
        data=st.binary(min_size=1, max_size=300) | st.integers(1, 3000).map(lambda size: b"d" * size),
        hole=st.sampled_from([0, 0, 0, 8192, 1 << 20]) if big else st.just(0),
        pick=st.integers(0, 100),
    )


@st.composite
def trees(draw: st.DrawFn, *, big: bool) -> list[tuple[bytes, Node]]:
    """(path, node) in the order of making; parents come first."""
    folders, made = [b""], {}
    for _ in range(draw(st.integers(0, 12))):
        folder = draw(st.sampled_from(folders))
        path = folder + draw(names(255 if big else 9))
        node = draw(nodes(big))
        if path in made or len(path) > (1500 if big else 60):
            continue
        made[path] = node
        if node.kind == "dir":
            folders.append(path + b"/")
    return list(made.items())


def make(root: bytes, tree: list[tuple[bytes, Node]], nanoseconds: bool) -> None:
    """Writes the tree to the disk, owners, modes and times last."""
    files: list[bytes] = []
    for path, node in tree:
        where = os.path.join(root, path)
        match node.kind:
            case "dir":
                os.mkdir(where)
            case "symlink":
                os.symlink(node.data.replace(b"\0", b"_")[:90], where)
            case "fifo":
                os.mkfifo(where)
            case "device":
                os.mknod(where, stat.S_IFCHR, os.makedev(node.uid % 4096, node.gid % (1 << 20)))
            case "link" if files:
                os.link(files[node.pick % len(files)], where)
            case _:
                files.append(where)
                with open(where, "wb") as file:
                    file.seek(node.hole)
                    file.write(node.data)
    for path, node in reversed(tree):
        where = os.path.join(root, path)
        os.chown(where, node.uid, node.gid, follow_symlinks=False)
        if node.kind != "symlink":
            os.chmod(where, node.mode)
        unit = 1 if nanoseconds else 10**9
        time = node.mtime * (10**9 if nanoseconds and node.pick % 2 else 1) // unit * unit
        os.utime(where, ns=(time, time), follow_symlinks=False)
    os.utime(root, (1, 1))


def on_disk(root: bytes) -> dict[bytes, Seen]:
    found: dict[bytes, os.stat_result] = {b"": os.lstat(root)}
    for folder, directories, files in os.walk(root):
        for name in directories + files:
            path = os.path.join(folder, name)
            found[os.path.relpath(path, root)] = os.lstat(path)
    return {path: facts(os.path.join(root, path), path, st, found) for path, st in found.items()}


def facts(where: bytes, path: bytes, st: os.stat_result, all_of_them: dict[bytes, os.stat_result]) -> Seen:
    kind, data = stat.S_IFMT(st.st_mode), b""
    if kind == stat.S_IFREG:
        data = Path(os.fsdecode(where)).read_bytes()
    elif kind == stat.S_IFLNK:
        data = os.readlink(where)
    group = tuple(sorted(other for other, found in all_of_them.items() if found.st_ino == st.st_ino))
    rdev = st.st_rdev if kind == stat.S_IFCHR else 0
    return Seen(kind, stat.S_IMODE(st.st_mode), st.st_uid, st.st_gid, st.st_mtime_ns, data, rdev, group)


TYPES = {
    tarfile.DIRTYPE: stat.S_IFDIR,
    tarfile.SYMTYPE: stat.S_IFLNK,
    tarfile.FIFOTYPE: stat.S_IFIFO,
    tarfile.CHRTYPE: stat.S_IFCHR,
}


def normal(name: str) -> bytes:
    path = os.path.normpath(os.fsencode(name))
    return b"" if path == b"." else path


def by_tarfile(path: Path) -> dict[bytes, Seen]:
    """What Python's tarfile reads; it keeps times as floats, so they are left out."""
    found: dict[bytes, Seen] = {}
    groups: dict[bytes, list[bytes]] = {}
    with tarfile.open(path, errors="surrogateescape") as tar:
        for member in tar:
            name = normal(member.name)
            if member.islnk():
                target = normal(member.linkname)
                groups[target].append(name)
                found[name] = found[target]
                continue
            groups[name] = [name]
            kind = TYPES.get(member.type, stat.S_IFREG)
            file = tar.extractfile(member) if member.isreg() else None
            data = file.read() if file else os.fsencode(member.linkname) if member.issym() else b""
            rdev = os.makedev(member.devmajor, member.devminor) if kind == stat.S_IFCHR else 0
            found[name] = Seen(kind, member.mode & 0o7777, member.uid, member.gid, 0, data, rdev, ())
    for names_of_one in groups.values():
        for name in names_of_one:
            found[name] = found[name]._replace(group=tuple(sorted(names_of_one)))
    return found


def by_us(path: Path) -> dict[bytes, Seen]:
    with open_tar_layer(str(path)) as layer:
        return {name: facts._replace(group=tuple(sorted(facts.group))) for name, facts in seen(layer).items()}


def timeless(view: dict[bytes, Seen]) -> dict[bytes, Seen]:
    return {path: facts._replace(mtime=0) for path, facts in view.items()}


def compare(tree: list[tuple[bytes, Node]], nanoseconds: bool, archive: Archive, peer: bool = True) -> None:
    """`peer` False: tarfile reads such archives otherwise than GNU tar, and only the disk tells who is right."""
    with TemporaryDirectory(dir="/var/tmp") as temporary:
        root, path = Path(temporary, "root"), Path(temporary, "layer.tar")
        root.mkdir()
        make(os.fsencode(root), tree, nanoseconds)
        archive(root, path)
        ours = by_us(path)
        assert ours == on_disk(os.fsencode(root))
        assert not peer or timeless(ours) == timeless(by_tarfile(path))


def gnu(*options: str) -> Archive:
    def archive(root: Path, path: Path) -> None:
        command = ["tar", "--numeric-owner", "-cf", path, "-C", root, *options, "."]
        subprocess.run(command, check=True, capture_output=True, timeout=60)

    return archive


def python(form: int) -> Archive:
    def archive(root: Path, path: Path) -> None:
        with tarfile.open(path, "w", format=form, errors="surrogateescape") as tar:
            tar.add(root, "")

    return archive


@pytest.mark.parametrize("options", [["--format=gnu"], ["--format=oldgnu"], ["--format=gnu", "--sparse"]])
@SETTINGS
@given(tree=trees(big=True))
def test_gnu_formats(options, tree):
    compare(tree, False, gnu(*options))


@pytest.mark.parametrize(
    "options",
    [[], ["--sparse"], ["--sparse", "--sparse-version=0.0"], ["--sparse", "--sparse-version=0.1"]],
)
@SETTINGS
@given(tree=trees(big=True))
def test_pax_by_gnu_tar(options, tree):
    compare(tree, True, gnu("--format=pax", *options), peer=not options)  # it takes the path of a sparse file


@SETTINGS
@given(tree=trees(big=False))
def test_ustar_by_gnu_tar(tree):
    compare(tree, False, gnu("--format=ustar"))


@SETTINGS
@given(tree=trees(big=False))
def test_v7_by_gnu_tar(tree):
    files = [(path, node) for path, node in tree if node.kind not in ("fifo", "device")]
    compare(files, False, gnu("--format=v7"))


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@SETTINGS
@given(tree=trees(big=True))
def test_big_trees_by_python(form, tree):
    compare(tree, False, python(form))


@SETTINGS
@given(tree=trees(big=False))
def test_ustar_by_python(tree):
    compare(tree, False, python(tarfile.USTAR_FORMAT))


KEYS = st.text("ab=%. é", min_size=1, max_size=20).map(lambda text: b"user." + text.encode())


@SETTINGS
@given(attributes=st.dictionaries(KEYS, st.binary(max_size=300), max_size=5))
def test_xattrs_by_gnu_tar(attributes):
    with TemporaryDirectory(dir="/var/tmp") as temporary:
        path, root = Path(temporary, "layer.tar"), Path(temporary, "root")
        root.mkdir()
        (root / "f").write_bytes(b"x")
        for name, value in attributes.items():
            os.setxattr(root / "f", name, value)
        gnu("--xattrs", "--xattrs-include=*")(root, path)
        with open_tar_layer(str(path)) as layer:
            entry = layer.lookup(0, b"f")
            assert entry is not None
            assert layer.xattrs(entry.handle) == attributes
