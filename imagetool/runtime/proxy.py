"""Published ports, served in user space on trio: TCP with half-close, UDP with a socket a client.

The listening sockets are bound first, by a plain function, so that a port that is taken is an error before the
container starts. Connections are made by a `Dial`, which may do it inside another network namespace.
"""

from __future__ import annotations

import errno
import os
import queue
import socket
import threading
from collections.abc import Callable, Iterable

import trio

from imagetool.runtime import linux
from imagetool.runtime.errors import NetworkError
from imagetool.runtime.ports import Port
from unionfs.annotations import Any
from unionfs.namedtuple import NamedTuple

_CHUNK = 1 << 16
_DATAGRAM = 65535
_UDP_IDLE = 90.0  # seconds until a client's socket is closed: Docker's proxy has the same
_TYPES = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)

MakeSocket = Callable[[int], socket.socket]  # by type; an IPv4 socket


class Bound(NamedTuple):
    """A published port with its listening socket; `port.host` is the real one."""

    port: Port
    sock: socket.socket


def bind(ports: Iterable[Port]) -> list[Bound]:
    """Listen on every port; on failure none is left open."""
    bound: list[Bound] = []
    try:
        for port in ports:
            sock = _listen(port)
            bound.append(Bound(port._replace(host=sock.getsockname()[1]), sock))
    except BaseException:
        for each in bound:
            each.sock.close()
        raise
    return bound


async def serve(bound: Iterable[Bound], address: str, make: MakeSocket | None = None) -> None:
    """Forward until cancelled; the sockets are closed then."""
    async with trio.open_nursery() as nursery:
        for port, sock in bound:
            server = _tcp if port.protocol == "tcp" else _udp
            nursery.start_soon(server, sock, (address, port.container), make or _plain)


class Inside:
    """Makes sockets in another network namespace: one thread is there, and a socket stays where it was made."""

    def __init__(self, netns: str) -> None:
        self._wanted: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._made: queue.SimpleQueue[socket.socket | OSError] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._work, args=(netns,), daemon=True)
        self._thread.start()

    def __call__(self, kind: int) -> socket.socket:
        with self._lock:
            self._wanted.put(kind)
            made = self._made.get()
        if isinstance(made, OSError):
            raise made
        return made

    def close(self) -> None:
        self._wanted.put(None)
        self._thread.join()

    def _work(self, netns: str) -> None:
        failed: OSError | None = None
        try:
            fd = os.open(netns, os.O_RDONLY | os.O_CLOEXEC)
            linux.setns(fd, linux.CLONE_NEWNET)
            os.close(fd)
        except OSError as error:
            failed = error
        while (kind := self._wanted.get()) is not None:
            try:
                self._made.put(failed or socket.socket(socket.AF_INET, kind))
            except OSError as error:
                self._made.put(error)


def _plain(kind: int) -> socket.socket:
    return socket.socket(socket.AF_INET, kind)


def _listen(port: Port) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in port.ip else socket.AF_INET, _TYPES[port.protocol])
    try:
        if port.protocol == "tcp":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((port.ip, port.host))
        if port.protocol == "tcp":
            sock.listen(socket.SOMAXCONN)
    except OSError as error:
        sock.close()
        where = f"{port.ip}:{port.host}/{port.protocol}"
        if error.errno == errno.EADDRINUSE:
            raise NetworkError(
                f"port {where} is already allocated", hint="choose another one with -p"
            ) from error
        raise NetworkError(f"cannot listen on {where}: {error.strerror}") from error
    sock.setblocking(False)
    return sock


async def _tcp(sock: socket.socket, target: tuple[str, int], make: MakeSocket) -> None:
    listener = trio.SocketListener(trio.socket.from_stdlib_socket(sock))
    async with listener, trio.open_nursery() as nursery:
        while True:
            try:
                client = await listener.accept()
            except OSError as error:
                if error.errno not in _EXHAUSTED:
                    raise
                await trio.sleep(0.1)  # connections must end before there is room for another
                continue
            nursery.start_soon(_connection, client, target, make)


async def _connection(client: trio.SocketStream, target: tuple[str, int], make: MakeSocket) -> None:
    async with client:
        try:
            sock = trio.socket.from_stdlib_socket(make(socket.SOCK_STREAM))
            with sock:
                await sock.connect(target)
                server = trio.SocketStream(sock)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_pump, client, server)
                    nursery.start_soon(_pump, server, client)
        except OSError:  # nobody listens in there: the client sees its connection close
            return


async def _pump(source: trio.SocketStream, target: trio.SocketStream) -> None:
    try:
        while data := await source.receive_some(_CHUNK):
            await target.send_all(data)
        await target.send_eof()
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        await source.aclose()
        await target.aclose()


async def _udp(sock: socket.socket, target: tuple[str, int], make: MakeSocket) -> None:
    outer = trio.socket.from_stdlib_socket(sock)
    clients: dict[Any, trio.socket.SocketType] = {}
    with outer:
        async with trio.open_nursery() as nursery:
            while True:
                data, sender = await outer.recvfrom(_DATAGRAM)
                inner = clients.get(sender)
                if inner is None:
                    inner = trio.socket.from_stdlib_socket(make(socket.SOCK_DGRAM))
                    await inner.connect(target)
                    clients[sender] = inner
                    nursery.start_soon(_answers, inner, outer, sender, clients)
                try:
                    await inner.send(data)
                except OSError:  # refused, or just closed for idleness: datagrams may be lost
                    continue


async def _answers(
    inner: trio.socket.SocketType,
    outer: trio.socket.SocketType,
    client: Any,
    clients: dict[Any, trio.socket.SocketType],
) -> None:
    with inner:
        try:
            while True:
                with trio.fail_after(_UDP_IDLE):
                    data = await inner.recv(_DATAGRAM)
                await outer.sendto(data, client)
        except (trio.TooSlowError, OSError):
            return
        finally:
            clients.pop(client, None)
