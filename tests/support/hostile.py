"""A registry that keeps to the specification until a test tells it not to.

It serves what was put into it, with ranges, and records every request. `fault` sees each request first and
may answer it in its own way, on the bare socket if it likes.
"""

import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from tests.support.oci import Layout, digest


class Seen(NamedTuple):
    method: str
    path: str
    headers: dict[str, str]


class Exchange(BaseHTTPRequestHandler):
    """One connection; what `fault` gets to answer with."""

    protocol_version = "HTTP/1.1"
    registry: "Hostile"

    def answer(self, status: int, body: bytes = b"", **headers: str) -> bool:
        """Header names with `_` for `-`. A Content-Length is added if none is given. True: it was answered."""
        self.send_response(status)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if "Content-Length" not in named:
            named["Content-Length"] = str(len(body))
        for name, value in named.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        return True

    def cut(self) -> None:
        """Hang up."""
        self.wfile.flush()
        self.close_connection = True

    def _handle(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.registry.seen.append(Seen(self.command, self.path, headers))
        try:
            if not self.registry.fault(self):
                self._serve()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _handle

    def _serve(self) -> None:
        if self.command not in ("GET", "HEAD"):
            self.answer(405)
        elif self.path == "/v2/":
            self.answer(200, b"{}")
        elif match := re.fullmatch(r"/v2/.+/manifests/(.+)", self.path):
            self._manifest(match[1])
        elif (match := re.fullmatch(r"/v2/.+/blobs/(.+)", self.path)) and match[1] in self.registry.blobs:
            self.blob(self.registry.blobs[match[1]])
        else:
            self.answer(404, b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}')

    def _manifest(self, name: str) -> None:
        if name in self.registry.manifests:
            media_type, data = self.registry.manifests[name]
            self.answer(200, data, Content_Type=media_type, Docker_Content_Digest=digest(data))
        else:
            self.answer(404, b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}')

    def blob(self, data: bytes) -> None:
        """Serve a blob, or the part of it that was asked for."""
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if match is None or not self.registry.ranges:
            self.answer(200, data)
        elif int(match[1]) >= len(data):
            self.answer(416)
        else:
            start = int(match[1])
            self.answer(206, data[start:], Content_Range=f"bytes {start}-{len(data) - 1}/{len(data)}")

    def log_message(self, *arguments: object) -> None:
        pass


Fault = Callable[[Exchange], bool]


class Hostile:
    """`fault` returns whether it answered. `manifests` are by tag and by digest."""

    def __init__(self) -> None:
        self.host = ""
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, tuple[str, bytes]] = {}
        self.seen: list[Seen] = []
        self.ranges = True
        self.fault: Fault = lambda exchange: False

    def manifest(self, tag: str, data: bytes, media_type: str) -> None:
        self.manifests[tag] = self.manifests[digest(data)] = (media_type, data)

    def load(self, layout: Layout) -> None:
        """All blobs of a layout; its manifests can be had by digest."""
        for path in (layout.root / "blobs/sha256").iterdir():
            data = path.read_bytes()
            self.blobs[f"sha256:{path.name}"] = data
            if data.startswith(b'{"schemaVersion"'):
                media_type = re.search(rb'"mediaType":"([^"]+)"', data)
                assert media_type
                self.manifests[f"sha256:{path.name}"] = (media_type[1].decode(), data)

    def tag(self, name: str, descriptor: dict[str, object]) -> None:
        self.manifests[name] = self.manifests[str(descriptor["digest"])]

    def asked(self, method: str, part: str) -> list[Seen]:
        return [seen for seen in self.seen if seen.method == method and part in seen.path]


class Server(ThreadingHTTPServer):
    """Clients that hang up are what it is for."""

    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def hostile() -> Iterator[Hostile]:
    state = Hostile()
    handler = type("Handler", (Exchange,), {"registry": state, "timeout": 20})
    with Server(("127.0.0.1", 0), handler) as server:
        state.host = f"127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield state
        finally:
            server.shutdown()
            thread.join()
