"""`cp`: a tar stream between the host and a process that is shut into the container's root by chroot(2).

Whatever links a container makes, and when, they lead nowhere but inside of it: the process resolves every path
beneath that root. Docker's path rules are `landing`, which is pure.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from imagetool.containers import folder, remains, rootfs, rootless
from imagetool.containers import state as states
from imagetool.containers.folder import Container
from imagetool.containers.shutin import shut_in
from imagetool.errors import Conflict, ImageToolError, NotFound, UsageError
from imagetool.store.store import Store
from unionfs.annotations import IO, Any
from unionfs.namedtuple import NamedTuple


class Landing(NamedTuple):
    """Into which directory, and under what name; name "": the contents of a directory, into it."""

    directory: str
    name: str


def landing(source: str, *, is_directory: bool, target: str, kind: str) -> Landing:
    """PURE. kind of the target: "dir", "file" or "" (nothing is there). UsageError where it cannot be."""
    parent, name = os.path.split(target.rstrip("/") or "/")
    if kind == "dir":
        contents = is_directory and (source.endswith("/.") or source == ".")
        return Landing(target, "" if contents else os.path.basename(source.rstrip("/")) or "")
    if kind == "file" and is_directory:
        raise UsageError(f"cannot copy a directory over the file {target}")
    if not is_directory and target.endswith("/"):
        raise NotFound(f"no such directory: {target}", hint="make it first, or leave out the slash")
    return Landing(parent or ".", name)


class How(NamedTuple):
    """`archive` keeps owners, else everything belongs to who gets it; `follow`: a link as source means its target."""

    archive: bool = False
    follow: bool = False


PLAIN = How()
_AS_IT_IS: dict[str, Any] = (
    {"filter": "fully_trusted"} if hasattr(tarfile, "tar_filter") else {}
)  # checked here
_ALL_BITS, _NO_SETID = 0o7777, 0o1777  # nobody gets a setuid program of root's out of a container by the way


def into(store: Store, container: Container, source: str, target: str, how: How = PLAIN) -> None:
    """From the host. NotFound, UsageError, ImageToolError."""
    if not os.path.lexists(source):
        raise NotFound(f"no such file or directory: {source}")
    path = "/" + target.lstrip("/")
    directory = _is_directory(source, how)

    def unpack(stream: IO[bytes]) -> None:
        place = _place(source, is_directory=directory, target=path)
        _unpack(stream, place, owner=None if how.archive else 0)

    with _root(store, container) as root:
        _transfer(lambda out: _pack(out, source, how), unpack, root, inside="reader")


def out_of(store: Store, container: Container, source: str, target: str, how: How = PLAIN) -> None:
    """To the host. NotFound, UsageError, ImageToolError."""
    path = "/" + source.lstrip("/")
    if os.path.exists(target) and not (os.path.isdir(target) or os.path.isfile(target)):
        raise UsageError(
            f"cannot copy to {target}: it is neither a file nor a directory", hint="for a tar: -"
        )

    def unpack(stream: IO[bytes]) -> None:
        with tarfile.open(fileobj=stream, mode="r|") as tar:
            first = tar.next()
            if first is None:
                raise NotFound(f"no such file or directory: {source}")
            place = _place(source, is_directory=first.isdir(), target=target)
            member: tarfile.TarInfo | None = first
            while member is not None:
                _put(tar, member, place, None if how.archive else os.getuid(), _NO_SETID)
                member = tar.next()

    with _root(store, container) as root:
        _transfer(lambda out: _pack(out, path, how), unpack, root, inside="writer")


def tar_out(
    store: Store, container: Container, source: str, write: Callable[[bytes], object], how: How = PLAIN
) -> None:
    """A tar of it, as `cp CONTAINER:PATH -` gives it."""

    def copy(stream: IO[bytes]) -> None:
        while data := stream.read(1 << 16):
            write(data)

    path = "/" + source.lstrip("/")
    with _root(store, container) as root:
        _transfer(
            lambda out: _pack(out, path, how, os.path.basename(path.rstrip("/"))), copy, root, inside="writer"
        )


def tar_into(store: Store, container: Container, stream: IO[bytes], target: str) -> None:
    """A tar into a directory of the container."""
    path = "/" + target.lstrip("/")

    def unpack(source: IO[bytes]) -> None:
        if _kind(path) != "dir":
            raise NotFound(f"no such directory in the container: {target}")
        _unpack(source, Landing(path, ""), owner=None)

    def feed(out: IO[bytes]) -> None:
        while data := stream.read(1 << 16):
            out.write(data)

    with _root(store, container) as root:
        _transfer(feed, unpack, root, inside="reader")


@contextmanager
def _root(store: Store, container: Container) -> Iterator[int]:
    """A descriptor of the container's root: as its processes see it, or mounted for this once."""
    if container.state.running:
        rootless.join(container.state.pid)
        fd = os.open(f"/proc/{container.state.pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if not states.is_alive(
                container.state.pid, container.state.started
            ):  # the id may be another's by now
                raise Conflict(f"container {container.name} has just ended", hint="try again")
            yield fd
        finally:
            os.close(fd)
        return
    with folder.holding(container):
        remains.clear(store, container.record)
        rootless.enter()
        rootfs.mount(store, container.record, container.directory)
        try:
            fd = os.open(f"{container.directory}/rootfs", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                yield fd
            finally:
                os.close(fd)
        finally:
            rootfs.unmount(f"{container.directory}/rootfs")
            rootfs.wait_until_free(container.directory)


def _transfer(
    pack: Callable[[IO[bytes]], None], unpack: Callable[[IO[bytes]], None], root: int, *, inside: str
) -> None:
    """Runs one side in a process below `root`, the other one here. Its errors are raised here."""
    reader, writer = os.pipe()
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(told)
        os.close(reader if inside == "writer" else writer)
        own, side, mode = (reader, unpack, "rb") if inside == "reader" else (writer, pack, "wb")
        shut_in(root, tell, own, lambda: _run(side, own, mode))
    os.close(tell)
    os.close(writer if inside == "writer" else reader)
    failed: BaseException | None = None
    try:
        own, side, mode = (writer, pack, "wb") if inside == "reader" else (reader, unpack, "rb")
        _run(side, own, mode)
    except (ImageToolError, OSError, tarfile.TarError) as error:
        failed = error
    with os.fdopen(told) as said:
        text = said.read()
    os.waitpid(pid, 0)
    if text or failed:
        raise (
            failed if isinstance(failed, ImageToolError) and not text else ImageToolError(text or str(failed))
        )


def _run(side: Callable[[IO[bytes]], None], fd: int, mode: str) -> None:
    with os.fdopen(fd, mode) as stream:
        side(stream)


def _place(source: str, *, is_directory: bool, target: str) -> Landing:
    """Where it goes. A link as target means what it leads to, whether or not that is there."""
    if os.path.islink(target) and not os.path.isdir(target):
        target = os.path.realpath(target)
    place = landing(source, is_directory=is_directory, target=target, kind=_kind(target))
    if not os.path.isdir(place.directory):
        raise NotFound(f"no such directory: {place.directory}")
    return place


def _kind(path: str) -> str:
    return "dir" if os.path.isdir(path) else "file" if os.path.lexists(path) else ""


def _is_directory(source: str, how: How) -> bool:
    """A link is one by itself only where it is followed, or where a slash says so."""
    return os.path.isdir(source) and (
        how.follow or source.endswith(("/", "/.")) or not os.path.islink(source)
    )


def _pack(out: IO[bytes], path: str, how: How, name: str = ".") -> None:
    path = os.path.realpath(path) if how.follow else path
    with tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        tar.add(path, arcname=name)


def _unpack(stream: IO[bytes], place: Landing, *, owner: int | None) -> None:
    with tarfile.open(fileobj=stream, mode="r|") as tar:
        for member in tar:
            _put(tar, member, place, owner, _ALL_BITS)


def _put(tar: tarfile.TarFile, member: tarfile.TarInfo, place: Landing, owner: int | None, bits: int) -> None:
    """One member; the root of the stream, ".", comes to be `place`. Of its mode `bits` are kept."""
    rest = member.name.removeprefix("./") if member.name != "." else ""
    member.name = "/".join(part for part in (place.name, rest) if part) or "."
    if member.islnk():
        link = member.linkname.removeprefix("./")
        member.linkname = "/".join(part for part in (place.name, link) if part)
    member.uname = member.gname = ""
    if owner is not None:
        member.uid = member.gid = owner
    member.mode &= bits
    if member.name == ".":
        return
    if ".." in member.name.split("/"):
        raise UsageError(f"the archive has {member.name!r}, which is not below its root")
    # A directory that is there keeps its place, so a link in it must not lead out; all else replaces a link.
    _check_inside(place.directory, member.name if member.isdir() else os.path.dirname(member.name))
    if member.islnk():
        _check_inside(place.directory, member.linkname)
    full = os.path.join(place.directory, member.name)
    if not member.isdir() and os.path.islink(full):
        os.unlink(full)
    tar.extract(member, place.directory, numeric_owner=True, **_AS_IT_IS)


def _check_inside(directory: str, name: str) -> None:
    """No name may lead out, through links that came before it either."""
    root = os.path.realpath(directory)
    if os.path.commonpath([root, os.path.realpath(os.path.join(root, name))]) != root:
        raise UsageError(f"the archive has {name!r}, which leads out of its root")
