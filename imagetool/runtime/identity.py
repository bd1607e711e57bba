"""What a process may do: limits, ids, capabilities, seccomp; and becoming the command. Runs in the helper.

The order is the kernel's: what needs privilege first, the ids, then what is left of the capabilities.
"""

from __future__ import annotations

import errno
import os
import resource
import stat

from imagetool.runtime import linux

if False:
    from typing import Any

CAP_LAST = 63


def assume(process: dict[str, Any]) -> None:
    """Become the process of the plan in everything but its program; `process` is a part of the request."""
    for kind, soft, hard in process["rlimits"]:
        resource.setrlimit(kind, (soft, hard))
    os.umask(process["umask"])
    program = process["seccomp"]
    if program and not process["no_new_privs"]:
        linux.seccomp(program)  # needs CAP_SYS_ADMIN, which is about to go
    _give_streams(process["uid"])
    _set_ids(process)
    _set_capabilities(process["capabilities"])
    if process["no_new_privs"]:
        linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
        if program:
            linux.seccomp(program)
    _enter_directory(process["cwd"])


def may_set_groups() -> bool:
    """Not where an unprivileged user has mapped one group only: those that the user has then stay."""
    with open("/proc/self/setgroups") as file:
        return file.read().strip() == "allow"


def execute(arguments: list[str], environment: dict[str, str]) -> None:
    """Replace this process; returns never. Raises the OSError that Docker's exit code is made of.

    ENOENT: no such program in PATH; anything else: there is one, and it cannot be executed.
    """
    name = arguments[0]
    found: OSError = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
    for candidate in _candidates(name, environment.get("PATH", "")):
        try:
            os.execve(candidate, arguments, environment)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            found = error
    raise found


def _candidates(name: str, path: str) -> list[str]:
    if "/" in name:
        return [name]
    return [f"{directory or '.'}/{name}" for directory in path.split(":")] if name else []


def _give_streams(uid: int) -> None:
    """The pipes on 0, 1 and 2 become the user's, so that he may open /dev/stdout too; files and terminals do not."""
    for fd in range(3):
        try:
            if stat.S_ISFIFO(os.fstat(fd).st_mode):
                os.fchown(fd, uid, -1)
        except OSError:  # there is none, or no such id in this user namespace
            continue


def _set_ids(process: dict[str, Any]) -> None:
    if process["may_set_groups"]:
        os.setgroups(process["groups"])
    bounding = process["capabilities"][0]
    for number in range(CAP_LAST + 1):  # while CAP_SETPCAP is still there
        if bounding >> number & 1:
            continue
        try:
            linux.prctl(linux.PR_CAPBSET_DROP, number)
        except OSError as error:
            if error.errno != errno.EINVAL:  # EINVAL: beyond the kernel's last capability
                raise
    linux.prctl(linux.PR_SET_KEEPCAPS, 1)
    os.setresgid(process["gid"], process["gid"], process["gid"])
    os.setresuid(process["uid"], process["uid"], process["uid"])


def _set_capabilities(sets: tuple[int, int, int, int, int]) -> None:
    """sets: bounding, effective, permitted, inheritable, ambient, as masks."""
    _, effective, permitted, inheritable, ambient = sets
    linux.capset(effective, permitted, inheritable)
    for number in range(CAP_LAST + 1):
        if ambient >> number & 1:
            linux.prctl(linux.PR_CAP_AMBIENT, linux.PR_CAP_AMBIENT_RAISE, number)


def _enter_directory(path: str) -> None:
    """chdir as the user; a directory outside the root (through /proc/self/fd) has no name in here."""
    os.chdir(path)
    try:
        inside = os.getcwd().startswith("/")
    except FileNotFoundError:
        inside = False
    if not inside:
        os.chdir("/")
        raise OSError(errno.EPERM, "the working directory is outside the container", path)
