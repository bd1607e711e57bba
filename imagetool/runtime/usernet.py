"""A network for the unprivileged: pasta or slirp4netns puts a user-space one into the container's namespace.

Either gives the same addresses, and none of the host's loopback. Ports are published by `proxy` with sockets made
inside the namespace, so that nothing else need be asked of them. pasta is preferred: it copies less, and knows IPv6.
Sources: pasta(1), slirp4netns(1), proc_net(5) for `route`.
"""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from imagetool.runtime import linux
from imagetool.runtime.errors import NetworkError

ADDRESS = "10.0.2.100"  # slirp4netns's own choices, which pasta is told to make too
GATEWAY = "10.0.2.2"
NAME_SERVER = "10.0.2.3"
_PATIENCE = 20.0  # seconds; they configure one interface
_PASTA = (
    "--foreground", "--quiet", "--config-net", "--netns-only", "--no-map-gw", "--ns-ifname", "tap0",
    "--address", ADDRESS, "--netmask", "24", "--gateway", GATEWAY, "--dns-forward", NAME_SERVER,
    *("-t", "none", "-u", "none", "-T", "none", "-U", "none"),  # else ports would be shared by themselves
)  # fmt: skip
_SLIRP = ("--configure", "--mtu=65520", "--disable-host-loopback")
HINT = "or use --network none or host"


def pasta(pid: int) -> list[str]:
    """PURE: the command for the namespace of a process."""
    return ["pasta", *_PASTA, "--netns", "/proc/self/fd/0"]  # by itself it may not look at other processes


def slirp(pid: int) -> list[str]:
    """PURE: the same."""
    return ["slirp4netns", *_SLIRP, str(pid), "tap0"]


PROGRAMS: tuple[Callable[[int], list[str]], ...] = (pasta, slirp)
"""The better one first."""


def available() -> bool:
    return any(_is_there(program(0)[0]) for program in PROGRAMS)


def connect(pid: int) -> UserNet:
    """By the first program that is installed and can. NetworkError, which has a line of each that cannot."""
    failures = []
    for program in PROGRAMS:
        command = program(pid)
        if _is_there(command[0]):
            try:
                return UserNet(command, pid)
            except NetworkError as error:
                failures.append(str(error))
    raise NetworkError("; ".join(failures) or "neither pasta nor slirp4netns is installed", hint=HINT)


def _is_there(program: str) -> bool:
    from shutil import which  # root never asks

    return which(program) is not None


class UserNet:
    """The network of one container; it ends with `close`, or with who made it."""

    def __init__(self, command: Sequence[str], pid: int) -> None:
        """Start it with the namespace of `pid` as standard input, and wait until the way out is there; NetworkError."""
        self.name = command[0]
        from tempfile import TemporaryFile

        # errors go to a file: a pipe that nobody reads would stop it one day
        with open(f"/proc/{pid}/ns/net", "rb") as namespace, TemporaryFile() as errors:
            self._process = subprocess.Popen(
                command,
                stdin=namespace,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                preexec_fn=_die_with_parent,
            )
            try:
                ready = self._await(pid)
            except BaseException:
                self.close()
                raise
            if not ready:
                self.close()
                errors.seek(0)
                lines = errors.read().decode(errors="replace").strip().splitlines()
                raise NetworkError(f"{self.name} failed: {lines[-1] if lines else 'it does not answer'}")

    def close(self) -> None:
        self._process.kill()  # whoever ignores SIGTERM has passed that on to it
        self._process.wait()

    def _await(self, pid: int) -> bool:
        deadline = time.monotonic() + _PATIENCE
        while self._process.poll() is None and time.monotonic() < deadline:
            if _has_way_out(pid):
                return True
            time.sleep(0.005)
        return False


def _has_way_out(pid: int) -> bool:
    """Whether its namespace has a default route, which is made last."""
    with suppress(OSError), open(f"/proc/{pid}/net/route") as file:
        return any(line.split()[1] == "00000000" for line in file.readlines()[1:])
    return False


def _die_with_parent() -> None:
    linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
