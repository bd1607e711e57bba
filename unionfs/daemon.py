"""Serve a mount in the background: the caller returns when the mount answers, or with the reason why not."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress

from unionfs import journal
from unionfs.annotations import NoReturn
from unionfs.errors import SetupError
from unionfs.serve import Job, report, serve

_REPORTS = 3  # the descriptor of the pipe in the daemon: the first after the standard ones


def start(job: Job) -> None:
    """Returns when the mount of a new daemon answers. Raises SetupError when there is none, and no daemon."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        _be_daemon(job, writer)
    os.close(writer)
    with open(reader, errors="surrogateescape") as reports:
        wait_until_mounted(reports.readline, job.places.target)


def wait_until_mounted(next_line: Callable[[], str], target: str) -> None:
    """Reads a server's reports until its mount answers. Raises SetupError with what it says instead."""
    line = next_line()
    if line == "mounted\n":
        try:
            os.stat(target)  # a GETATTR of the root: it is answered after INIT
            return
        except OSError as e:
            line = next_line() or f"the mount on {target} does not answer: {e.strerror}\n"
    raise SetupError(line.rstrip("\n") or "the server ended without a word: was it killed?")


def be_child(make_job: Callable[[], Job], control: int) -> NoReturn:
    """In a fresh fork: a session of its own, nothing of the parent's but the socket `control`, and serves."""
    status = 1
    try:
        os.setsid()
        _close_inherited(control)
        status = serve_child(make_job, _REPORTS)
    finally:
        os._exit(status)


def serve_child(make_job: Callable[[], Job], control: int) -> int:
    """Serves for the process at the other end of the socket `control`; gives the exit status."""
    import socket

    lifeline = socket.socket(fileno=control)
    return _guarded(lambda: _settled(make_job())._replace(reports=control, lifeline=lifeline), control)


def _guarded(make_job: Callable[[], Job], reports: int) -> int:
    """Serves, and reports a failure where the maker of the mount reads; gives the exit status."""
    try:
        serve(make_job())
    except (SetupError, OSError) as e:
        report(reports, _one_line(e))
        return 1
    except BaseException as e:
        journal.logger().exception("the server failed")
        report(reports, f"the server failed: {type(e).__name__}: {e}")
        return 1
    return 0


def _settled(job: Job) -> Job:
    os.chdir("/")  # any other directory could not be unmounted
    journal.set_up(job.options.log, foreground=False, debug=job.options.debug)
    return job


def _one_line(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def _be_daemon(job: Job, writer: int) -> NoReturn:
    """A session of its own, and no descriptor of the caller's."""
    status = 1
    try:
        os.setsid()
        _close_inherited(writer)
        status = _guarded(lambda: _settled(job)._replace(reports=_REPORTS), _REPORTS)
    finally:
        os._exit(status)


def _close_inherited(writer: int) -> None:
    """Callers wait for the end of their pipes, so the daemon must not hold any of them open."""
    os.dup2(writer, _REPORTS, inheritable=False)
    for name in os.listdir("/proc/self/fd"):
        if int(name) > _REPORTS:
            with suppress(OSError):  # the descriptor of the listing itself is closed already
                os.close(int(name))
    null = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):
        os.dup2(null, standard)
    os.close(null)
