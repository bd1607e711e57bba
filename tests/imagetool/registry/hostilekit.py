"""What the tests of a registry that is not to be trusted share: what it does, and how a pull may fail."""

import os
import threading
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import unquote

import pytest

from imagetool.errors import ImageToolError
from imagetool.store.check import check
from tests.imagetool.registry.conftest import World
from tests.support.hostile import Exchange, Hostile
from tests.support.oci import dump

SECRET = "s3cr3t-value"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"


def big_blob(bad: Hostile) -> tuple[str, bytes]:
    return max(bad.blobs.items(), key=lambda row: len(row[1]))


def refused(world: World, name: str, kind: type[ImageToolError], words: str, **options: Any) -> str:
    """The pull fails in the one way that is allowed: an error of ours on one line, and a store as before."""
    before = world.names()
    with pytest.raises(kind, match=words) as error:
        world.pull(name, **options)
    text = str(error.value)
    assert "\n" not in text
    assert SECRET not in text
    assert world.names() == before
    assert os.listdir(f"{world.store.root}/tmp") == []
    assert list(check(world.store)) == []
    return text


def on_big(bad: Hostile, act: Callable[[Exchange, int], bool]) -> None:
    """Call `act` with the number of the request, from 1, for requests of the large blob."""
    wanted, count = big_blob(bad)[0], [0]

    def fault(exchange: Exchange) -> bool:
        if not exchange.path.endswith(wanted) or exchange.command != "GET":
            return False
        count[0] += 1
        return act(exchange, count[0])

    bad.fault = fault


def part(exchange: Exchange, data: bytes, count: int) -> bool:
    """Begin to answer with the whole of `data`, or what was asked of it, and hang up after `count` bytes."""
    start = int(exchange.headers.get("Range", "bytes=0-")[6:-1]) if exchange.registry.ranges else 0
    exchange.send_response(206 if start else 200)
    exchange.send_header("Content-Length", str(len(data) - start))
    if start:
        exchange.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
    exchange.end_headers()
    exchange.wfile.write(data[start : start + count])
    exchange.cut()
    return True


def answers(bad: Hostile, *rows: tuple[int, dict[str, str]]) -> None:
    """Answer requests of the manifest with these, then as usual."""
    left = list(rows)

    def fault(exchange: Exchange) -> bool:
        if not left or "manifests" not in exchange.path:
            return False
        status, headers = left.pop(0)
        body = dump(
            {"errors": [{"code": "TOOMANYREQUESTS", "message": "You have reached your limit\x1b[2J"}]}
        )
        exchange.answer(status, body, **headers)
        return True

    bad.fault = fault


def with_basic(bad: Hostile) -> None:
    """Everything at the bad registry needs basic authentication."""
    inner = bad.fault

    def fault(exchange: Exchange) -> bool:
        if exchange.headers.get("Authorization") is None:
            exchange.answer(401, WWW_Authenticate='Basic realm="x"')
            return True
        return inner(exchange)

    bad.fault = fault


class Uploads:
    """The writing half of a registry. `stored` is by digest and by tag; the first large PUTs are `broken`."""

    def __init__(
        self,
        registry: Hostile,
        *,
        broken: Sequence[tuple[str, int]] = (),
        limit: int = 1 << 40,
        at: str = "",
        digest: str = "",
    ) -> None:
        self.stored: dict[str, bytes] = {}
        self._open: dict[str, bytes] = {}
        self._lock = threading.Lock()
        self._broken, self._limit, self._at, self._digest = list(broken), limit, at, digest
        self._registry = registry

    def fault(self, exchange: Exchange) -> bool:
        if exchange.command in ("GET", "HEAD") and "/to/" in exchange.path:
            exchange.answer(404)
        elif exchange.command == "POST":
            with self._lock:
                upload = f"u{len(self._open)}"
                self._open[upload] = b""
            exchange.answer(202, Location=f"{self._at}/v2/to/blobs/uploads/{upload}?state=1")
        elif exchange.command in ("PATCH", "PUT"):
            self._take(exchange)
        else:
            return False
        return True

    def _take(self, exchange: Exchange) -> None:
        size = int(exchange.headers["Content-Length"])
        if size > self._limit:
            exchange.rfile.read(size)
            exchange.answer(413)
            return
        if size > 100_000 and self._broken:
            how, status = self._broken.pop(0)
            if how == "cut":
                exchange.rfile.read(70_000)
                exchange.cut()
                return
            exchange.rfile.read(size)
            exchange.answer(status)
            return
        data = exchange.rfile.read(size)
        path, _, query = exchange.path.partition("?")
        last = path.rsplit("/", 1)[1]
        if "/manifests/" in path:
            self.stored[last] = data
            exchange.answer(201)
        elif exchange.command == "PATCH":
            self._open[last] += data
            exchange.answer(202, Location=f"{path}?state=2")
        else:
            self.stored[unquote(query.rpartition("digest=")[2])] = self._open.get(last, b"") + data
            told = self._digest or unquote(query.rpartition("digest=")[2])
            exchange.answer(201, Docker_Content_Digest=told)
