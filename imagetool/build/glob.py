"""PURE: Go's `filepath.Match`, and `**` for any number of directories; what COPY, ADD and --exclude match with.

Source: the documentation of Go's path/filepath.Match. A pattern must match the whole name.
"""

from __future__ import annotations

import re
from functools import lru_cache

from imagetool.errors import UsageError


class BadPattern(UsageError):
    """A pattern that Go calls ErrBadPattern."""


def match(pattern: str, name: str) -> bool:
    """Whether `name` matches; BadPattern for a malformed pattern, whatever the name."""
    return compiled(pattern).fullmatch(name) is not None


def has_meta(pattern: str) -> bool:
    """Whether the pattern can match anything but itself."""
    return any(char in pattern for char in "*?[\\")


@lru_cache(maxsize=1024)
def compiled(pattern: str) -> re.Pattern[str]:
    out: list[str] = []
    at = 0
    while at < len(pattern):
        piece, at = _piece(pattern, at)
        out.append(piece)
    return re.compile("".join(out), re.S)


def _piece(pattern: str, at: int) -> tuple[str, int]:
    char = pattern[at]
    if pattern.startswith("**", at):
        return _double_star(pattern, at)
    if char == "*":
        return "[^/]*", at + 1
    if char == "?":
        return "[^/]", at + 1
    if char == "[":
        return _char_class(pattern, at)
    if char == "\\":
        if at + 1 == len(pattern):
            raise BadPattern(f"pattern {pattern!r} ends with an escape")
        return re.escape(pattern[at + 1]), at + 2
    return re.escape(char), at + 1


def _double_star(pattern: str, at: int) -> tuple[str, int]:
    end = at
    while pattern.startswith("*", end):
        end += 1
    if end == len(pattern):
        return ".*", end
    return "(?:.*/)?", end + (pattern[end] == "/")


def _char_class(pattern: str, at: int) -> tuple[str, int]:
    start, at = at, at + 1
    negated = pattern.startswith("^", at)
    at += negated
    ranges: list[str] = []
    while not (pattern.startswith("]", at) and ranges):
        low, at = _member(pattern, at, start)
        high = low
        if pattern.startswith("-", at):
            high, at = _member(pattern, at + 1, start)
        if low <= high:  # an empty range is no error in Go and matches nothing
            ranges.append(f"{re.escape(low)}-{re.escape(high)}")
        else:
            ranges.append("")
    inside = "".join(ranges)
    if not inside:
        return (r"[\s\S]" if negated else r"(?!)"), at + 1
    return f"[{'^' if negated else ''}{inside}]", at + 1


def _member(pattern: str, at: int, start: int) -> tuple[str, int]:
    if at < len(pattern) and pattern[at] == "\\":
        at += 1
    elif at < len(pattern) and pattern[at] in "-]":
        raise BadPattern(f"pattern {pattern!r}: {pattern[at]!r} cannot start a range")
    if at + 1 >= len(pattern):
        raise BadPattern(f"pattern {pattern!r}: the class at {start + 1} has no end")
    return pattern[at], at + 1
