"""One registry: which scheme it speaks, who we are to it, and requests that are authorized and retried."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from urllib.parse import quote

import trio

from imagetool.errors import Denied, RegistryError
from imagetool.registry import urls
from imagetool.registry.auth import Authorizer, Scopes
from imagetool.registry.config import domain_of
from imagetool.registry.credentials import Credentials, Keyring
from imagetool.registry.errors import ChallengeError, TransportError, Untrusted, for_status
from imagetool.registry.retry import Policy, retrying
from imagetool.registry.transport import Body, Request, Response, Transport, check_status
from imagetool.registry.urls import Url
from unionfs.namedtuple import NamedTuple

MAX_ERROR = 64 << 10  # of an error's body; what says more is not read
RENEWALS = 2  # answers to 401 for one request: a stale token, then a fresh one


OK = frozenset({200})


class Answer(NamedTuple):
    """A response with its whole body."""

    response: Response
    body: bytes


class Base(NamedTuple):
    """How a registry is reached; `verify` false if unknown certificates are allowed."""

    scheme: str
    verify: bool


class Client:
    """The registries that one run talks to: they share the transport and the keyring."""

    def __init__(self, transport: Transport, keyring: Keyring) -> None:
        self._transport = transport
        self._keyring = keyring
        self._registries: dict[tuple[str, str, bool], Registry] = {}

    def registry(
        self,
        host: str,
        *,
        repository: str = "",
        insecure: bool = False,
        credentials: Credentials | None = None,
    ) -> "Registry":
        """The registry at `host[:port]`. Credentials are looked up for it, for `repository` if some are kept
        for that alone, unless they are given. The same arguments give the same object."""
        key = (host, repository, insecure)
        if credentials is not None or key not in self._registries:
            find = self._finder(host, repository, credentials)
            self._registries[key] = Registry(self._transport, host, find, insecure=insecure)
        return self._registries[key]

    def _finder(
        self, host: str, repository: str, credentials: Credentials | None
    ) -> Callable[[], Awaitable[Credentials | None]]:
        async def find() -> Credentials | None:
            if credentials is not None:
                return credentials
            return await trio.to_thread.run_sync(self._keyring.find, domain_of(host), repository)

        return find


class Registry:
    """One registry's API. Requests are by path; `scopes` say what a token must allow."""

    def __init__(
        self,
        transport: Transport,
        host: str,
        find: Callable[[], Awaitable[Credentials | None]],
        *,
        insecure: bool = False,
    ) -> None:
        self.host = host
        self.name = domain_of(host)
        self._transport = transport
        self._insecure = insecure
        self.auth = Authorizer(transport, self.name, find)
        self._base: Base | None = None
        self._lock = trio.Lock()

    async def url(self, target: str) -> Url:
        """The URL of a path and query here. The first call finds out what the registry speaks."""
        async with self._lock:
            if self._base is None:
                self._base = await self._discover()
        return urls.of(self._base.scheme, self.host, target)

    async def answer(
        self,
        method: str,
        target: str | Url,
        what: str,
        *,
        scopes: Scopes,
        wanted: frozenset[int] = OK,
        headers: tuple[tuple[str, str], ...] = (),
        body: Body | None = None,
        limit: int = MAX_ERROR,
        slow: bool = False,
    ) -> Answer:
        """A whole small answer of one of the wanted statuses, retried as the policy says: the request must be
        one that may be sent twice. RegistryError otherwise; `what` says in it what was asked for."""

        async def once() -> Answer:
            url = target if isinstance(target, Url) else await self.url(target)
            async with self.request(
                method, url, what, scopes=scopes, headers=headers, body=body, slow=slow
            ) as r:
                data = await r.read(limit)
                check_status(r, data, what, wanted, self.name)
                return Answer(r, data)

        return await retrying(self.policy, once)

    @property
    def policy(self) -> Policy:
        return self._transport.policy

    @property
    def stall(self) -> float:
        """Seconds without a byte after which a connection counts as broken."""
        return self._transport.timeouts.stall

    @property
    def _verify(self) -> bool:
        return self._base is None or self._base.verify

    @asynccontextmanager
    async def request(
        self,
        method: str,
        url: Url,
        what: str,
        *,
        scopes: Scopes,
        headers: tuple[tuple[str, str], ...] = (),
        body: Body | None = None,
        slow: bool = False,
    ) -> AsyncIterator[Response]:
        """Send it once, with the authorization it needs; any status but 401 comes back.

        Unauthorized when there are no credentials, or none that are accepted. They go to this registry alone:
        a URL elsewhere (an upload's Location, a foreign layer) gets none.
        """
        own = (await self.url("/")).origin
        if own.scheme == "https" and url.origin.scheme == "http":
            hint = "the registry, or a proxy before it, does not know its own address"
            raise RegistryError(
                f"{self.host} leads from https to plain http, {url.origin}: refused", hint=hint
            )
        mine = url.origin == own
        plain = Request(method, url, headers, body=body, verify=self._verify or not mine, slow=slow)
        for renewal in range(RENEWALS + 1):
            sent = await self.auth.header(scopes) if mine else ""
            async with self._transport.exchange(plain._replace(authorization=sent)) as response:
                if response.status != 401 or not mine:
                    yield response
                    return
                failure = for_status(401, what, self.name, await response.read(MAX_ERROR))
                lines = response.lines("www-authenticate")
            if renewal == RENEWALS or not await self.auth.renew(lines, scopes, sent, url.origin):
                break
        if sent.startswith("Bearer ") and await self.auth.known():
            # The login was good for a token, but the token not for this (RFC 6750 "insufficient_scope").
            text = f"{what}: denied: requested access to the resource is denied"
            raise Denied(
                text, hint=f"is it yours? the login to {self.name} is good, and may not do this", status=403
            )
        raise failure

    @asynccontextmanager
    async def anonymous(self, url: Url, headers: tuple[tuple[str, str], ...]) -> AsyncIterator[Response]:
        """GET an address that a manifest names: wherever it is, no credentials go there."""
        async with self._transport.exchange(Request("GET", url, headers)) as response:
            yield response

    async def _discover(self) -> Base:
        """https; plain http too where that is allowed: on loopback, and where it was marked insecure."""
        host = urls.of("https", self.host, "/").origin.host
        loopback = urls.is_loopback(host)
        if not self._insecure and (not loopback or self._transport.trusts(self.host)):
            return Base("https", True)
        candidates = [Base("https", not self._insecure), Base("http", True)]
        if loopback and not self._insecure:
            candidates.reverse()  # one round trip less for what is there as a rule
        errors: list[TransportError] = []
        for base in candidates:
            try:
                if await self._speaks(base):
                    return base
            except TransportError as error:
                errors.append(error)  # without a port in the name, the other scheme has another one
        raise next((error for error in errors if isinstance(error, Untrusted)), errors[0])

    async def _speaks(self, base: Base) -> bool:
        """Whether the other side answers in this scheme; to plain http a TLS server says 400 or hangs up."""
        url = urls.of(base.scheme, self.host, "/v2/")
        async with self._transport.exchange(Request("GET", url, verify=base.verify)) as response:
            await self._note(response, url)
            return base.scheme == "https" or response.status != 400

    async def _note(self, response: Response, url: Url) -> None:
        """Keep the challenge of the first answer: the next request then needs no 401 of its own."""
        if response.status == 401:
            try:
                self.auth.note(response.lines("www-authenticate"), url.origin)
            except ChallengeError:
                return  # it will come again, to a request that can say what it was for


def path(repository: str, *rest: str) -> str:
    """PURE: `/v2/REPOSITORY/…`; digests and tags need no quoting, anything else gets it."""
    return "/".join(["/v2", repository, *(quote(part, safe=":@") for part in rest)])
