"""A process that works on a container's files as if their root were its own, and trusts nothing in there.

It neither loads nor executes anything of them: no module, and no library of the name service, which would come from
that root. It has the rights over files that a container's root has, so that the magic links of a /proc lead no
further than they lead the container.
"""

from __future__ import annotations

import os
import sys
import tarfile
from collections.abc import Callable

from imagetool.containers.descriptors import close_others
from imagetool.runtime import capabilities, linux
from unionfs.annotations import NoReturn

_RIGHTS = ("CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_MKNOD", "CAP_SETFCAP")
"""Without CAP_SYS_PTRACE, and with fewer than others have, /proc/PID/root and /proc/PID/fd are closed to it."""


def shut_in(root: int, tell: int, kept: int, action: Callable[[], None]) -> NoReturn:
    """For a fresh fork: `action` below the directory `root`, with the descriptor `kept`; errors go to `tell`."""
    try:
        _enter(root, tell, kept)
        action()
    except BaseException as error:
        text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        name = f"{error.filename}: " if isinstance(error, OSError) and error.filename else ""
        os.write(tell, f"{name}{text}".encode(errors="replace"))
    finally:
        os._exit(0)


def _enter(root: int, tell: int, kept: int) -> None:
    rights = capabilities.mask(_RIGHTS) & linux.permitted_set()
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    os.fchdir(root)
    close_others(tell, kept)
    os.chroot(".")
    _forget_modules()
    linux.prctl(
        linux.PR_SET_DUMPABLE, 0
    )  # the container may have the same rights, and the same processes in sight
    linux.capset(rights, rights, 0)


def _forget_modules() -> None:
    """None is found any more, and owners have no names: glibc would look those up by libraries of this root."""
    sys.path.clear()
    sys.meta_path.clear()
    sys.path_importer_cache.clear()
    for name in ("pwd", "grp"):
        setattr(tarfile, name, None)
