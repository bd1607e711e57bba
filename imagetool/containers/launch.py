"""Starting a container: a monitor is made, and says over a socket what came of it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

from imagetool.containers import frames
from imagetool.containers.descriptors import close_others
from imagetool.containers.frames import Frame, Reader
from imagetool.containers.record import Record
from imagetool.errors import ImageToolError
from imagetool.runtime.network import Netlink
from imagetool.store.store import Store
from unionfs import interpreter


class Connection:
    """A socket to a monitor, as frames."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._reader = Reader()
        self._waiting: list[Frame] = []

    def fileno(self) -> int:
        return self.sock.fileno()

    def send(self, kind: int, data: bytes = b"") -> None:
        """Nothing happens when the monitor has gone: the next `receive` says so."""
        try:
            self.sock.sendall(Frame(kind, data).packed())
        except OSError:
            return

    def receive(self) -> list[Frame]:
        """Waits for frames; none at all when the monitor has gone."""
        while not self._waiting:
            try:
                data = self.sock.recv(frames.CHUNK)
            except InterruptedError:
                continue
            except ConnectionError:
                data = b""
            if not data:
                return []
            self._waiting = list(self._reader.feed(data))
        return self.take()

    def take(self) -> list[Frame]:
        """What has come already."""
        found, self._waiting = self._waiting, []
        return found

    def put_back(self, unread: list[Frame]) -> None:
        self._waiting = unread + self._waiting

    def close(self) -> None:
        self.sock.close()


def launch(
    store: Store, record: Record, *, attached: bool, helper: Netlink | None = None
) -> tuple[Connection, list[str]]:
    """Starts the container; the connection to its monitor, and notes for people. ImageToolError: it does not run.

    `helper` for the network has been started early; it is the monitor's from now on.
    """
    ours, theirs = socket.socketpair()
    if "trio" in sys.modules:  # a pull has left threads, and a fork would copy their locks
        _spawn(store, record, theirs, attached)
    else:
        _fork(store, record, theirs, attached, helper)
    theirs.close()
    if helper is not None:
        helper.close()
    connection = Connection(ours)
    found = connection.receive()
    first = found[0] if found else Frame(0)
    if first.kind == frames.STARTED:
        connection.put_back(found[1:])
        notes: list[str] = json.loads(first.data)["notes"]
        return connection, notes
    connection.close()
    if first.kind == frames.FAILED:
        told = json.loads(first.data)
        error = ImageToolError(told["text"])
        error.exit_code = told["exit_code"]
        raise error
    raise ImageToolError(f"the monitor of container {record.id[:12]} ended without a word", hint="try again")


def _fork(
    store: Store, record: Record, theirs: socket.socket, attached: bool, helper: Netlink | None
) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    from imagetool import monitor

    if os.fork():
        return
    try:
        monitor.detach()
        close_others(theirs.fileno(), *(helper.descriptors if helper else ()))
        monitor.watch(store, record, theirs, attached=attached, helper=helper)
    finally:
        os._exit(0)


def _spawn(store: Store, record: Record, theirs: socket.socket, attached: bool) -> None:
    arguments = store.root, record.id, str(theirs.fileno()), str(int(attached))
    subprocess.Popen(
        interpreter.command("imagetool.monitor", *arguments), env=interpreter.environment(),
        pass_fds=(theirs.fileno(),),
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
