"""Descriptors of a fresh fork."""

from __future__ import annotations

import os
from contextlib import suppress


def close_others(*kept: int) -> None:
    """All but the standard ones and `kept`: others wait for the end of their pipes and locks, so none may stay open."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) not in kept:
            with suppress(OSError):  # the descriptor of the listing itself is closed already
                os.close(int(name))
