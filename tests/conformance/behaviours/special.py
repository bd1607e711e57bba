"""FIFOs, sockets and devices."""

import os
import socket
import stat
from errno import EADDRINUSE, ECONNREFUSED, EEXIST, ENXIO, EPERM
from pathlib import Path

from tests.conformance.kit import (
    RENAME_WHITEOUT,
    Needs,
    as_user,
    behaviour,
    mode,
    names,
    opened,
    refuses,
    rename2,
)


@behaviour()
def fifo_connects_two_processes(d: Path) -> None:
    os.mkfifo(d / "p", 0o640)
    assert (d / "p").is_fifo()
    pid = os.fork()
    if pid == 0:
        (d / "p").write_bytes(b"through the fifo")
        os._exit(0)
    assert (d / "p").read_bytes() == b"through the fifo"
    assert os.waitpid(pid, 0)[1] == 0


@behaviour()
def fifo_without_a_reader_is_enxio(d: Path) -> None:
    os.mkfifo(d / "p")
    with refuses(ENXIO):
        os.open(d / "p", os.O_WRONLY | os.O_NONBLOCK)


@behaviour()
def fifo_is_linked_renamed_and_removed(d: Path) -> None:
    os.mkfifo(d / "p")
    (d / "p").rename(d / "q")
    (d / "q").chmod(0o600)
    assert names(d) == ["q"]
    assert stat.S_ISFIFO(os.lstat(d / "q").st_mode)
    assert mode(d / "q") == 0o600
    (d / "q").unlink()
    assert names(d) == []


@behaviour()
def fifo_over_an_existing_name_is_eexist(d: Path) -> None:
    (d / "f").write_bytes(b"")
    with refuses(EEXIST):
        os.mkfifo(d / "f")


def _listen(path: Path) -> socket.socket:
    os.chdir(path.parent)  # a socket's path is short
    server = socket.socket(socket.AF_UNIX)
    server.bind(path.name)
    server.listen()
    return server


@behaviour()
def socket_accepts_connections(d: Path) -> None:
    with _listen(d / "s") as server, socket.socket(socket.AF_UNIX) as client:
        assert (d / "s").is_socket()
        client.connect("s")
        client.sendall(b"hello")
        with server.accept()[0] as peer:
            assert peer.recv(10) == b"hello"


@behaviour()
def socket_is_found_under_its_new_name(d: Path) -> None:
    with _listen(d / "s"), socket.socket(socket.AF_UNIX) as client:
        (d / "s").rename(d / "t")
        client.connect("t")


@behaviour()
def socket_name_is_taken_until_unlinked(d: Path) -> None:
    _listen(d / "s").close()
    with socket.socket(socket.AF_UNIX) as client, refuses(ECONNREFUSED):
        client.connect("s")
    with refuses(EADDRINUSE):
        _listen(d / "s")
    (d / "s").unlink()
    _listen(d / "s").close()


@behaviour()
def socket_cannot_be_opened(d: Path) -> None:
    _listen(d / "s").close()
    with refuses(ENXIO):
        os.open(d / "s", os.O_RDONLY)


@behaviour()
def mknod_makes_a_regular_file(d: Path) -> None:
    os.mknod(d / "f", stat.S_IFREG | 0o640)
    (d / "f").write_bytes(b"x")
    assert mode(d / "f") == 0o640


@behaviour(needs=Needs.ROOT)
def device_numbers_are_kept(d: Path) -> None:
    for kind, major, minor in (
        (stat.S_IFCHR, 1, 3),
        (stat.S_IFBLK, 4095, 1_048_575),
        (stat.S_IFCHR, 300, 70_000),
    ):
        os.mknod(d / "n", kind | 0o600, os.makedev(major, minor))
        info = (d / "n").stat()
        assert stat.S_IFMT(info.st_mode) == kind
        assert (os.major(info.st_rdev), os.minor(info.st_rdev)) == (major, minor)
        (d / "n").unlink()


@behaviour(needs=Needs.ROOT)
def device_works(d: Path) -> None:
    os.mknod(d / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(d / "zero", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    (d / "null").write_bytes(b"swallowed")
    assert (d / "null").read_bytes() == b""
    with opened(d / "zero") as fd:
        assert os.read(fd, 100) == bytes(100)


@behaviour(needs=Needs.ROOT)
def devices_are_made_by_root_only(d: Path) -> None:
    d.chmod(0o777)

    def make() -> None:
        with refuses(EPERM):
            os.mknod(d / "n", stat.S_IFCHR | 0o600, os.makedev(1, 3))

    as_user(make)
    assert names(d) == []


@behaviour(needs=Needs.ROOT)
def device_0_0_is_refused(d: Path) -> None:
    with refuses(EPERM):
        os.mknod(d / "n", stat.S_IFCHR | 0o600, 0)
    assert names(d) == []


@behaviour(needs=Needs.ROOT)
def block_device_0_0_is_ordinary(d: Path) -> None:
    os.mknod(d / "n", stat.S_IFBLK | 0o600, 0)
    assert stat.S_ISBLK((d / "n").stat().st_mode)
    assert names(d) == ["n"]


@behaviour(needs=Needs.ROOT)
def rename_can_leave_a_whiteout(d: Path) -> None:
    (d / "f").write_bytes(b"x")
    rename2(d / "f", d / "g", RENAME_WHITEOUT)
    assert (d / "g").read_bytes() == b"x"
    info = os.lstat(d / "f")
    assert stat.S_ISCHR(info.st_mode)
    assert info.st_rdev == 0
