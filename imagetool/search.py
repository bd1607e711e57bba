"""Looking for images: Docker's /v1/search where a registry has it, else its /v2/_catalog.

The filters and the order are Docker's: `is-official`, `is-automated`, `stars=N`; most stars first.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from urllib.parse import quote, urlencode

from imagetool.errors import UsageError
from imagetool.registry import challenge
from imagetool.registry.client import Client, Registry
from imagetool.registry.config import Registries, api_host
from imagetool.registry.errors import clean
from imagetool.registry.repository import listed
from unionfs.annotations import Any
from unionfs.namedtuple import NamedTuple

DEFAULT_LIMIT = 25
MAX_LIMIT = 100
SEARCH_HOST = "index.docker.io"  # Docker Hub's registry has no search; its old index still does
PAGE = 4 << 20
NONE: frozenset[str] = frozenset()
THERE = frozenset({200, 400, 401, 403, 404, 405, 501})


class Found(NamedTuple):
    """One row of a search."""

    name: str
    description: str = ""
    stars: int = 0
    official: bool = False
    automated: bool = False


class Filters(NamedTuple):
    """None: not asked for."""

    official: bool | None = None
    automated: bool | None = None
    stars: int = 0

    def match(self, row: Found) -> bool:
        return (
            (self.official is None or row.official == self.official)
            and (self.automated is None or row.automated == self.automated)
            and row.stars >= self.stars
        )


ANYTHING = Filters()


def parse_filters(texts: Iterable[str]) -> Filters:
    """PURE: `--filter KEY=VALUE` options; UsageError for an unknown key or a bad value."""
    found = ANYTHING
    for text in texts:
        key, _, value = text.partition("=")
        if key in ("is-official", "is-automated"):
            found = found._replace(**{key.removeprefix("is-"): _boolean(key, value)})
        elif key == "stars" and value.isascii() and value.isdigit() and len(value) < 10:
            found = found._replace(stars=int(value))
        else:
            raise UsageError(
                f"invalid filter {text!r}", hint="is-official=BOOL, is-automated=BOOL or stars=N"
            )
    return found


def split_term(term: str) -> tuple[str, str]:
    """PURE: `[REGISTRY/]TERM` -> the registry's domain and the term."""
    first, slash, rest = term.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return first, rest
    return "docker.io", term.removeprefix("library/")


async def search(
    client: Client,
    registries: Registries,
    term: str,
    *,
    limit: int = DEFAULT_LIMIT,
    filters: Filters = ANYTHING,
) -> list[Found]:
    """At most `limit` images whose name matches. RegistryError if the registry cannot be searched."""
    if not 1 <= limit <= MAX_LIMIT:
        raise UsageError(f"limit {limit} is not between 1 and {MAX_LIMIT}")
    domain, words = split_term(term)
    if not words:
        raise UsageError("what to search for is missing")
    host = SEARCH_HOST if domain == "docker.io" else api_host(domain)
    registry = client.registry(host, insecure=registries.insecure(domain))
    rows = await _index(registry, words, limit)
    if rows is None:
        rows = await _catalog(registry, words, limit if filters == ANYTHING else PAGE)
    prefix = "" if domain == "docker.io" else f"{domain}/"
    kept = [row._replace(name=prefix + row.name) for row in rows if filters.match(row)]
    return sorted(kept, key=lambda row: -row.stars)[:limit]


async def _index(registry: Registry, term: str, limit: int) -> list[Found] | None:
    """The answer of /v1/search; None if the registry has none."""
    query = urlencode({"q": term, "n": limit}, quote_via=quote)
    what = f"search for {term!r}"
    answer = await registry.answer("GET", f"/v1/search?{query}", what, scopes=NONE, wanted=THERE, limit=PAGE)
    if answer.response.status != 200:
        return None
    try:
        return [_row(row) for row in json.loads(answer.body)["results"]]
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError):
        return None  # a page for people, as some hosts serve for any path


def _row(row: Mapping[str, Any]) -> Found:
    """PURE. A server's words are shown on a terminal: no control characters in them."""
    name = row["name"]
    return Found(
        clean(str(name)).removeprefix("library/"),
        clean(str(row.get("description") or "")),
        int(row.get("star_count") or 0),
        bool(row.get("is_official")),
        bool(row.get("is_automated")),
    )


async def _catalog(registry: Registry, term: str, limit: int) -> list[Found]:
    found: list[Found] = []
    scopes = frozenset({challenge.CATALOG_SCOPE})
    what = f"search of {registry.host}"
    async for name in listed(registry, "/v2/_catalog?n=1000", "repositories", what, scopes=scopes):
        if term.lower() in name.lower():
            found.append(Found(clean(name)))
        if len(found) >= limit:
            break
    return found


def _boolean(key: str, value: str) -> bool:
    table = {"true": True, "1": True, "t": True, "": True, "false": False, "0": False, "f": False}
    if value.lower() not in table:
        raise UsageError(f"invalid filter {key}={value!r}", hint="true or false")
    return table[value.lower()]
