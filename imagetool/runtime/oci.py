"""The executor that hands the bundle to an installed OCI runtime: crun, runc, or any with their command line.

The container's process becomes a child of the caller (a subreaper for that moment), so that waiting and
signals are the same as with the built-in executor. The runtime's own records are kept in the bundle.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from imagetool.runtime import linux
from imagetool.runtime.base import Container, Stdio, StrPath, load_spec, unusable
from imagetool.runtime.cgroups import Cgroup
from imagetool.runtime.errors import CommandNotFound, NotExecutable, SandboxError
from unionfs.annotations import Any

_NOT_FOUND = ("executable file", "no such file or directory")
_VARIABLES = ("PATH", "HOME", "TMPDIR", "XDG_RUNTIME_DIR", "LD_LIBRARY_PATH")
"""What a runtime may need itself. LISTEN_FDS and NOTIFY_SOCKET it would pass on to the container."""

_NOT_EXECUTABLE = ("permission denied", "is a directory", "exec format error", "not permitted")


class OciRuntime:
    """`Executor` by `PROGRAM create`, `start`, `exec` and `delete` (runtime-spec runtime.md)."""

    def __init__(self, program: str) -> None:
        self.program = program
        self.name = os.path.basename(program)

    @classmethod
    def find(cls, name: str) -> OciRuntime:
        program = shutil.which(name)
        if program is None:
            raise unusable(f"the runtime {name!r} is not installed")
        return cls(program)

    def begin(self, stdio: Stdio, cgroup: str) -> None:
        """A runtime wants its bundle first."""

    def give_up(self) -> None:
        """Nothing was begun."""

    def create(self, bundle: StrPath, container_id: str, stdio: Stdio) -> Container:
        spec = load_spec(bundle)
        if spec.get("annotations", {}).get("imagetool.init") == "true":
            raise unusable(f"{self.name} has no process 1 of its own for --init")
        if spec.get("annotations", {}).get("imagetool.isolation") == "chroot":
            raise unusable(f"{self.name} cannot isolate by chroot only")
        process = spec["process"]
        command = ("create", "--bundle", str(bundle), container_id)
        try:
            pid, console = self._run(bundle, command, 1, stdio, process)
        except BaseException:
            self.delete(bundle, container_id)
            raise
        return _Created(self, bundle, container_id, pid, console, process["args"][0])

    def join(
        self, bundle: StrPath, container_id: str, pid: int, process: Mapping[str, Any], stdio: Stdio
    ) -> Container:
        return _Joining(self, bundle, container_id, process, stdio)

    def delete(self, bundle: StrPath, container_id: str) -> None:
        self.call(bundle, "delete", "--force", container_id, check=False)
        shutil.rmtree(self._state(bundle), ignore_errors=True)
        group = load_spec(bundle)["linux"].get("cgroupsPath")
        if group:
            Cgroup(group).remove()  # runtimes leave the parents that they made

    def call(self, bundle: StrPath, *words: str, check: bool = True, command: str = "") -> None:
        """Run the runtime for its effect; its failure is ours, in its words."""
        line = [self.program, "--root", str(self._state(bundle)), *words]
        streams = (subprocess.DEVNULL, subprocess.DEVNULL, subprocess.PIPE)
        done = _carry_out(line, streams)
        if check and done.returncode:
            raise failure(self.name, done.stderr.decode(errors="replace"), command)

    def execute(
        self, bundle: StrPath, container_id: str, process: Mapping[str, Any], stdio: Stdio
    ) -> tuple[int, int | None]:
        """Start another process at once; its pid and terminal."""
        with tempfile.NamedTemporaryFile("w", suffix=".json", dir=bundle) as file:
            json.dump(process, file)
            file.flush()
            return self._run(
                bundle, ("exec", "--detach", "--process", file.name, container_id), 1, stdio, process
            )

    def _state(self, bundle: StrPath) -> Path:
        return Path(bundle) / "oci-runtime"

    def _run(
        self, bundle: StrPath, words: Sequence[str], at: int, stdio: Stdio, process: Mapping[str, Any]
    ) -> tuple[int, int | None]:
        """Run `create` or `exec`; the options for the pid and the terminal go in at index `at`."""
        with tempfile.TemporaryDirectory(prefix="imagetool-") as short, _console(short, process) as console:
            pid_file = os.path.join(short, "pid")
            options = ["--pid-file", pid_file, *(("--console-socket", f"{short}/tty") if console else ())]
            line = [self.program, "--root", str(self._state(bundle)), *words[:at], *options, *words[at:]]
            with _adopting():
                self._spawn(line, stdio, short, process)
                pid = int(Path(pid_file).read_text())
            return pid, _received(console) if console else None

    def _spawn(self, line: list[str], stdio: Stdio, directory: str, process: Mapping[str, Any]) -> None:
        """Errors go to a file: a pipe would stay open for as long as the container runs."""
        log = os.path.join(directory, "log")
        streams = [subprocess.DEVNULL if fd < 0 else fd for fd in stdio]
        line[1:1] = ["--log", log]
        with open(os.path.join(directory, "errors"), "w+b") as errors:
            if process.get("terminal"):
                streams = [subprocess.DEVNULL, subprocess.DEVNULL, errors.fileno()]
            done = _carry_out(line, streams)
        if done.returncode:
            text = Path(log).read_text(errors="replace") if os.path.exists(log) else ""
            text += Path(directory, "errors").read_text(errors="replace")
            raise failure(self.name, text, process["args"][0])


class _Created(Container):
    def __init__(
        self,
        runtime: OciRuntime,
        bundle: StrPath,
        container_id: str,
        pid: int,
        console: int | None,
        command: str,
    ) -> None:
        super().__init__(pid, console)
        self._runtime, self._bundle, self._id, self._command = runtime, bundle, container_id, command

    def start(self) -> None:
        try:
            self._runtime.call(self._bundle, "start", self._id, command=self._command)
        except SandboxError:
            self.abandon()
            raise


class _Joining(Container):
    """A further process: the runtime starts it in one step, so that nothing exists before `start`."""

    def __init__(
        self,
        runtime: OciRuntime,
        bundle: StrPath,
        container_id: str,
        process: Mapping[str, Any],
        stdio: Stdio,
    ) -> None:
        super().__init__(0, None)
        self._runtime, self._bundle, self._id = runtime, bundle, container_id
        self._process, self._stdio = process, stdio

    def start(self) -> None:
        self.pid, self.console = self._runtime.execute(self._bundle, self._id, self._process, self._stdio)

    def abandon(self) -> None:
        if self.pid:
            super().abandon()


def failure(name: str, text: str, command: str) -> SandboxError:
    """PURE: the runtime's last line as our error; the exit codes 126 and 127 are read from its words."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    last = lines[-1] if lines else "no reason given"
    low = last.lower()
    about_exec = "exec" in low or f"`{command}`" in low or low.startswith("open executable")
    if command and about_exec and any(word in low for word in _NOT_FOUND):
        return CommandNotFound(command)
    if command and about_exec and any(word in low for word in _NOT_EXECUTABLE):
        return NotExecutable(command)
    hint = "without --runtime the built-in executor runs it" if "cgroup" in low else ""
    return SandboxError(f"{name}: {last}", hint=hint)


def _carry_out(line: Sequence[str], streams: Sequence[int]) -> subprocess.CompletedProcess[bytes]:
    """A runtime passes on what it has: it gets neither the caller's variables nor his keys."""
    return subprocess.run(
        line, stdin=streams[0], stdout=streams[1], stderr=streams[2], check=False,
        env={name: os.environ[name] for name in _VARIABLES if name in os.environ},
        preexec_fn=linux.new_session_keyring,
    )  # fmt: skip


@contextmanager
def _adopting() -> Iterator[None]:
    """Orphans become ours: the runtime ends after it has made the container's process."""
    before, known = linux.is_subreaper(), _children()
    linux.prctl(linux.PR_SET_CHILD_SUBREAPER, 1)
    try:
        yield
    except BaseException:
        for pid in _children() - known:  # what a failed runtime left: unreaped, it would block its namespace
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)
        raise
    finally:
        linux.prctl(linux.PR_SET_CHILD_SUBREAPER, int(before))


def _children() -> set[int]:
    return {int(pid) for pid in Path("/proc/thread-self/children").read_text().split()}


@contextmanager
def _console(directory: str, process: Mapping[str, Any]) -> Iterator[socket.socket | None]:
    if not process.get("terminal"):
        yield None
        return
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{directory}/tty")
        listener.listen(1)
        listener.settimeout(30)  # the runtime has ended by then; only a broken one never connects
        yield listener


def _received(listener: socket.socket) -> int:
    connection, _ = listener.accept()
    with connection:
        _, fds, _, _ = socket.recv_fds(connection, 4096, 1)
    if not fds:
        raise OSError(errno.EPROTO, "the runtime sent no terminal")
    return fds[0]
