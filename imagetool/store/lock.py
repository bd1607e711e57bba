"""Locks that die with their owner: flock(2) on files below ROOT/locks.

Order, wherever two are held: `gc` before `index`. Nobody waits for anything else while holding one.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

_LOOK = 0.2  # seconds: what `is_locked` has for a moment is free again long before


@contextmanager
def locked(path: str, *, shared: bool = False) -> Iterator[None]:
    """Waits for the lock and holds it within the block. The file stays: removing it would split the lock."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def try_lock(path: str, *, create: bool = True) -> int | None:
    """An open descriptor that holds the file's lock, or None when somebody else holds it.

    The file is known to be still at `path` when this returns: holders may rename or unlink it.
    FileNotFoundError without `create` when it is not there.
    """
    while True:
        fd = os.open(path, os.O_RDWR | (os.O_CREAT if create else 0) | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return None
        except BaseException:
            os.close(fd)
            raise
        if _is_at(fd, path):
            return fd
        os.close(fd)


def take_lock(path: str) -> int | None:
    """Like `try_lock`, of a file whose lock others look at with `is_locked`, each for a moment."""
    end = time.monotonic() + _LOOK
    while (fd := try_lock(path)) is None and time.monotonic() < end:
        time.sleep(0.002)
    return fd


def is_locked(path: str) -> bool:
    """Whether somebody holds the file's lock; False when there is no file. Two that look do not see each other."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _is_at(fd: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False
