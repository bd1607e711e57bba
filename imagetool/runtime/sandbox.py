"""The built-in executor: a bundle (config.json and a root directory) becomes a process in new namespaces.

Two phases, as with an OCI runtime: after `create` the namespaces exist and the process waits, so that a
network can be given to it; `start` executes the command. A failure in either leaves no process behind.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import signal
import socket
import struct
import sys
from collections.abc import Mapping

from imagetool.runtime import cgroups, linux, request, sealed, userns, wire
from imagetool.runtime.base import Container, Stdio, StrPath, load_spec
from imagetool.runtime.cgroups import Cgroup
from imagetool.runtime.errors import CommandNotFound, NotExecutable, SandboxError
from unionfs.annotations import Any
from unionfs.namedtuple import NamedTuple

_PACKAGE = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
_BOOT = (  # the package's own __init__ offers everything to callers; the helper needs two of its directories
    "import sys; package = sys.modules['imagetool'] = type(sys)('imagetool'); "
    f"package.__path__ = [{_PACKAGE!r}]; from imagetool.runtime.entry import main; main()"
)
_FREE = 10  # the first number that no descriptor of the helper has
_LOADER_PATH = "LD_LIBRARY_PATH"  # the one variable that the interpreter itself may need to start


class Builtin:
    """`Executor` of this project: namespaces, pivot_root, nothing to install."""

    name = "builtin"

    def __init__(self, cache: str = "") -> None:
        self._cache = cache  # a directory for compiled seccomp filters
        self._begun: _Helper | None = None

    def begin(self, stdio: Stdio, cgroup: str) -> None:
        """The helper's interpreter starts, enters the cgroup, and waits."""
        group = Cgroup.create(cgroup, {})
        try:
            self._begun = _helper(stdio, group)
        except BaseException:
            group.remove()
            raise

    def give_up(self) -> None:
        helper, self._begun = self._begun, None
        if helper is not None:
            _give_up(helper.channel, {helper.pid})
            if helper.cgroup:
                helper.cgroup.remove()

    def create(self, bundle: StrPath, container_id: str, stdio: Stdio) -> Container:
        try:
            return self._create(bundle, stdio)
        finally:
            self.give_up()  # what was begun and not used

    def _create(self, bundle: StrPath, stdio: Stdio) -> Container:
        spec = load_spec(bundle)
        asked = request.create(spec, os.fspath(bundle), self._filter(spec), cgroups.hierarchies())
        cgroup = Cgroup.create(spec["linux"]["cgroupsPath"], spec["linux"].get("resources", {})) \
            if "cgroupsPath" in spec["linux"] else None  # fmt: skip
        try:
            helper, self._begun = self._begun or _helper(stdio), None
            return _launch(asked, helper, cgroup, _maps(spec))
        except BaseException:
            if cgroup:
                cgroup.remove()
            raise

    def join(
        self, bundle: StrPath, container_id: str, pid: int, process: Mapping[str, Any], stdio: Stdio
    ) -> Container:
        spec = load_spec(bundle)
        flags = request.private_namespaces(spec)
        chroot = not flags & linux.CLONE_NEWNS or spec["annotations"].get("imagetool.isolation") == "chroot"
        asked = request.join(process, pid, flags, chroot=chroot, seccomp=self._filter(spec))
        cgroup = Cgroup(spec["linux"]["cgroupsPath"]) if "cgroupsPath" in spec["linux"] else None
        return _launch(asked, _helper(stdio), cgroup, None)

    def _filter(self, spec: Mapping[str, Any]) -> bytes:
        profile = spec["linux"].get("seccomp")
        if not profile:
            return b""
        from imagetool.runtime import seccomp

        return seccomp.cached(profile, self._cache)

    def delete(self, bundle: StrPath, container_id: str) -> None:
        path = load_spec(bundle)["linux"].get("cgroupsPath")
        if path:
            Cgroup(path).remove()


class _Child(Container):
    def __init__(self, pid: int, channel: socket.socket, master: int | None, command: str) -> None:
        super().__init__(pid, master)
        self._channel, self._command = channel, command

    def start(self) -> None:
        """Execute the command; CommandNotFound, NotExecutable or SandboxError if that cannot be."""
        with self._channel as channel:
            wire.send(channel.fileno(), ("start",))
            answer = wire.receive(channel.fileno())
        if answer is not None:
            self.abandon()
            raise _failure(answer, self._command)

    def abandon(self) -> None:
        self._channel.close()
        super().abandon()


class _Helper(NamedTuple):
    """The process that is to become the container's first one, and what it listens to."""

    pid: int
    channel: socket.socket
    cgroup: Cgroup | None  # which it enters by itself


def _helper(stdio: Stdio, cgroup: Cgroup | None = None) -> _Helper:
    """`cgroup` where the caller has something else to do than to wait for the kernel, which takes 10 ms for that."""
    ours, theirs = socket.socketpair()
    with theirs:
        helper = _Helper(_spawn(stdio, theirs.fileno()), ours, cgroup)
    wire.send(ours.fileno(), tuple(f"{each}/cgroup.procs" for each in cgroup.directories()) if cgroup else ())
    return helper


def _launch(
    asked: request.Request, made_ready: _Helper, cgroup: Cgroup | None, maps: userns.Maps | None
) -> Container:
    helper, ours, entered = made_ready
    made = {helper}
    was_subreaper = linux.is_subreaper()
    linux.prctl(linux.PR_SET_CHILD_SUBREAPER, 1)  # the helper's child becomes ours when the helper ends
    try:
        if cgroup and not entered:
            cgroup.add(helper)  # while it starts
        wire.send(ours.fileno(), (asked,))
        pid = _first_answer(ours.fileno(), helper, maps, asked)
        made.add(pid)
        if pid != helper:
            os.waitpid(helper, 0)
        master = _terminal(ours) if asked["process"]["terminal"] else None
        _expect(ours.fileno(), "ready", asked)
        return _Child(pid, ours, master, asked["process"]["args"][0])
    except BaseException:
        _give_up(ours, made)
        raise
    finally:
        linux.prctl(linux.PR_SET_CHILD_SUBREAPER, int(was_subreaper))


def _spawn(stdio: Stdio, channel: int) -> int:
    """Start the helper with exactly these descriptors; each is moved out of the others' way first."""
    with contextlib.ExitStack() as opened:

        def owned(fd: int) -> int:
            opened.callback(os.close, fd)
            return fd

        null = owned(os.open("/dev/null", os.O_RDWR))
        wanted = [null, null, null, channel, *(null if fd < 0 else fd for fd in stdio)]
        wanted.append(owned(sealed.interpreter()))
        *high, program = (owned(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _FREE)) for fd in wanted)
        environment = {k: v for k, v in os.environ.items() if k == _LOADER_PATH}
        return os.posix_spawn(
            f"/proc/self/fd/{program}",
            [sys.executable or "python3", "-I", "-S", "-X", "utf8", "-c", _BOOT],
            environment,
            file_actions=[(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(high)],
            setsigdef=signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP},
            setsigmask=(),
        )


def _first_answer(channel: int, helper: int, maps: userns.Maps | None, asked: request.Request) -> int:
    if asked["namespaces"] & linux.CLONE_NEWUSER:
        _expect(channel, "userns", asked)
        if maps:
            userns.write_maps(helper, maps)
        wire.send(channel, ("mapped",))
    pid: int = _expect(channel, "pid", asked)[1]
    wire.send(channel, ("known",))
    return pid


def _expect(channel: int, word: str, asked: request.Request) -> tuple[Any, ...]:
    answer = wire.receive(channel)
    if answer is None:
        raise SandboxError("the container's first process ended before it was set up")
    if answer[0] != word:
        raise _failure(answer, asked["process"]["args"][0])
    return answer


def _terminal(channel: socket.socket) -> int | None:
    """The descriptor that was passed with one byte "T"; None if an error's message comes instead."""
    if channel.recv(1, socket.MSG_PEEK) != b"T":
        return None
    _, rights, _, _ = channel.recvmsg(1, socket.CMSG_LEN(struct.calcsize("i")), socket.MSG_CMSG_CLOEXEC)
    fd: int = struct.unpack("i", rights[0][2])[0]
    return fd


def _failure(answer: tuple[Any, ...], command: str) -> SandboxError:
    _, stage, code, text, path = answer
    if stage == "exec":
        return CommandNotFound(command) if code == errno.ENOENT else NotExecutable(command)
    where = f" {path}" if path else ""
    return SandboxError(f"{stage} failed:{where}: {text}" if where else f"{stage} failed: {text}")


def _give_up(channel: socket.socket, made: set[int]) -> None:
    """End the helper and the child that it may have made; every process that waits sees the end of file."""
    with channel, contextlib.suppress(OSError):
        channel.shutdown(socket.SHUT_WR)
        while (message := wire.receive(channel.fileno())) is not None:
            if message[0] == "pid":
                made.add(message[1])
    for pid in made:
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _maps(spec: Mapping[str, Any]) -> userns.Maps | None:
    def rows(key: str) -> tuple[userns.Row, ...]:
        return tuple((r["containerID"], r["hostID"], r["size"]) for r in spec["linux"].get(key, []))

    return userns.Maps(rows("uidMappings"), rows("gidMappings")) if rows("uidMappings") else None
