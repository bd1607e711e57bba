"""The network of a stage's RUN steps: a namespace with a place on the bridge, made for the first that needs it.

A thread has the namespace, so that it goes with the build, whatever its end. The helper that makes links is started
early: its imports then overlap with the steps before.
"""

from __future__ import annotations

import os
import threading

from imagetool.containers.remains import NETWORK_STATE
from imagetool.runtime import linux
from imagetool.runtime.entry import loopback_up
from imagetool.runtime.errors import NetworkError
from imagetool.runtime.network import Bridge, Netlink


class Network:
    """For one stage. `close` takes all of it away."""

    def __init__(self) -> None:
        self._id = os.urandom(32).hex()
        self._netlink: Netlink | None = None
        self._thread: threading.Thread | None = None
        self._ready, self._end = threading.Event(), threading.Event()
        self._tid, self._path, self._error = 0, "", ""
        self.address = ""
        self.servers: tuple[str, ...] = ()  # of names, in place of the host's
        self.notes: list[str] = []  # what the steps will miss

    def prepare(self) -> None:
        """A RUN is coming."""
        self._netlink = self._netlink or Netlink()

    def path(self) -> str:
        """The network namespace, connected. NetworkError."""
        if not self._thread:
            self._hold()
        if not self.address:
            self.prepare()
            assert self._netlink is not None
            self.address = Bridge(NETWORK_STATE).connect(self._netlink, self._id, self._tid).address
        return self._path

    def close(self) -> None:
        """Nobody has to wait for it: the helper does what takes time."""
        if self._netlink is not None and self.address:
            Bridge(NETWORK_STATE).leave(self._netlink, self._id, self._tid)
        elif self._netlink is not None:
            self._netlink.__exit__(None, None, None)
        self._netlink, self.address = None, ""
        self._end.set()
        if self._thread:
            self._thread.join()

    def _hold(self) -> None:
        self._thread = threading.Thread(target=self._run, name="build-network", daemon=True)
        self._thread.start()
        self._ready.wait()
        if self._error:
            hint = "build with --network none or host"
            raise NetworkError(f"cannot make a network for the build: {self._error}", hint=hint)

    def _run(self) -> None:
        try:
            linux.unshare(linux.CLONE_NEWNET)
            loopback_up()
            self._tid = threading.get_native_id()
            self._path = f"/proc/{os.getpid()}/task/{self._tid}/ns/net"
        except OSError as error:
            self._error = error.strerror or str(error)
        self._ready.set()
        self._end.wait()
