"""What every executor offers, and what they share."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from abc import ABC, abstractmethod
from collections.abc import Mapping

from imagetool.errors import Malformed, NotFound
from imagetool.runtime.errors import SandboxError
from unionfs.annotations import Any, Protocol
from unionfs.namedtuple import NamedTuple

StrPath = str | os.PathLike[str]


class Stdio(NamedTuple):
    """Descriptors for the command's 0, 1 and 2; -1 is /dev/null. Not used where the plan has a terminal."""

    stdin: int = -1
    stdout: int = -1
    stderr: int = -1


class Container(ABC):
    """A container's process, a child of the caller: created, waiting to be started, running, or ended."""

    def __init__(self, pid: int, console: int | None) -> None:
        self.pid = pid
        self.console = console  # the terminal's master; the caller closes it
        self._code: int | None = None

    @abstractmethod
    def start(self) -> None:
        """Execute the command; SandboxError if that cannot be."""

    def signal(self, number: int) -> None:
        """Send a signal to the first process; nothing happens when it has ended."""
        if self._code is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)  # our child, not yet waited for: the id cannot be another's

    def wait(self) -> int:
        """Wait for its end; the exit code as Docker gives it: 128 + N for signal N."""
        if self._code is None:
            self._code = exit_code(os.waitpid(self.pid, 0)[1])
        return self._code

    def poll(self) -> int | None:
        """The exit code, or None while it runs."""
        if self._code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._code = exit_code(status) if pid else None
        return self._code

    def abandon(self) -> None:
        """End it now, whatever its state, and close what belongs to it."""
        self.signal(signal.SIGKILL)
        self.wait()
        if self.console is not None and self.console >= 0:
            os.close(self.console)
            self.console = None


class Executor(Protocol):
    """Carries out a bundle: a directory with config.json and the root that it names."""

    name: str

    def begin(self, stdio: Stdio, cgroup: str) -> None:
        """What `create`, with the same streams and cgroup, would wait for may start; then it comes, or `give_up`."""

    def give_up(self) -> None:
        """There will be no `create`."""

    def create(self, bundle: StrPath, container_id: str, stdio: Stdio) -> Container:
        """Set everything up; the command waits for `start`. SandboxError: nothing is left."""

    def join(
        self, bundle: StrPath, container_id: str, pid: int, process: Mapping[str, Any], stdio: Stdio
    ) -> Container:
        """Another process (a runtime-spec `process` object) in the running container; wants `start` too."""

    def delete(self, bundle: StrPath, container_id: str) -> None:
        """Remove what is left of an ended container: its cgroup and the executor's own records."""


def exit_code(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def load_spec(bundle: StrPath) -> dict[str, Any]:
    path = f"{os.fspath(bundle)}/config.json"
    try:
        with open(path, "rb") as file:
            spec: dict[str, Any] = json.loads(file.read())
    except FileNotFoundError:
        raise NotFound(f"{path} does not exist") from None
    except ValueError as error:
        raise Malformed(f"{path} is not JSON: {error}") from error
    if not isinstance(spec, dict) or not isinstance(spec.get("linux"), dict) or "process" not in spec:
        raise Malformed(f"{path} is not a runtime specification for Linux")
    return spec


def choose(name: str) -> Executor:
    """The executor for `--runtime`: "builtin", "crun", "runc", or the path of an OCI runtime."""
    if name in ("", "builtin"):
        from imagetool.runtime.sandbox import Builtin

        return Builtin()
    from imagetool.runtime.oci import OciRuntime

    return OciRuntime.find(name)


def unusable(text: str) -> SandboxError:
    return SandboxError(text, hint="choose another one with --runtime")
