"""Adaptive polling: whether to look for the next request for a moment before going to sleep. PURE.

Waking a sleeping server costs more than most requests do, so a short look pays while requests follow each
other closely. Every request adds a quarter of a look to a small account, and every look in vain takes a whole
one from it: the time spent in vain is bounded by the requests served, and an idle mount spends none.
"""

from __future__ import annotations

PREEMPTED = 16.0
"""Looks to earn before the next one, after the CPU was taken from one: 64 requests."""


class PollBudget:
    """Times are in seconds. A `window` of 0 never polls."""

    __slots__ = ("_credit", "hits", "misses", "window")

    LIMIT = 64  # looks in vain in a row, at most

    def __init__(self, window: float) -> None:
        self.window = window
        self._credit = 4.0
        self.hits = 0
        self.misses = 0

    def worth(self) -> bool:
        """Asked when nothing is pending after a request was served."""
        return self.window > 0.0 and self._credit >= 1.0

    def hit(self) -> None:
        """The request counts as `served` by whoever asks for the look."""
        self.hits += 1

    def miss(self) -> None:
        self.misses += 1
        self._credit -= 1.0

    def preempted(self) -> None:
        """Somebody else wants the CPU, perhaps the one whose request we wait for."""
        self._credit = -PREEMPTED

    def served(self, requests: int) -> None:
        self._credit = min(self._credit + requests * 0.25, self.LIMIT)
