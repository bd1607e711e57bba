"""Makes the n-th system call of one operation fail, or kills the process there: with strace's fault injection.

The operation runs in a child that stops itself when all is prepared, so that only its own calls are counted.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

CALLS = (
    "rename,renameat,renameat2,linkat,unlinkat,mkdirat,mknodat,symlinkat,openat,fchownat,chown,fchmodat,chmod,"
    "utimensat,setxattr,lsetxattr,fsetxattr,removexattr,lremovexattr,ftruncate,copy_file_range,sendfile,pwrite64,"
    "fsync,fdatasync"
)
"""Every call by which the top layer changes, and openat, which may find no descriptor or no memory."""

KILLED = -signal.SIGKILL
TIMEOUT = 20.0


class Outcome(NamedTuple):
    """`result` is 0, an errno, or KILLED; `steps` the names of the calls of CALLS that were made."""

    result: int
    steps: list[str]


class Fault(NamedTuple):
    """What strace does to the `nth` call of one name, from 1: "error=EIO", "signal=KILL"."""

    call: str
    nth: int
    what: str


def at(steps: list[str], step: int, what: str) -> Fault:
    """The fault for the `step`-th of all calls, from 0: strace counts each name for itself."""
    return Fault(steps[step], steps[: step + 1].count(steps[step]), what)


def run(prepare: Callable[[], Callable[[], None]], log: Path, fault: Fault | None = None) -> Outcome:
    """Runs what `prepare` returns in a child of its own."""
    child = os.fork()
    if not child:
        _work(prepare)
    os.waitpid(child, os.WUNTRACED)
    command = ["strace", "-qq", "-p", str(child), "-o", str(log), "-e", f"trace={CALLS}", "-e", "signal=none"]
    if fault:
        command += ["-e", f"inject={fault.call}:{fault.what}:when={fault.nth}"]
    tracer = subprocess.Popen(command)
    try:
        _until_traced(child, tracer)
        os.kill(child, signal.SIGCONT)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    finally:
        tracer.wait(TIMEOUT)
    return Outcome(status, [line.partition("(")[0] for line in log.read_text().splitlines() if "(" in line])


def _work(prepare: Callable[[], Callable[[], None]]) -> None:
    result = 255
    try:
        action = prepare()
        os.kill(os.getpid(), signal.SIGSTOP)
        action()
        result = 0
    except OSError as e:
        result = e.errno or 255
    finally:
        os._exit(result)


def _until_traced(child: int, tracer: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + TIMEOUT
    while "TracerPid:\t0\n" in Path(f"/proc/{child}/status").read_text():
        assert tracer.poll() is None, "strace could not attach"
        assert time.monotonic() < deadline, "strace does not attach"
        time.sleep(0.001)
