"""PURE: which proxy the environment names for a URL, by the rules of curl and Go.

HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY in either case; loopback is never proxied. NO_PROXY holds
`*`, hosts (their subdomains too), `.domain`, addresses, CIDR ranges, each with an optional `:port`.
"""

from collections.abc import Mapping
from urllib.parse import unquote, urlsplit

from imagetool.errors import UsageError
from imagetool.registry.urls import Origin, is_loopback
from unionfs.namedtuple import NamedTuple


class Proxy(NamedTuple):
    """An http or https proxy; `auth` is (user, password) or None. Does not show the password."""

    url: str
    auth: tuple[str, str] | None = None

    def __repr__(self) -> str:
        return f"Proxy({self.url!r})"


def choose(environ: Mapping[str, str], origin: Origin) -> Proxy | None:
    """The proxy for requests to `origin`; UsageError for a variable that names none."""
    if is_loopback(origin.host) or _excluded(_get(environ, "no_proxy"), origin):
        return None
    name = f"{origin.scheme}_proxy"
    text = _get(environ, name) or _get(environ, "all_proxy")
    return _parse(text, name.upper()) if text else None


def _get(environ: Mapping[str, str], name: str) -> str:
    # In a CGI program HTTP_PROXY is a header of the request (httpoxy): only the lower-case name counts.
    upper = "" if name == "http_proxy" and "REQUEST_METHOD" in environ else environ.get(name.upper(), "")
    return environ.get(name) or upper


def _parse(text: str, variable: str) -> Proxy:
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https"):
        raise UsageError(f"${variable} is not an http or https proxy", hint="http://HOST:PORT")
    default = 443 if parts.scheme == "https" else 80
    shown = f"[{host}]" if ":" in host else host
    auth = (unquote(parts.username), unquote(parts.password or "")) if parts.username else None
    return Proxy(f"{parts.scheme}://{shown}:{port or default}", auth)


def _excluded(no_proxy: str, origin: Origin) -> bool:
    return any(_matches(row.strip().lower(), origin) for row in no_proxy.split(",") if row.strip())


def _matches(row: str, origin: Origin) -> bool:
    if row == "*":
        return True
    if "/" in row:
        return _in_network(row, origin.host)
    name, colon, port = row.rpartition(":")
    if not colon or not port.isdigit() or (":" in name and not name.endswith("]")):
        name, port = row, ""
    name = name.strip("[]").removeprefix("*").lstrip(".")
    return (not port or int(port) == origin.port) and (
        origin.host == name or origin.host.endswith(f".{name}")
    )


def _in_network(row: str, host: str) -> bool:
    import ipaddress  # 4 ms to import; a CIDR range in NO_PROXY is rare

    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(row, strict=False)
    except ValueError:
        return False
