"""Guard: nobody hangs on a mount whose server is gone.

A thread that stores pages or drops names waits in the kernel for pages and directories that others have locked,
and they wait for replies of ours. If the server is killed in that moment the thread cannot end, so its
descriptor of the device stays open, so the kernel goes on waiting for replies that will never come: neither
the server nor its readers can be killed any more. The way out is the connection's `abort` file (Linux,
Documentation/filesystems/fuse.rst), which has to be written by a process that waits for nothing.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
from contextlib import suppress

CONTROL = "/sys/fs/fuse/connections"
PR_SET_PDEATHSIG = 1
FSOPEN, FSCONFIG, FSMOUNT = (
    430,
    431,
    432,
)  # the same on every architecture (include/uapi/asm-generic/unistd.h)
FSCONFIG_CMD_CREATE = 6
SCRIPT = "trap 'echo 1 >&2; exit' USR1; trap '' INT TERM HUP; echo r; exec >&-; read -r line; echo 1 >&2"


class Guard:
    """Starts the process that aborts the connection when the thread that made it is gone."""

    def __init__(self, device: int) -> None:
        """`device` is the st_dev of the mount, whose minor number is the connection's."""
        self._device = device
        self._stands: bool | None = None

    def stands(self) -> bool:
        """Starts the guard at the first call. False where there can be none: then nothing may wait in the kernel."""
        if self._stands is None:
            abort = open_abort(self._device)
            self._stands = abort >= 0 and _start(abort)
            if abort >= 0:
                os.close(abort)
        return self._stands


def open_abort(device: int) -> int:
    """A descriptor of a connection's `abort` file, or -1 where this user cannot get at it."""
    name = f"{os.minor(device)}/abort"
    with suppress(OSError):
        return os.open(f"{CONTROL}/{name}", os.O_WRONLY | os.O_CLOEXEC)
    control = _mount_control()
    if control < 0:
        return -1
    try:
        return os.open(name, os.O_WRONLY | os.O_CLOEXEC, dir_fd=control)
    except OSError:
        return -1
    finally:
        os.close(control)


def _mount_control() -> int:
    """The control file system on a mount of our own, which nobody else sees; -1 without the privilege."""
    call = ctypes.CDLL(None).syscall
    context = call(FSOPEN, b"fusectl", 1)  # FSOPEN_CLOEXEC
    if context < 0:
        return -1
    try:
        if call(FSCONFIG, context, FSCONFIG_CMD_CREATE, None, None, 0) < 0:
            return -1
        return int(call(FSMOUNT, context, 1, 0))  # FSMOUNT_CLOEXEC
    finally:
        os.close(context)


def _start(abort: int) -> bool:
    """Leaves a small shell behind, and returns when it stands guard; False if it could not be started."""
    server = os.getpid()
    lifeline, _held = os.pipe()  # the second stays open in the server, and in nothing else
    ready, told = os.pipe()
    child = os.fork()
    if not child:
        try:
            _become_guard(abort, lifeline, told, server)
        finally:
            os._exit(1)
    os.close(lifeline)
    os.close(told)
    try:
        return os.read(ready, 1) == b"r"
    finally:
        os.close(ready)


def _become_guard(abort: int, lifeline: int, told: int, server: int) -> None:
    """Wakes at the end of the thread that forked, which its process may not have reached yet, or of the process."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGUSR1), 0, 0, 0)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})
    for target, fd in enumerate([fcntl.fcntl(fd, fcntl.F_DUPFD, 3) for fd in (lifeline, told, abort)]):
        os.dup2(fd, target)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    if os.getppid() == server:
        os.execv("/bin/sh", ["unionfs-guard", "-c", SCRIPT])
