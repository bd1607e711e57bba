"""One file from any http or https URL: no registry, no credentials, to a file."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping

import trio

from imagetool.registry.retry import Policy, retrying
from imagetool.registry.transport import Request, Timeouts, Transport, check_status
from imagetool.registry.urls import parse
from imagetool.store import disk
from imagetool.store.limits import LIMITS, Budget
from unionfs.namedtuple import NamedTuple

_ENDLESS = LIMITS._replace(layer_size=1 << 62)
_WORDS = 64 << 10  # bytes of an error's body that are read


class Fetched(NamedTuple):
    """`mtime` is Last-Modified in seconds since 1970; None where the server does not say."""

    sha256: str
    mtime: int | None


def fetch(
    url: str,
    path: str,
    *,
    timeouts: Timeouts = Timeouts(),  # noqa: B008 (a frozen value)
    policy: Policy = Policy(),  # noqa: B008
    environ: Mapping[str, str] = os.environ,
) -> Fetched:
    """Has what `url` gives in the new file `path`. Redirects are followed, broken downloads begun again.

    RegistryError, StoreError, NoSpace: then the file may be there in part.
    """

    asked = parse(url)
    what = asked.shown()

    async def once() -> Fetched:
        async with (
            Transport(timeouts=timeouts, policy=policy, environ=environ) as transport,
            transport.exchange(Request("GET", asked)) as response,
        ):
            if response.status != 200:
                check_status(response, await response.read(_WORDS), what, (200,))
            found = hashlib.sha256()
            with disk.errors("cannot download"), open(path, "wb") as file:
                budget = Budget(_ENDLESS, os.path.dirname(path), what)
                async for chunk in response.chunks():
                    budget.check(len(chunk), 0)
                    found.update(chunk)
                    file.write(chunk)
            return Fetched(found.hexdigest(), _seconds(response.header("last-modified")))

    async def retried() -> Fetched:
        return await retrying(policy, once)

    return trio.run(retried)


def _seconds(text: str) -> int | None:
    from email.utils import parsedate_to_datetime  # 15 ms to import

    try:
        return max(0, int(parsedate_to_datetime(text).timestamp()))
    except (ValueError, TypeError, OverflowError):
        return None
