"""PURE: the URLs that a registry client follows, and which of them may see its credentials."""

import re
from urllib.parse import urljoin, urlsplit

from imagetool.errors import RegistryError
from unionfs.namedtuple import NamedTuple

MAX_URL = 16 << 10  # signed CDN addresses take one or two KiB
PORTS = {"http": 80, "https": 443}
_VISIBLE = re.compile(r"[\x21-\x7e]+")


class Origin(NamedTuple):
    """Who is asked: what credentials are bound to (RFC 6454). `host` is in lower case, without brackets."""

    scheme: str
    host: str
    port: int

    @property
    def authority(self) -> str:
        """`host[:port]` as in a Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}"


class Url(NamedTuple):
    """An absolute http or https URL; `target` is its path and query."""

    origin: Origin
    target: str

    def __str__(self) -> str:
        return f"{self.origin}{self.target}"

    def shown(self) -> str:
        """For messages: without the query, in which CDN addresses carry their signatures."""
        return f"{self.origin}{self.target.partition('?')[0]}"

    def join(self, location: str) -> "Url":
        """Where a Location or Link header, absolute or relative, leads from here."""
        try:
            return parse(urljoin(str(self), location))
        except ValueError:
            raise RegistryError(f"not a URL: {location[:80]!r}") from None

    def with_query(self, query: str) -> "Url":
        """The same with `query` added to what it has."""
        return self._replace(target=f"{self.target}{'&' if '?' in self.target else '?'}{query}")


def parse(text: str) -> Url:
    """RegistryError unless it is an http or https URL in visible ASCII, without a user and password."""
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host = ""
    if not host or len(text) > MAX_URL or not _VISIBLE.fullmatch(text) or parts.scheme not in PORTS:
        raise RegistryError(f"not an http or https URL: {text[:80]!r}")
    if parts.username is not None:
        raise RegistryError(f"a URL with a user name in it is not followed: {parts.scheme}://…@{host}")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Url(Origin(parts.scheme, host, PORTS[parts.scheme] if port is None else port), target)


def of(scheme: str, authority: str, target: str) -> Url:
    """The URL of a path on `host[:port]`."""
    return parse(f"{scheme}://{authority}{target}")


def is_loopback(host: str) -> bool:
    """Whether a host name is this machine by definition (RFC 6761): what may be plain HTTP unasked."""
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost") or name == "::1":
        return True
    return bool(re.fullmatch(r"127(\.\d{1,3}){3}", name))


def next_page(links: str) -> str:
    """The target of `rel="next"` in a Link header (RFC 8288), or nothing."""
    for match in re.finditer(r"<([^<>]*)>((?:\s*;[^,<]*)*)", links):
        if re.search(r';\s*rel\s*=\s*"?next"?\s*(;|$)', match[2], re.IGNORECASE):
            return match[1]
    return ""
