"""The work directory's contents: what is thrown away there, and what mounts have left."""

from __future__ import annotations

import os
import stat
from contextlib import suppress

from unionfs import sysfd
from unionfs.errors import SetupError

DISCARDED_AT_ONCE = 1000
"""Entries of a directory in the work directory, which take some milliseconds to remove."""


def discard(work: int, name: bytes) -> None:
    """Removes an entry of the directory `work`; what cannot be removed now goes when it is next opened.

    A thread removes a directory with many whiteouts: nobody waits for that.
    """
    with suppress(OSError):
        if not sysfd.remove_tree(work, name, most=DISCARDED_AT_ONCE):
            from threading import Thread

            Thread(target=_discard, args=(os.dup(work), name), daemon=True).start()


def _discard(work: int, name: bytes) -> None:
    """For a thread, whose descriptor `work` is."""
    with suppress(OSError):
        sysfd.remove_tree(work, name)
    os.close(work)


def clear(work_root: int) -> None:
    """Removes what mounts have left in `work` in a work directory.

    Raises SetupError, and removes nothing, where there is something else: then it is no work directory.
    """
    st = sysfd.lstat_or_none(work_root, b"work")
    if st is None:
        return
    fd = sysfd.open_to_empty(work_root, b"work") if stat.S_ISDIR(st.st_mode) else -1
    try:
        foreign = "work" if fd < 0 else next((n for n in os.listdir(fd) if not _is_leftover(fd, n)), None)
    finally:
        if fd >= 0:
            os.close(fd)
    if foreign is not None:
        text = f"the work directory holds {foreign!r}, which no mount has left there"
        raise SetupError(text, hint="give an empty directory: what is in it would be deleted")
    sysfd.remove_tree(work_root, b"work")


def _is_leftover(fd: int, name: str) -> bool:
    """Whether a name is one that we, the kernel's overlayfs (`#…`, `incompat`) or fuse-overlayfs (a number) give."""
    if name.isdecimal():
        return not stat.S_ISDIR(sysfd.lstat(fd, os.fsencode(name)).st_mode)
    return name.startswith("#") or name == "incompat"
