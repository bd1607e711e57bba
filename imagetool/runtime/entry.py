"""The helper that becomes the container's first process. It imports little and sees nothing of its caller.

The executor starts it as `python -I -S` from a read-only copy of the interpreter's mount, with an empty
environment, a socket in 3 and the command's streams in 4-6: the interpreter itself looks at its own 0-2 when it
starts, and does not take a directory. Messages (see `wire`): the executor sends the files that take the helper into
its cgroup, then the request (`request.create` or `request.join`); the helper answers ("userns",) and waits for
("mapped",), then answers ("pid", n) and waits for ("known",), then ("ready",) after the terminal's master, if any,
was passed; it waits for ("start",). Then the socket closes with the exec, or ("error", stage, errno, text, path)
says why not.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # `signal` would import enum
import _socket
import fcntl
import os
import struct
import sys

from imagetool.runtime import identity, linux, rootfs, wire

if False:
    from typing import Any

CHANNEL = 3
_TIOCSCTTY = 0x540E
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
_IGNORED_BY_PYTHON = (_signal.SIGPIPE, _signal.SIGXFSZ)  # an ignored signal stays ignored through exec


class _Progress:
    """What is being done, for the report of a failure."""

    stage = "starting"


def main() -> None:
    """Run to the exec; any failure is reported and ends the process."""
    for number in (0, 1, 2):
        os.dup2(CHANNEL + 1 + number, number)
    linux.close_from(CHANNEL + 1)
    os.set_inheritable(CHANNEL, False)
    try:
        _Progress.stage = "entering the cgroup"
        for path in wire.receive(CHANNEL) or ():
            _write(path, "0")
        _Progress.stage = "starting"
        message = wire.receive(CHANNEL)
        if message is not None:
            _become(message[0])
    except OSError as error:
        _report(error.errno or 0, error.strerror or str(error), error.filename)
    except BaseException as error:  # a bug: still one line for the caller, and no half-made container
        _report(0, f"{type(error).__name__}: {error}", None)
    os._exit(125)


def _report(code: int, text: str, path: object) -> None:
    name = os.fsdecode(path) if isinstance(path, str | bytes) else ""
    try:  # noqa: SIM105 (contextlib would be one more import)
        wire.send(CHANNEL, ("error", _Progress.stage, code, text, name))
    except OSError:  # the caller has gone: nobody is left to tell
        pass


def _become(request: dict[str, Any]) -> None:
    if request["init"]:
        from imagetool.runtime import initproc  # costs an import that most containers need not pay

        initproc.look_like(request["process"]["args"])
    _forget_the_host()
    process = request["process"]
    if process["oom_score_adj"] is not None:
        _Progress.stage = "setting the OOM score"
        _write("/proc/self/oom_score_adj", str(process["oom_score_adj"]))
    _Progress.stage = "creating namespaces"
    joined_root = _enter_namespaces(request)
    process["may_set_groups"] = identity.may_set_groups()
    linux.new_session_keyring()
    terminal = _enter_root(request, joined_root)
    _announce(terminal)
    _Progress.stage = "taking the identity of the user"
    identity.assume(process)
    if request["init"]:
        initproc.fork_command(CHANNEL)
    _take_session(terminal is not None)
    if request.get("ends_with_caller"):
        _end_with_caller()
    _Progress.stage = "exec"
    identity.execute(process["args"], process["env"])


def _forget_the_host() -> None:
    """No module may be found any more: after the change of root the path would name the image's files."""
    sys.path.clear()
    sys.meta_path.clear()
    sys.path_importer_cache.clear()


def _enter_namespaces(request: dict[str, Any]) -> int | None:
    """Join, then create; answers the descriptor of the root to enter where no mount namespace was joined."""
    joins = [(os.open(path, os.O_RDONLY | os.O_CLOEXEC), flag) for path, flag in request["joins"]]
    if request["pidfd"]:
        joins.append((os.pidfd_open(request["pidfd"][0]), request["pidfd"][1]))
    root = os.open(request["join_root"], os.O_PATH | os.O_CLOEXEC) if request["join_root"] else None
    flags: int = request["namespaces"]
    if not flags & linux.CLONE_NEWUSER:  # else only after the maps are written, which needs a readable /proc
        _hide()
    for fd, flag in joins:
        linux.setns(fd, flag)
    if flags & linux.CLONE_NEWUSER:
        _new_user_namespace()
    if flags & ~linux.CLONE_NEWUSER:
        linux.unshare(flags & ~linux.CLONE_NEWUSER)
    pid = os.fork() if request["forks"] else os.getpid()
    if pid:
        wire.send(CHANNEL, ("pid", pid))
    if pid and request["forks"]:
        os._exit(0)
    if wire.receive(CHANNEL) is None:  # ("known",): only now may the child's own messages come
        os._exit(125)
    return root


def _hide() -> None:
    """No process in the container may trace this one, read its memory or open its descriptors."""
    linux.prctl(linux.PR_SET_DUMPABLE, 0)


def _new_user_namespace() -> None:
    linux.unshare(linux.CLONE_NEWUSER)
    wire.send(CHANNEL, ("userns",))
    if wire.receive(CHANNEL) is None:
        os._exit(125)
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    _hide()


def _enter_root(request: dict[str, Any], joined_root: int | None) -> tuple[int, int] | None:
    """Make or join the container's file system and go there; answers its terminal if one is wanted."""
    process = request["process"]
    if request["root"]:
        return _furnish(request)
    if joined_root is not None:
        rootfs.change_root(joined_root, "chroot")
    if not process["terminal"]:
        return None
    _Progress.stage = "opening a terminal"
    root = os.open("/", os.O_PATH | os.O_CLOEXEC)
    return rootfs.open_terminal(root, process["uid"])


def _furnish(request: dict[str, Any]) -> tuple[int, int] | None:
    process, namespaces = request["process"], request["namespaces"]
    _Progress.stage = "setting up the namespaces"
    if namespaces & linux.CLONE_NEWNET:
        loopback_up()
    if request["hostname"]:
        linux.sethostname(request["hostname"].encode())
    if request["domainname"]:
        linux.setdomainname(request["domainname"].encode())
    for name, value in request["sysctl"]:
        _write("/proc/sys/" + name.replace(".", "/"), value)
    _Progress.stage = "setting up the file system"
    mounts = bool(namespaces & linux.CLONE_NEWNS)
    root = rootfs.build(request) if mounts else os.open(request["root"], os.O_PATH | os.O_CLOEXEC)
    rootfs.make_directory(root, process["cwd"])
    terminal = None
    if process["terminal"]:
        terminal = rootfs.open_terminal(root, process["uid"])
        if mounts:
            rootfs.show_console(root, terminal[1])
    if request["readonly"]:
        rootfs.make_readonly(root)
    rootfs.change_root(root, request["change_root"] if mounts else "chroot")
    return terminal


def loopback_up() -> None:
    """In this thread's network namespace."""
    probe = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM)
    row = fcntl.ioctl(probe.fileno(), _SIOCGIFFLAGS, struct.pack("16sh22x", b"lo", 0))
    flags = struct.unpack("16sh22x", row)[1] | _IFF_UP
    fcntl.ioctl(probe.fileno(), _SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", flags))
    probe.close()


def _announce(terminal: tuple[int, int] | None) -> None:
    """Pass the terminal on, drop every other descriptor, and wait to be started."""
    if terminal is not None:
        for fd in (0, 1, 2):
            os.dup2(terminal[1], fd)
        rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, struct.pack("i", terminal[0]))
        channel = _socket.socket(fileno=os.dup(CHANNEL))
        channel.sendmsg([b"T"], [rights])
        channel.close()
    linux.close_from(CHANNEL + 1)
    wire.send(CHANNEL, ("ready",))
    if wire.receive(CHANNEL) is None:
        os._exit(125)


def _take_session(terminal: bool) -> None:
    for number in _IGNORED_BY_PYTHON:
        _signal.signal(number, _signal.SIG_DFL)
    if os.getsid(0) != os.getpid():
        os.setsid()
    if terminal:
        fcntl.ioctl(0, _TIOCSCTTY, 0)


def _end_with_caller() -> None:
    """The caller is the parent only now, a change of identity forgets this, and he may have ended since the start."""
    linux.prctl(linux.PR_SET_PDEATHSIG, _signal.SIGKILL)
    channel = _socket.socket(fileno=os.dup(CHANNEL))
    try:
        gone = not channel.recv(1, _socket.MSG_DONTWAIT)
    except BlockingIOError:  # he waits for the command to be executed
        gone = False
    except ConnectionResetError:
        gone = True
    channel.close()
    if gone:
        os._exit(125)


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)
