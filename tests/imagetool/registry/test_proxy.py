"""Through a proxy: plain requests with the whole URL, TLS in a tunnel, and no proxy where none is wanted."""

import base64
import selectors
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from imagetool.registry.config import Registries, Rule
from imagetool.registry.errors import TransportError
from imagetool.registry.tls import Certificates
from tests.imagetool.registry.conftest import World
from tests.support.hostile import Exchange, Hostile
from tests.support.oci import Layout
from tests.support.registry import Server, fill

NAME = "registry.test"  # resolved by nobody: only the proxy knows where it is


class Tunnel:
    """A proxy for CONNECT: every name leads to one registry. `asked` lists targets and headers."""

    def __init__(self, target: str) -> None:
        host, port = target.split(":")
        self._target = (host, int(port))
        self.asked: list[str] = []
        self.status = b"200 OK"

    @contextmanager
    def running(self) -> Iterator[str]:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            thread = threading.Thread(target=self._accept, args=(listener,), daemon=True)
            thread.start()
            yield f"127.0.0.1:{listener.getsockname()[1]}"
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(5)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client:
            head = b""
            while b"\r\n\r\n" not in head:
                piece = client.recv(4096)
                if not piece:
                    return
                head += piece
            self.asked.append(head.decode())
            client.sendall(b"HTTP/1.1 " + self.status + b"\r\n\r\n")
            if not self.status.startswith(b"200"):
                return
            with socket.create_connection(self._target) as server:
                _pump(client, server)


def _pump(one: socket.socket, other: socket.socket) -> None:
    with selectors.DefaultSelector() as selector:
        selector.register(one, selectors.EVENT_READ, other)
        selector.register(other, selectors.EVENT_READ, one)
        while True:
            for key, _ in selector.select(20):
                data = key.fileobj.recv(1 << 16)  # type: ignore[union-attr]
                if not data:
                    return
                key.data.sendall(data)


def test_plain_requests_go_to_the_proxy(world: World, bad: Hostile, layout: Layout) -> None:
    image = layout.image([{"a": b"1"}])
    bad.load(layout)
    bad.tag("x", image)

    def fault(exchange: Exchange) -> bool:
        assert exchange.path.startswith(f"http://{NAME}/")
        exchange.path = exchange.path.removeprefix(f"http://{NAME}")
        return False

    bad.fault = fault
    world.environ["http_proxy"] = f"http://{bad.host}"
    world.registries = Registries((Rule(NAME, NAME, insecure=True),))
    assert world.pull(f"{NAME}/app:x").changed


@pytest.fixture
def secure(empty: Callable[..., Any], layout: Layout, world: World) -> Iterator[Server]:
    """A TLS registry that calls itself registry.test, and a world that trusts its authority."""
    layout.tag("x", layout.image([{"a": b"1"}]))
    with empty(tls=True, names=(NAME, "127.0.0.1")) as server:
        fill(server, layout.root, "x", "app:x")
        folder = world.folder / "certs.d" / NAME
        folder.mkdir(parents=True)
        (folder / "ca.crt").write_bytes(Path(server.ca).read_bytes())
        world.certificates = Certificates((str(world.folder / "certs.d"),), world.environ)
        yield server


def test_tls_goes_through_a_tunnel(world: World, secure: Server) -> None:
    tunnel = Tunnel(secure.host)
    with tunnel.running() as proxy:
        world.environ["HTTPS_PROXY"] = f"http://me:p%40ss@{proxy}"
        assert world.pull(f"{NAME}/app:x").changed
    assert tunnel.asked[0].startswith(f"CONNECT {NAME}:443 ")
    assert base64.b64encode(b"me:p@ss").decode() in tunnel.asked[0]


def test_a_proxy_that_refuses(world: World, secure: Server) -> None:
    tunnel = Tunnel(secure.host)
    tunnel.status = b"403 Forbidden"
    with tunnel.running() as proxy:
        world.environ["HTTPS_PROXY"] = f"http://me:secret@{proxy}"
        with pytest.raises(TransportError, match=f"the proxy refuses to connect to {NAME}: 403") as error:
            world.pull(f"{NAME}/app:x")
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("proxy", ["127.0.0.1:1", "proxy.invalid:80"])
def test_a_proxy_that_is_not_there(world: World, secure: Server, proxy: str) -> None:
    world.environ["HTTPS_PROXY"] = f"http://me:secret@{proxy}"
    with pytest.raises(
        TransportError, match=f"cannot connect to the proxy http://{proxy}: .*HTTPS_PROXY"
    ) as error:
        world.pull(f"{NAME}/app:x")
    assert "secret" not in str(error.value)


def test_loopback_is_never_proxied(world: World, bad: Hostile, layout: Layout) -> None:
    image = layout.image([{"a": b"1"}])
    bad.load(layout)
    bad.tag("x", image)
    world.environ["http_proxy"] = "http://127.0.0.1:1"
    assert world.pull(f"{bad.host}/app:x").changed
