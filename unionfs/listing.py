"""The rows of one directory in a fixed order, with cookies that outlive every change.

A reader that comes back with a cookie goes on after that row whatever has come or gone meanwhile:
it never sees a row twice, and misses none that was there all the time (readdir(3), rationale). A name that goes and
comes again has its old place, so that a reader does not meet it a second time, unless most of a long listing went
meanwhile.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import islice

FIRST = 3
"""The cookie of the first row; 1 is ".", 2 is ".."."""
_KEPT = 512  # rows up to which those that are gone keep their places; with more, while a quarter is there


class Listing:
    """INVARIANT: `_cookies` ascends; `_names` runs beside it, None where a row is gone; `_at` finds the rest.

    `_gone` finds rows that are gone, until they are too many.
    """

    __slots__ = ("_at", "_cookies", "_gone", "_names")

    def __init__(self, rows: Iterable[tuple[int, bytes]]) -> None:
        """`rows`: (position, name) with ascending positions."""
        self._at = {name: position + FIRST for position, name in rows}
        self._cookies: list[int] = list(self._at.values())
        self._names: list[bytes | None] = list(self._at)
        self._gone: dict[bytes, int] = {}

    def _append(self, cookie: int, name: bytes) -> None:
        self._at[name] = cookie
        self._cookies.append(cookie)
        self._names.append(name)

    def __contains__(self, name: bytes) -> bool:
        return name in self._at

    def __len__(self) -> int:
        return len(self._at)

    def add(self, name: bytes) -> None:
        if name in self._at:
            return
        cookie = self._gone.pop(name, 0)
        if cookie:
            self._at[name] = cookie
            self._names[bisect_right(self._cookies, cookie) - 1] = name
        else:
            self._append(self._cookies[-1] + 1 if self._cookies else FIRST, name)

    def discard(self, name: bytes) -> None:
        cookie = self._at.pop(name, None)
        if cookie is None:
            return
        self._names[bisect_right(self._cookies, cookie) - 1] = None
        self._gone[name] = cookie
        if len(self._names) > _KEPT and len(self._at) * 4 < len(self._names):
            self._compact()

    def renew(self, names: Iterable[bytes]) -> None:
        """Takes in what the directory has now. Rows that stay keep their cookies."""
        now = dict.fromkeys(names)
        for name in [name for name in self._at if name not in now]:
            self.discard(name)
        for name in now:
            self.add(name)

    def _compact(self) -> None:
        """Forgets the rows that are gone but for the last cookie: a new row must come after every old one."""
        kept = [(c, n) for c, n in zip(self._cookies[:-1], self._names[:-1], strict=True) if n is not None]
        kept.append((self._cookies[-1], self._names[-1]))  # type: ignore[arg-type]
        self._cookies = [c for c, _ in kept]
        self._names = [n for _, n in kept]
        self._gone.clear()

    def after(self, cookie: int) -> Iterator[tuple[int, bytes]]:
        """(cookie, name) of the rows behind `cookie`; changes to the listing are allowed meanwhile."""
        cookies, names = self._cookies, self._names
        at = bisect_right(cookies, cookie)
        while at < len(cookies):
            cookie, name = cookies[at], names[at]
            if name is not None:
                yield cookie, name
            if cookies is self._cookies:
                at += 1
            else:
                cookies, names = self._cookies, self._names
                at = bisect_right(cookies, cookie)

    def behind(self, name: bytes, n: int) -> list[bytes]:
        """Up to `n` names that follow `name`."""
        return [row[1] for row in islice(self.after(self._at.get(name, 0)), n)]
