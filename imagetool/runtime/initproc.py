"""The process 1 of `--init`: it starts the command, passes signals on, reaps orphans, ends with it."""

from __future__ import annotations

import contextlib
import os
import signal

from imagetool.runtime import linux

_ARGUMENTS = 45  # arg_start and arg_end in proc(5) stat, counted after the name
_NOT_PASSED_ON = {signal.SIGCHLD, signal.SIGTTIN, signal.SIGTTOU}
_FAULTS = {
    signal.SIGFPE,
    signal.SIGILL,
    signal.SIGSEGV,
    signal.SIGBUS,
    signal.SIGABRT,
    signal.SIGTRAP,
    signal.SIGSYS,
}


def look_like(words: list[str]) -> None:
    """In lists of processes this one is `init -- WORDS`, and no interpreter with paths of the host's."""
    with open("/proc/self/stat", "rb") as file:
        start, end = map(int, file.read().rpartition(b")")[2].split()[_ARGUMENTS : _ARGUMENTS + 2])
    text = b"\0".join(os.fsencode(word) for word in ("init", "--", *words))
    with contextlib.suppress(OSError):  # a kernel may be told that nobody writes there
        with open("/proc/self/mem", "wb", buffering=0) as memory:
            os.pwrite(memory.fileno(), text[: end - start - 1].ljust(end - start, b"\0"), start)
        with open("/proc/self/comm", "w") as name:
            name.write("init")


def fork_command(channel: int) -> None:
    """Returns in the child only, which is to become the command."""
    blocked = signal.valid_signals() - _FAULTS - {signal.SIGKILL, signal.SIGSTOP}
    signal.pthread_sigmask(signal.SIG_BLOCK, blocked)  # before the fork: no early SIGCHLD is missed
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        return
    linux.close_from(channel)
    _serve(child, blocked)


def _serve(child: int, blocked: set[signal.Signals]) -> None:
    while True:
        number = signal.sigwaitinfo(blocked).si_signo
        if number == signal.SIGCHLD:
            _reap(child)
        elif number not in _NOT_PASSED_ON:
            _pass_on(child, number)


def _pass_on(child: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # it has ended, or changed its user
        os.kill(child, number)


def _reap(child: int) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)
