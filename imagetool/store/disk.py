"""Publishing on disk: temporary file -> fsync -> rename -> fsync of the directory, and what errors it gives."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from imagetool.errors import NoSpace, StoreError
from unionfs.annotations import AnyStr, BinaryIO
from unionfs.namedtuple import NamedTuple

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


@contextmanager
def errors(what: str) -> Iterator[None]:
    """Turns an OSError from within into NoSpace or StoreError: "WHAT: FILE: reason". That nobody reads what goes
    into a pipe is no error: it ends a program as it ends any."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise disk_error(error, what) from error


def disk_error(error: OSError, what: str) -> NoSpace | StoreError:
    name = os.fsdecode(error.filename) if error.filename else ""
    where = f" {name}:" if name and not what.endswith(f" {name}") else ""
    if error.errno in FULL:
        return NoSpace(
            f"{what}:{where} no space left on device", hint="free some, or see `imagetool system prune`"
        )
    hint = "give another one with --root" if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS) else ""
    return StoreError(f"{what}:{where} {error.strerror}", hint=hint)


def sync_dir(path: str) -> None:
    """Makes the names in a directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_mount(path: str) -> None:
    """All that was written to the file system mounted at a directory is with whoever serves it. OSError."""
    from unionfs import libc

    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        libc.call("syncfs", fd)
    finally:
        os.close(fd)


def wait_unlocked(path: str, seconds: float) -> bool:
    """Waits until nobody has locked a directory; False if that takes longer. OSError."""
    import fcntl
    from time import monotonic, sleep

    end = monotonic() + seconds
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        while monotonic() < end:
            with suppress(BlockingIOError):
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            sleep(0.002)
        return False
    finally:
        os.close(fd)


def link(top: int, first: Sequence[AnyStr], parent: int, name: AnyStr) -> None:
    """Another name, in the directory `parent`, for the path `first` below the directory `top`, every part of which
    was made by the caller: each is opened without following anything. OSError."""
    fd = os.dup(top)
    try:
        for part in first[:-1]:
            below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
            os.close(fd)
            fd = below
        os.link(first[-1], name, src_dir_fd=fd, dst_dir_fd=parent, follow_symlinks=False)
    finally:
        os.close(fd)


def create(path: str) -> int:
    """A new file to write and read back; it must not exist."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)


def write_all(fd: int, data: bytes | memoryview) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


class Flow:
    """Sends a file that is written in order to the disk while it grows, so that its fsync has little left to wait for.

    With `keep` false it also leaves the page cache behind itself: what is not read soon should not push out
    what is, and where memory comes from a hypervisor page by page, reusing some costs a third of taking more.
    """

    WINDOW = 8 << 20  # bytes: large writes to the disk, and one more system call for each of them

    def __init__(self, fd: int, *, keep: bool) -> None:
        self._fd = fd
        self._keep = keep
        self._at = self._sent = os.lseek(fd, 0, os.SEEK_CUR)

    def write(self, data: bytes | memoryview) -> None:
        write_all(self._fd, data)
        self._at += len(data)
        if self._at - self._sent >= self.WINDOW:
            # What is dirty begins to be written by this, and stays; what was written before goes.
            begin = self._sent if self._keep else max(0, self._sent - self.WINDOW)
            os.posix_fadvise(self._fd, begin, self._at - begin, os.POSIX_FADV_DONTNEED)
            self._sent = self._at


def move(source: str, target: str) -> None:
    """rename(2), with the parents of the target made, and durable when it returns."""
    parent = os.path.dirname(target)
    os.makedirs(parent, exist_ok=True)
    os.rename(source, target)
    sync_dir(parent)


class New(NamedTuple):
    """A file to be: its bytes, its place, and where it is made."""

    data: bytes
    target: str
    temporary: str


def publish(data: bytes, target: str, temporary: str) -> None:
    """The target has these bytes, durably, or is what it was before."""
    publish_all(New(data, target, temporary))


def publish_all(*files: New) -> None:
    """Each target has its bytes, durably, or is what it was before. To make several last takes less than one by one."""
    try:
        for data, target, temporary in files:
            os.makedirs(os.path.dirname(target), exist_ok=True)
            fd = create(temporary)
            try:
                write_all(fd, data)
                os.fsync(fd)
            finally:
                os.close(fd)
        for _, target, temporary in files:
            os.rename(temporary, target)
        for parent in {os.path.dirname(file.target) for file in files}:
            sync_dir(parent)
    except BaseException:
        for file in files:
            with suppress(OSError):
                os.unlink(file.temporary)
        raise


@contextmanager
def new_file(path: str) -> Iterator[BinaryIO]:
    """A file outside the store: whole when the block ends, or as it was. A device or FIFO is written as it is."""
    if os.path.exists(path) and not os.path.isfile(path):
        with open(path, "wb") as file:
            yield file
        return
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        with open(create(temporary), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, path)
    except BaseException as error:
        unlink(temporary)
        if isinstance(error, OSError) and error.filename == temporary:
            error.filename = path  # nobody knows the other name
        raise


def remove_tree(path: str) -> None:
    """Removes a directory of the store with all it holds; what is gone already is no error."""
    with suppress(FileNotFoundError), os.scandir(path) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                remove_tree(entry.path)
            else:
                unlink(entry.path)
    with suppress(FileNotFoundError):
        os.rmdir(path)


def remove(path: str) -> None:
    """Removes a file, or a directory of the store with all it holds; what is gone already is no error."""
    if os.path.isdir(path):
        remove_tree(path)
    else:
        unlink(path)


def unlink(path: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)


def size_of(path: str) -> int | None:
    """The size of a regular file in bytes; None when there is none."""
    try:
        return os.stat(path).st_size
    except (FileNotFoundError, NotADirectoryError):
        return None
