"""The interpreter that helpers are started from: the host's own, but such that no container can write to it.

A container may open /proc/PID/exe of the process that becomes its command and write to that file later. So
the helper is executed from a copy of the interpreter's mount that is read-only and attached nowhere; a caller
who may not copy mounts gets a sealed copy of the bytes.
"""

from __future__ import annotations

import errno
import fcntl
import os

from imagetool.runtime import linux

_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


def interpreter() -> int:
    """A descriptor to execute as /proc/self/fd/N; the caller closes it."""
    program = os.readlink("/proc/self/exe")
    try:
        fd = linux.clone_tree(os.fsencode(program))
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOSYS, errno.EINVAL):
            raise
        return _copy(program)
    linux.set_mount(fd, on=linux.ATTR_RDONLY)
    return fd


def _copy(program: str) -> int:
    fd = os.memfd_create("interpreter", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with open(program, "rb") as source:
        size = os.fstat(source.fileno()).st_size
        while size:
            size -= os.sendfile(fd, source.fileno(), None, size)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
    return fd
