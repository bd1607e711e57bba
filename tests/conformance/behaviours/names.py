"""Names, paths and their lookup."""

import os
import stat
from errno import EINVAL, EISDIR, ENAMETOOLONG, ENOENT, ENOTDIR
from pathlib import Path

from tests.conformance.kit import behaviour, names, opened, refuses

LONGEST = "n" * 255


@behaviour()
def new_directory_is_empty(d: Path) -> None:
    assert names(d) == []


@behaviour()
def created_names_are_listed(d: Path) -> None:
    for name in ("b", "a", "c"):
        (d / name).write_bytes(b"")
    assert names(d) == ["a", "b", "c"]


@behaviour()
def names_differ_by_case(d: Path) -> None:
    (d / "Name").write_bytes(b"1")
    (d / "name").write_bytes(b"2")
    assert (d / "Name").read_bytes() == b"1"
    assert names(d) == ["Name", "name"]


@behaviour()
def name_of_255_bytes_works(d: Path) -> None:
    (d / LONGEST).write_bytes(b"x")
    (d / LONGEST).rename(d / LONGEST.upper())
    assert names(d) == [LONGEST.upper()]
    (d / LONGEST.upper()).unlink()
    (d / LONGEST).mkdir()
    (d / LONGEST).rmdir()
    assert names(d) == []


@behaviour()
def name_of_256_bytes_is_refused(d: Path) -> None:
    long = d / (LONGEST + "n")
    (d / "f").write_bytes(b"")
    with refuses(ENAMETOOLONG):
        long.write_bytes(b"")
    with refuses(ENAMETOOLONG):
        long.mkdir()
    with refuses(ENAMETOOLONG):
        long.symlink_to("f")
    with refuses(ENAMETOOLONG):
        os.link(d / "f", long)
    with refuses(ENAMETOOLONG):
        os.mkfifo(long)


@behaviour()
def name_of_256_bytes_is_refused_where_it_is_looked_for(d: Path) -> None:
    long = d / (LONGEST + "n")
    (d / "f").write_bytes(b"")
    with refuses(ENAMETOOLONG):
        long.stat()
    with refuses(ENAMETOOLONG):
        long.unlink()
    with refuses(ENAMETOOLONG):
        long.rmdir()
    with refuses(ENAMETOOLONG):
        long.rename(d / "g")
    with refuses(ENAMETOOLONG):
        (d / "f").rename(long)
    assert names(d) == ["f"]


@behaviour()
def name_that_is_not_utf8_works(d: Path) -> None:
    name = os.fsencode(d) + b"/\xff\xfe\x80"
    with open(name, "wb") as out:
        out.write(b"x")
    assert os.listdir(os.fsencode(d)) == [b"\xff\xfe\x80"]
    os.rename(name, name + b"\xc3")
    assert os.stat(name + b"\xc3").st_size == 1


@behaviour()
def every_byte_but_slash_and_nul_works_in_a_name(d: Path) -> None:
    wanted = {bytes([byte]) + b"x" for byte in range(1, 256) if byte != ord("/")}
    for name in wanted:
        os.mkdir(os.fsencode(d) + b"/" + name)
    assert set(os.listdir(os.fsencode(d))) == wanted


@behaviour()
def names_that_begin_with_wh_are_ordinary(d: Path) -> None:
    for name in (".wh.f", ".wh..wh..opq", ".wh.", ".wh..wh.f"):
        (d / name).write_bytes(b"x")
    (d / "f").write_bytes(b"")
    assert names(d) == [".wh.", ".wh..wh..opq", ".wh..wh.f", ".wh.f", "f"]
    (d / ".wh.f").unlink()
    assert (d / "f").exists()


@behaviour()
def dots_in_names_are_ordinary(d: Path) -> None:
    for name in ("...", "..f", ".f", "f.", " ", "f "):
        (d / name).mkdir()
    assert names(d) == sorted(["...", "..f", ".f", "f.", " ", "f "])


@behaviour()
def missing_name_is_enoent(d: Path) -> None:
    for action in (os.stat, os.unlink, os.rmdir, os.readlink, os.listdir):
        with refuses(ENOENT):
            action(d / "f")


@behaviour()
def missing_name_appears_once_created(d: Path) -> None:
    for _ in range(3):
        with refuses(ENOENT):
            (d / "f").stat()
        (d / "f").write_bytes(b"x")
        assert (d / "f").stat().st_size == 1
        (d / "f").unlink()


@behaviour()
def name_below_a_file_is_enotdir(d: Path) -> None:
    (d / "f").write_bytes(b"")
    for action in (os.stat, os.mkdir, os.unlink):
        with refuses(ENOTDIR):
            action(d / "f" / "g")


@behaviour()
def slash_after_a_file_is_enotdir(d: Path) -> None:
    (d / "f").write_bytes(b"")
    with refuses(ENOTDIR):
        os.stat(f"{d}/f/")
    with refuses(ENOTDIR):
        os.rename(f"{d}/f/", f"{d}/g")
    with refuses(EISDIR):
        os.open(f"{d}/new/", os.O_CREAT | os.O_WRONLY)


@behaviour()
def slash_after_a_directory_is_ignored(d: Path) -> None:
    os.mkdir(f"{d}/d/")
    os.rename(f"{d}/d/", f"{d}/e/")
    assert names(d) == ["e"]
    os.rmdir(f"{d}/e/")


@behaviour()
def dot_and_dotdot_are_the_directories_themselves(d: Path) -> None:
    (d / "a" / "b").mkdir(parents=True)
    assert os.stat(f"{d}/a/.").st_ino == os.stat(d / "a").st_ino
    assert os.stat(f"{d}/a/b/..").st_ino == os.stat(d / "a").st_ino
    assert os.stat(f"{d}/a/b/../..").st_ino == os.stat(d).st_ino


@behaviour()
def name_in_a_removed_directory_cannot_be_made(d: Path) -> None:
    (d / "gone").mkdir()
    with opened(d / "gone", os.O_DIRECTORY) as fd:
        (d / "gone").rmdir()
        with refuses(ENOENT):
            os.open("f", os.O_CREAT | os.O_WRONLY, dir_fd=fd)
        with refuses(ENOENT):
            os.mkdir("d", dir_fd=fd)
        with refuses(ENOENT):
            os.symlink("x", "l", dir_fd=fd)


@behaviour()
def name_is_reused_without_a_trace(d: Path) -> None:
    (d / "n").write_bytes(b"old")
    (d / "n").chmod(0o600)
    (d / "n").unlink()
    (d / "n").mkdir()
    (d / "n").rmdir()
    (d / "n").symlink_to("x")
    (d / "n").unlink()
    (d / "n").write_bytes(b"")
    assert (d / "n").stat().st_size == 0
    assert stat.S_ISREG((d / "n").stat().st_mode)


@behaviour()
def tree_deeper_than_path_max_works(d: Path) -> None:
    step, depth = "s" * 200, 25
    fds = [os.open(d, os.O_DIRECTORY)]
    for _ in range(depth):
        os.mkdir(step, dir_fd=fds[-1])
        fds.append(os.open(step, os.O_DIRECTORY, dir_fd=fds[-1]))
    with open(os.open("f", os.O_CREAT | os.O_RDWR, dir_fd=fds[-1]), "w+b") as out:
        out.write(b"deep")
    os.rename("f", "g", src_dir_fd=fds[-1], dst_dir_fd=fds[-1])
    assert os.stat("g", dir_fd=fds[-1]).st_size == 4
    os.unlink("g", dir_fd=fds[-1])
    os.close(fds.pop())
    while fds:
        fd = fds.pop()
        os.rmdir(step, dir_fd=fd)
        os.close(fd)
    assert names(d) == []


@behaviour()
def path_of_path_max_is_refused(d: Path) -> None:
    with refuses(ENAMETOOLONG):
        os.stat(f"{d}/" + "x/" * 2048)


@behaviour()
def empty_path_is_enoent(d: Path) -> None:
    os.chdir(d)
    with refuses(ENOENT):
        os.stat("")
    with refuses(ENOENT):
        os.mkdir("")


@behaviour()
def dot_and_dotdot_cannot_be_made_or_removed(d: Path) -> None:
    (d / "a").mkdir()
    with refuses(EINVAL):
        os.rmdir(f"{d}/a/.")
    for name in (".", ".."):
        try:
            os.mkdir(f"{d}/a/{name}")
        except FileExistsError:
            continue
        raise AssertionError(f"mkdir of {name} worked")
