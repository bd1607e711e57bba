"""One HTTP exchange: connection pools, proxies, TLS, time limits and redirects, on httpcore2 and trio.

Nothing is retried here and no credentials are looked up. An Authorization header goes to the origin it was
given for and to no other: a redirect to another origin loses it, one from https to http is refused.
Every wait has a limit, so a peer that stalls becomes a TransportError.
"""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Container, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from types import TracebackType

import httpcore2
import trio

from imagetool.errors import RegistryError
from imagetool.registry import USER_AGENT, proxies
from imagetool.registry.errors import Busy, TransportError, for_status
from imagetool.registry.failures import deadline, mapped
from imagetool.registry.retry import TRANSIENT, Policy
from imagetool.registry.tls import Certificates
from imagetool.registry.urls import PORTS, Origin, Url
from unionfs.annotations import Self
from unionfs.namedtuple import NamedTuple

MAX_REDIRECTS = 10  # as Go's client and curl's usual limit
REDIRECTS = frozenset({301, 302, 303, 307, 308})
CONNECTIONS = 16  # to one origin; pulls use at most as many as layers are fetched at once
DRAIN = 64 << 10  # a rest this short is read, to keep the connection; a longer one costs more than a new one

# A read of 64 KiB, the default, costs as much as one of a MiB: 231 MB took 0.53 s of CPU, now 0.31 s.
httpcore2.AsyncHTTP11Connection.READ_NUM_BYTES = 1 << 20

# Its debug lines hold whole header blocks: Location with signatures, and challenges.
logging.getLogger("httpcore2").setLevel(logging.WARNING)


class Timeouts(NamedTuple):
    """Seconds: to connect, between two reads or writes, until a small answer is complete, and until the
    registry has committed an upload (it may hash or move the whole blob first)."""

    connect: float = 15.0
    stall: float = 30.0
    answer: float = 60.0
    commit: float = 600.0


class Body(NamedTuple):
    """What a request sends: `open()` gives its `size` bytes again for every attempt."""

    size: int
    open: Callable[[], AsyncIterator[bytes]]


class Request(NamedTuple):
    """`verify` false: plain HTTP and unknown certificates were allowed by name. `slow`: may take `commit`."""

    method: str
    url: Url
    headers: tuple[tuple[str, str], ...] = ()
    authorization: str = ""
    body: Body | None = None
    verify: bool = True
    slow: bool = False

    def __repr__(self) -> str:
        return f"<{self.method} {self.url.shown()}>"


class Response:
    """Status, headers and a body that is still on its way. `url` is where the redirects ended."""

    __slots__ = ("_empty", "_raw", "_read", "_timeouts", "headers", "status", "url")

    def __init__(self, raw: httpcore2.Response, request: Request, timeouts: Timeouts) -> None:
        self._raw = raw
        self._timeouts = timeouts
        self._empty = request.method == "HEAD"  # its Content-Length is that of a GET
        self._read = False
        self.url = request.url
        self.status = raw.status
        self.headers = [
            (name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in raw.headers
        ]

    def header(self, name: str) -> str:
        """The first header of that (lower-case) name, or nothing."""
        return next(iter(self.lines(name)), "")

    def lines(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]

    def length(self) -> int | None:
        """Content-Length; None where there is none that can be read."""
        text = self.header("content-length")
        return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The body as it comes. TransportError, transient, when it is cut or stalls."""
        self._read = True
        with mapped(self.url):
            async with aclosing(self._raw.aiter_stream()) as stream:
                async for chunk in stream:
                    yield chunk

    async def read(self, limit: int) -> bytes:
        """The whole body; RegistryError when it is longer than `limit` bytes or takes too long."""
        parts: list[bytes] = []
        left = limit
        with deadline(self.url, self._timeouts.answer):
            async with aclosing(self.chunks()) as chunks:
                async for chunk in chunks:
                    parts.append(chunk)
                    left -= len(chunk)
                    if left < 0:
                        break
        if left < 0:
            raise RegistryError(
                f"{self.url.shown()} answers with more than {limit} bytes", status=self.status
            )
        return b"".join(parts)

    async def aclose(self) -> None:
        """Give the connection back if a body that nobody read is short, else close it."""
        try:
            if not self._read and (self._empty or (self.length() or 0) <= DRAIN):
                with trio.move_on_after(1), suppress(RegistryError):
                    await self.read(DRAIN)
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 1), suppress(TransportError):
                await self._close()

    async def _close(self) -> None:
        with mapped(self.url):
            await self._raw.aclose()


class Transport:
    """Connection pools, one for each origin; an async context manager that closes them."""

    def __init__(
        self,
        certificates: Certificates | None = None,
        timeouts: Timeouts = Timeouts(),  # noqa: B008 (a frozen value)
        policy: Policy = Policy(),  # noqa: B008
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self.timeouts = timeouts
        self.policy = policy
        self._certificates = certificates or Certificates(environ=environ)
        self._environ = environ
        self._pools: dict[tuple[Origin, bool], httpcore2.AsyncConnectionPool] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 1):
            for pool in self._pools.values():
                await pool.aclose()
        self._pools.clear()

    @asynccontextmanager
    async def exchange(self, request: Request) -> AsyncIterator[Response]:
        """Send it and follow redirects (of GET and HEAD); the body can be read while the context is open."""
        response = await self._follow(request)
        try:
            yield response
        finally:
            await response.aclose()

    async def _follow(self, request: Request) -> Response:
        for _ in range(MAX_REDIRECTS + 1):
            response = await self._send(request)
            location = response.header("location")
            if response.status not in REDIRECTS or not location or request.method not in ("GET", "HEAD"):
                return response
            await response.aclose()
            request = redirected(request, request.url.join(location))
        raise RegistryError(f"{request.url.origin} redirects more than {MAX_REDIRECTS} times")

    async def _send(self, request: Request) -> Response:
        origin = request.url.origin
        pool = self._pool(origin, request.verify)
        limit = self.timeouts.connect + (self.timeouts.commit if request.slow else self.timeouts.answer)
        proxy = proxies.choose(self._environ, origin)
        with mapped(request.url, proxy.url if proxy else ""), deadline(request.url, limit) as scope:
            raw = await pool.handle_async_request(self._raw_request(request, scope, limit))
            return Response(raw, request, self.timeouts)

    def _raw_request(self, request: Request, scope: trio.CancelScope, limit: float) -> httpcore2.Request:
        origin, body = request.url.origin, request.body
        headers = [("Host", origin.authority), ("User-Agent", USER_AGENT), *request.headers]
        if request.authorization:
            headers.append(("Authorization", request.authorization))
        if body is not None or request.method in ("POST", "PUT", "PATCH"):
            headers.append(("Content-Length", str(body.size if body else 0)))
        stall = self.timeouts.stall
        read = max(self.timeouts.commit, stall) if request.slow else stall
        times = {"connect": self.timeouts.connect, "read": read, "write": stall, "pool": None}
        port = None if origin.port == PORTS[origin.scheme] else origin.port
        return httpcore2.Request(
            request.method,
            httpcore2.URL(
                scheme=origin.scheme, host=origin.host, port=port, target=request.url.target.encode()
            ),
            headers=headers,
            content=_paced(body, scope, limit) if body else None,
            extensions={"timeout": times},
        )

    def _pool(self, origin: Origin, verify: bool) -> httpcore2.AsyncConnectionPool:
        key = (origin, verify)
        if key not in self._pools:
            self._pools[key] = self._make_pool(origin, verify)
        return self._pools[key]

    def trusts(self, authority: str) -> bool:
        """Whether certs.d holds something for `host[:port]`."""
        return self._certificates.knows(authority)

    def _make_pool(self, origin: Origin, verify: bool) -> httpcore2.AsyncConnectionPool:
        tls = origin.scheme == "https"
        context = self._certificates.context(origin.authority, verify=verify) if tls else None
        return httpcore2.AsyncConnectionPool(
            ssl_context=context,
            proxy=self._proxy(origin),
            max_connections=CONNECTIONS,
            keepalive_expiry=60.0,
            network_backend=httpcore2.TrioBackend(),
        )

    def _proxy(self, origin: Origin) -> httpcore2.Proxy | None:
        proxy = proxies.choose(self._environ, origin)
        if proxy is None:
            return None
        context = self._certificates.context("") if proxy.url.startswith("https:") else None
        return httpcore2.Proxy(proxy.url, auth=proxy.auth, ssl_context=context)


def redirected(request: Request, target: Url) -> Request:
    """PURE: the request that a redirect asks for. Credentials stay with their origin."""
    here, there = request.url.origin, target.origin
    if here.scheme == "https" and there.scheme == "http":
        raise RegistryError(
            f"{here} redirects from https to plain http ({there}): refused",
            hint="the registry, or a proxy before it, does not know its own address",
        )
    authorization = request.authorization if here == there else ""
    # What was allowed by name for one registry is not allowed for where it points to.
    verify = request.verify or here != there
    return request._replace(url=target, authorization=authorization, verify=verify)


def check_status(response: Response, body: bytes, what: str, wanted: Container[int], host: str = "") -> None:
    """PURE: nothing if the status is one of the wanted ones, else Busy or the error that says why not."""
    if response.status in wanted:
        return
    error = for_status(response.status, what, host or response.url.origin.authority, body)
    if response.status in TRANSIENT:
        raise Busy(error, response.header("retry-after"))
    raise error


async def _paced(body: Body, scope: trio.CancelScope, limit: float) -> AsyncIterator[bytes]:
    """The body; every chunk that was taken shows that the peer is alive and moves the deadline on."""
    async for chunk in body.open():
        scope.deadline = trio.current_time() + limit
        yield chunk
