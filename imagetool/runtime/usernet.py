"""A network for the unprivileged: slirp4netns puts a user-space one into the container's namespace.

Ports are published by `proxy` with sockets made inside the namespace, so that nothing else need be asked of it.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess

from imagetool.runtime import linux
from imagetool.runtime.errors import NetworkError

ADDRESS = "10.0.2.100"  # slirp4netns(1): the guest's address, and its name server
NAME_SERVER = "10.0.2.3"
_PATIENCE = 20.0  # seconds; it configures one interface and says so


def available() -> bool:
    return shutil.which("slirp4netns") is not None


class Slirp:
    """The network of one container; it ends with `close`, or with who made it."""

    def __init__(self, pid: int) -> None:
        """Start it for the namespace of `pid` and wait until the interface is up; NetworkError otherwise."""
        reader, writer = os.pipe()
        command = [
            "slirp4netns", "--configure", "--mtu=65520", "--disable-host-loopback", f"--ready-fd={writer}", str(pid),
            "tap0",
        ]  # fmt: skip
        try:
            self._process = subprocess.Popen(
                command, pass_fds=(writer,), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE, text=True, preexec_fn=_die_with_parent,
            )  # fmt: skip
        except FileNotFoundError:
            os.close(reader)
            raise NetworkError("slirp4netns is not installed", hint="or use --network none or host") from None
        finally:
            os.close(writer)
        try:
            self._await(reader)
        finally:
            os.close(reader)

    def close(self) -> None:
        self._process.kill()  # whoever ignores SIGTERM has passed that on to it
        self._process.communicate()

    def _await(self, reader: int) -> None:
        poller = select.poll()
        poller.register(reader, select.POLLIN)
        if poller.poll(_PATIENCE * 1000) and os.read(reader, 1):
            return
        self._process.kill()
        _, errors = self._process.communicate()
        first = (errors.strip().splitlines() or ["it does not answer"])[0]
        raise NetworkError(f"slirp4netns failed: {first}", hint="or use --network none or host")


def _die_with_parent() -> None:
    linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
