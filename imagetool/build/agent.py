"""A socket for a RUN that leads to the caller's ssh agent, with the owner and mode that the RUN asks for."""

from __future__ import annotations

import os
import socket
import threading
from contextlib import suppress

from imagetool.build import owners
from imagetool.build.runmount import RunMount

_CHUNK = 1 << 14


class Forwarder:
    """Listens until it is closed; every connection has two threads that copy."""

    def __init__(self, listener: socket.socket, agent: str) -> None:
        self._listener, self._agent = listener, agent
        threading.Thread(target=self._accept, name="build-agent", daemon=True).start()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._connect(client)

    def _connect(self, client: socket.socket) -> None:
        server = socket.socket(socket.AF_UNIX)
        try:
            server.connect(self._agent)
        except OSError:
            client.close()
            server.close()
            return
        for one, other in ((client, server), (server, client)):
            threading.Thread(target=_copy, args=(one, other), name="build-agent", daemon=True).start()


def serve(path: str, agent: str, wanted: RunMount) -> Forwarder:
    """Makes the socket at `path` and answers on it by the agent whose socket is `agent`."""
    listener = socket.socket(socket.AF_UNIX)
    directory = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        listener.bind(
            f"/proc/self/fd/{directory}/{os.path.basename(path)}"
        )  # whole paths can be too long for it
        owners.give_here(path, wanted.uid, wanted.gid)
        os.chmod(path, wanted.mode)
        listener.listen()
    except BaseException:
        listener.close()
        raise
    finally:
        os.close(directory)
    return Forwarder(listener, agent)


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(_CHUNK):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
