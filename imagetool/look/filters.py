"""`--filter` of `images`: dangling, before, since, until, label, reference. The semantics are Docker's.

Filters of different kinds all have to hold; of several `reference` filters one, of several `label`s all.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable

from imagetool.digest import Digest
from imagetool.errors import ImageToolError, Malformed, UsageError
from imagetool.look.listing import Image, Row
from imagetool.units import parse_time
from unionfs.namedtuple import NamedTuple

KINDS = ("before", "dangling", "label", "reference", "since", "until")

_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:h|m|s|ms|us|µs|ns))+")
_PART = re.compile(r"(\d+(?:\.\d+)?)(h|ms|us|µs|ns|m|s)")
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


class Filter(NamedTuple):
    """Which images and which of their rows are wanted. Times are seconds since 1970; None: not asked for."""

    dangling: bool | None = None
    before: float | None = None
    since: float | None = None
    labels: tuple[tuple[str, str | None], ...] = ()
    references: tuple[str, ...] = ()

    def keeps(self, image: Image) -> bool:
        if self.dangling is not None and bool(image.tags) == self.dangling:
            return False
        if self.before is not None and image.created >= self.before:
            return False
        if self.since is not None and image.created <= self.since:
            return False
        return all(_has_label(image, key, value) for key, value in self.labels)

    def keeps_row(self, row: Row) -> bool:
        return not self.references or any(_refers(pattern, row) for pattern in self.references)


def parse(texts: Iterable[str], created: Callable[[str], float]) -> Filter:
    """PURE but for `created`, which tells when the image of a name or ID was made. UsageError."""
    found = Filter()
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or key not in KINDS:
            hint = f"write KEY=VALUE, where KEY is {', '.join(KINDS[:-1])} or {KINDS[-1]}"
            raise UsageError(f"invalid filter {text!r}", hint=hint)
        found = _with(found, key, value, created)
    return found


def _with(found: Filter, key: str, value: str, created: Callable[[str], float]) -> Filter:
    match key:
        case "dangling":
            return found._replace(dangling=_boolean(value))
        case "before":
            return found._replace(before=_earlier(found.before, created(value)))
        case "until":
            return found._replace(before=_earlier(found.before, parse_moment(value)))
        case "since":
            start = created(value)
            return found._replace(since=start if found.since is None else max(start, found.since))
        case "label":
            name, equals, wanted = value.partition("=")
            return found._replace(labels=(*found.labels, (name, wanted if equals else None)))
    return found._replace(references=(*found.references, value))


def _earlier(one: float | None, other: float) -> float:
    return other if one is None else min(one, other)


def _boolean(value: str) -> bool:
    if value.lower() in ("true", "1", "t"):
        return True
    if value.lower() in ("false", "0", "f"):
        return False
    raise UsageError(f"invalid filter 'dangling={value}'", hint="true or false")


def parse_moment(text: str, now: float | None = None) -> float:
    """A time as `until` takes it: `24h` ago, seconds since 1970, a date, or RFC 3339."""
    now = time.time() if now is None else now
    if _DURATION.fullmatch(text):
        return now - sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    try:
        return parse_time(f"{text}T00:00:00Z" if re.fullmatch(r"\d{4}-\d\d-\d\d", text) else text)
    except Malformed:
        hint = "as in 24h, 2024-05-01 or 2024-05-01T12:00:00Z"
        raise UsageError(f"invalid time {text!r}", hint=hint) from None


def _has_label(image: Image, key: str, value: str | None) -> bool:
    there = image.facts.labels.get(key)
    return there is not None and (value is None or there == value)


def _refers(pattern: str, row: Row) -> bool:
    """`*` does not pass a slash; without a tag the pattern is for the repository."""
    if row.repository is None:
        return False
    from imagetool.build.glob import match

    forms = [row.repository, f"{row.repository}:{row.tag}", f"{row.repository}@{row.digest}"]
    familiar = _familiar(pattern)
    return any(form == familiar or match(pattern, form) for form in forms)


def _familiar(pattern: str) -> str:
    from imagetool import reference

    try:
        return reference.parse(pattern).familiar()
    except ImageToolError:
        return pattern


def created_of(images: Iterable[Image], image_id: Digest) -> float:
    return next((image.created for image in images if image.facts.image_id == image_id), 0.0)


def refused(name: str) -> float:
    """For `prune`, which knows `until` and `label` alone."""
    raise UsageError(f"a prune has no filter for {name!r}", hint="until=TIME or label=KEY[=VALUE]")
