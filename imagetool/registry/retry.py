"""Whether and when a failed request is sent again.

Bounded in number and in time: a server that asks for more patience than there is gets an error that says so.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Awaitable, Callable

import trio

from imagetool.errors import RegistryError
from imagetool.registry.errors import Busy, TransportError, clean
from unionfs.annotations import TypeVar
from unionfs.namedtuple import NamedTuple

T = TypeVar("T")
log = logging.getLogger(__name__)

TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})


class Policy(NamedTuple):
    """How often (`attempts` in all), from which pause on (doubled each time, in seconds), up to which one."""

    attempts: int = 5
    first: float = 0.5
    longest: float = 15.0
    patience: float = 120.0  # the longest Retry-After that is waited for


async def retrying(policy: Policy, operation: Callable[[], Awaitable[T]]) -> T:
    """The operation's result after as many tries as the policy allows; else its last error, made final."""
    attempt = 0
    while True:
        attempt += 1
        try:
            return await operation()
        except TransportError as error:
            await pause(policy, attempt, error)


async def pause(policy: Policy, attempt: int, error: TransportError) -> None:
    """Wait before the next try; raises `error` for good when there is none."""
    after = error.retry_after if isinstance(error, Busy) else ""
    seconds = delay(policy, attempt, after, time.time(), random.random()) if error.transient else None
    if seconds is None:
        raise given_up(error) from error.__cause__
    log.info("%s: try %d follows in %.1f s", error.text, attempt + 1, seconds)
    await trio.sleep(seconds)


def given_up(error: TransportError) -> RegistryError:
    """PURE: the error to show when nobody tries again."""
    if not isinstance(error, Busy):
        error.transient = False
        return error
    if error.retry_after and error.final.status == 429:
        error.final.hint = f"the registry says: try again after {clean(error.retry_after)} (seconds or date)"
    return error.final


def delay(policy: Policy, attempt: int, retry_after: str, now: float, jitter: float) -> float | None:
    """PURE: seconds to wait after failure number `attempt` (from 1); None: give up.

    `now` is the Unix time, `jitter` is in [0, 1): clients that failed together do not come back together.
    """
    if attempt >= policy.attempts:
        return None
    pause = min(policy.longest, policy.first * (1 << (attempt - 1))) * (0.5 + jitter / 2)
    asked = parse_retry_after(retry_after, now)
    if asked is None:
        return pause
    return max(pause, asked) if asked <= policy.patience else None


def parse_retry_after(text: str, now: float) -> float | None:
    """PURE: seconds of a Retry-After header (RFC 9110 §10.2.3), a number or a date; None for neither."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    if not text or len(text) > 64:
        return None
    from email.utils import parsedate_to_datetime  # 15 ms to import; a date is rare

    try:
        return max(0.0, float(parsedate_to_datetime(text).timestamp()) - now)
    except (ValueError, OverflowError):
        return None
