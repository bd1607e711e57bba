"""Answers to the challenges of one registry: basic, and bearer tokens from its token server.

Follows distribution's "Token Authentication Specification" and "OAuth2 token specification". A password goes
to the registry (basic) or to the realm that the registry names, over https unless the registry itself is
plain. A token is used for the registry that asked for it and for the scope it was given for.
"""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from urllib.parse import urlencode

import trio

from imagetool.errors import RegistryError, Unauthorized
from imagetool.registry import challenge as challenges
from imagetool.registry import urls
from imagetool.registry.challenge import Challenge
from imagetool.registry.credentials import Credentials
from imagetool.registry.retry import retrying
from imagetool.registry.transport import Body, Request, Transport, check_status
from imagetool.registry.urls import Origin, Url
from unionfs.namedtuple import NamedTuple

MAX_TOKEN = 1 << 20
DEFAULT_SECONDS = 60  # a token that names no life time lives this long (token specification)
CLIENT_ID = "imagetool"

Scopes = frozenset[str]
Find = Callable[[], Awaitable[Credentials | None]]


class Token(NamedTuple):
    """A bearer token; `until` is on trio's clock. Does not show itself."""

    value: str
    until: float

    def __repr__(self) -> str:
        return "Token(***)"


class Authorizer:
    """What to put into `Authorization` for one registry. Safe to share between tasks.

    INVARIANT: `_challenge` is what this registry asked for last; None until it did.
    """

    def __init__(self, transport: Transport, name: str, find: Find) -> None:
        self._transport = transport
        self._name = name
        self._find = find
        self._found: tuple[Credentials | None] | None = None
        self._challenge: Challenge | None = None
        self._tokens: dict[Scopes, Token] = {}
        self._lock = trio.Lock()

    async def header(self, scopes: Scopes) -> str:
        """The header's value for a request that needs `scopes`; nothing while nobody asked for one."""
        async with self._lock:
            return await self._header(scopes)

    async def renew(self, lines: Iterable[str], scopes: Scopes, sent: str, asker: Origin) -> bool:
        """After a 401 to a request that carried `sent`: whether there is something better to send now."""
        async with self._lock:
            if self._challenge is not None and await self._header(scopes) not in ("", sent):
                return True  # another task did it meanwhile
            self.note(lines, asker)
            self._forget(sent)
            return await self._header(scopes) not in ("", sent)

    def note(self, lines: Iterable[str], asker: Origin) -> None:
        """Keep what the registry at `asker` wants; ChallengeError if it cannot be read, RegistryError if it
        would have credentials sent in the clear that came over https."""
        chosen = challenges.choose(challenges.parse(lines))
        if chosen and chosen.scheme == "bearer":
            realm = urls.parse(chosen.params.get("realm", ""))
            if asker.scheme == "https" and realm.origin.scheme == "http":
                raise RegistryError(f"{self._name} asks for credentials over plain http, at {realm.origin}")
        self._challenge = chosen

    async def known(self) -> Credentials | None:
        """The credentials for this registry, looked up once."""
        if self._found is None:
            self._found = (await self._find(),)
        return self._found[0]

    async def _header(self, scopes: Scopes) -> str:
        if self._challenge is None:
            return ""
        if self._challenge.scheme == "basic":
            credentials = await self.known()
            return credentials.basic() if credentials and credentials.username else ""
        return f"Bearer {(await self._token(scopes)).value}"

    async def _token(self, scopes: Scopes) -> Token:
        now = trio.current_time()
        for known, token in self._tokens.items():
            if known >= scopes and token.until > now:
                return token
        assert self._challenge is not None
        wanted = scopes or frozenset(self._challenge.params.get("scope", "").split())
        token = await fetch_token(self._transport, self._challenge, wanted, await self.known(), self._name)
        self._tokens[scopes] = token
        return token

    def _forget(self, sent: str) -> None:
        self._tokens = {key: token for key, token in self._tokens.items() if f"Bearer {token.value}" != sent}


async def fetch_token(
    transport: Transport, challenge: Challenge, scopes: Scopes, credentials: Credentials | None, name: str
) -> Token:
    """Ask the realm of a bearer challenge for a token; Unauthorized when it refuses the credentials."""
    realm = urls.parse(challenge.params.get("realm", ""))
    request = token_request(realm, challenge.params.get("service", ""), scopes, credentials)
    asked = trio.current_time()

    async def ask() -> bytes:
        async with transport.exchange(request) as response:
            body = await response.read(MAX_TOKEN)
            if response.status in (401, 403) and credentials:
                who = credentials.username or "the stored identity token"
                hint = f"run 'imagetool login {name}'"
                raise Unauthorized(f"{name}: the login of {who} is not accepted", hint=hint, status=401)
            check_status(response, body, f"cannot get a token for {name}", {200})
            return body

    return parse_token(await retrying(transport.policy, ask), asked, name)


def token_request(realm: Url, service: str, scopes: Scopes, credentials: Credentials | None) -> Request:
    """PURE: GET with basic authentication, or POST with an identity token."""
    ordered = sorted(scopes)
    if credentials and credentials.identity_token:
        form = {
            "grant_type": "refresh_token",
            "service": service,
            "client_id": CLIENT_ID,
            "scope": " ".join(ordered),
            "refresh_token": credentials.identity_token,
        }
        headers = (("Content-Type", "application/x-www-form-urlencoded"),)
        return Request("POST", realm, headers, body=bytes_body(urlencode(form).encode()))
    query = [("service", service)] if service else []
    query += [("scope", scope) for scope in ordered]
    query += [("account", credentials.username)] if credentials else []
    url = realm.with_query(urlencode(query)) if query else realm
    return Request("GET", url, authorization=credentials.basic() if credentials else "")


def parse_token(body: bytes, asked: float, name: str) -> Token:
    """PURE: the token of a token server's answer; `asked` is when it was asked for."""
    try:
        row = json.loads(body)
        value = row.get("token") or row.get("access_token")
        seconds = row.get("expires_in") or DEFAULT_SECONDS
        if not (isinstance(value, str) and value.isascii() and value.isprintable() and " " not in value):
            raise ValueError
        life = max(float(seconds), DEFAULT_SECONDS)
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
        raise RegistryError(f"the token server of {name} gives an answer without a token") from None
    return Token(value, asked + life * 0.9)


def bytes_body(data: bytes) -> Body:
    """A request body that is there already."""

    async def chunks() -> AsyncIterator[bytes]:
        yield data

    return Body(len(data), chunks)
