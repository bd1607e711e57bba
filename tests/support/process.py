"""Runs a function in a forked child: as another user, in other namespaces, and never longer than allowed.

A file system under test may hang whoever touches it, so the test process itself never does.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import select
import signal
import time
import traceback
from collections.abc import Callable
from typing import NoReturn, TypeVar

T = TypeVar("T")

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNS, CLONE_NEWUSER = 0x20000, 0x10000000
PR_SET_PDEATHSIG = 1


class ChildFailed(AssertionError):
    """The function raised in the child: the text is the child's traceback."""


class ChildHung(AssertionError):
    """The function did not end in time; the child is killed, but may hang until its file system goes."""


def checked(result: int) -> int:
    """The result of a C call that says -1 with errno."""
    if result == -1:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def unshare(flags: int) -> None:
    checked(LIBC.unshare(flags))


def setns(fd: int, kind: int) -> None:
    checked(LIBC.setns(fd, kind))


def die_with_parent() -> None:
    """For `preexec_fn`: a child that must not outlive a killed test process."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def become(uid: int, gid: int, groups: tuple[int, ...] = ()) -> None:
    os.setgroups(groups)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)


def in_child(function: Callable[[], T], *, timeout: float = 20) -> T:
    """What `function` returns (by pickle) in a forked child; raises ChildFailed with its traceback, or ChildHung."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        _report(function, writer)
    os.close(writer)
    try:
        report = _read_all(reader, time.monotonic() + timeout)
    except TimeoutError:
        os.kill(pid, signal.SIGKILL)
        raise ChildHung(f"no end after {timeout:.0f} s") from None
    finally:
        os.close(reader)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status != 0:
        raise ChildFailed(report.decode(errors="replace") or f"the child ended with status {status}")
    result: T = pickle.loads(report)
    return result


def _report(function: Callable[[], object], writer: int) -> NoReturn:
    status = 1
    try:
        with open(writer, "wb", closefd=False) as out:
            try:
                report = pickle.dumps(function())
                status = 0
            except BaseException:
                report = traceback.format_exc().encode(errors="replace")
            out.write(report)
    finally:
        os._exit(status)


def _read_all(fd: int, deadline: float) -> bytes:
    parts = b""
    while True:
        if not readable(fd, deadline - time.monotonic()):
            raise TimeoutError
        part = os.read(fd, 1 << 16)
        if not part:
            return parts
        parts += part


def readable(fd: int, timeout: float) -> bool:
    """Whether something is to be read within `timeout` seconds. select(2) would refuse descriptors from 1024 on."""
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    return bool(poller.poll(max(0, timeout) * 1000))


def wait_until(condition: Callable[[], bool], timeout: float, what: str) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {timeout:.0f} s")
        time.sleep(0.005)
