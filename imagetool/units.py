"""Sizes, times and ages in Docker's words (github.com/docker/go-units; go's time package)."""

from __future__ import annotations

import re
import time

from imagetool.errors import Malformed, UsageError

_DECIMAL = ("B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB")
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB")
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_WEEK, _MONTH, _YEAR = 7 * _DAY, 30 * _DAY, 365 * _DAY

# Compiled when they are used, which many a command does not do.
_SIZE = r"(\d+(?:\.\d+)?) ?(?:([kKmMgGtTpP])?(i?)[bB]?)?"
_RFC3339 = r"(?a)(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:([Zz])|([+-])(\d\d):(\d\d))"


def size_text(size: float, digits: int = 3) -> str:
    """A size in base 1000 with three significant digits: `78.1MB`, `5B`, `1.24kB`."""
    return _scaled(size, 1000, _DECIMAL, digits)


def binary_size_text(size: float, digits: int = 4) -> str:
    """A size in base 1024 with four significant digits: `1.5KiB`."""
    return _scaled(size, 1024, _BINARY, digits)


def parse_size(text: str) -> int:
    """Bytes of `10GB` (base 1000), `10GiB`, `10g` or `1.5k` (base 1024, as Docker's memory sizes) or `1024`."""
    match = re.fullmatch(_SIZE, text.strip())
    if match is None:
        raise UsageError(f"invalid size {text!r}", hint="write a number and a unit: 512MB, 4GiB, 10g")
    number, prefix, binary = match.groups()
    if not prefix:
        return int(float(number))
    decimal = not binary and text.strip()[-1] in "bB"
    return int(float(number) * (1000 if decimal else 1024) ** ("kmgtp".index(prefix.lower()) + 1))


def age_text(seconds: float) -> str:
    """A duration in words, without `ago`: `3 weeks`, `About a minute`, `Less than a second`."""
    whole = int(seconds)
    if whole < 1:
        return "Less than a second"
    if whole < 60:
        return "1 second" if whole == 1 else f"{whole} seconds"
    minutes, hours = whole // _MINUTE, int(seconds / _HOUR + 0.5)
    if minutes < 60:
        return "About a minute" if minutes == 1 else f"{minutes} minutes"
    if hours < 48:
        return "About an hour" if hours == 1 else f"{hours} hours"
    for limit, unit, name in (
        (2 * _WEEK, _DAY, "days"),
        (2 * _MONTH, _WEEK, "weeks"),
        (2 * _YEAR, _MONTH, "months"),
    ):
        if hours * _HOUR < limit:
            return f"{hours * _HOUR // unit} {name}"
    return f"{hours * _HOUR // _YEAR} years"


def since_text(created: str, now: float | None = None) -> str:
    """How long ago an RFC 3339 time is: `3 weeks ago`; `N/A` where there is none."""
    if not created or created.startswith("0001-01-01"):
        return "N/A"
    return age_text(max(0.0, (time.time() if now is None else now) - parse_time(created))) + " ago"


def parse_time(text: str) -> float:
    """Seconds since 1970 of an RFC 3339 time; Malformed for anything else."""
    from datetime import date

    match = re.fullmatch(_RFC3339, text)
    if match is None:
        raise Malformed(f"invalid time {text!r}", hint="expected RFC 3339, as in 2024-05-01T12:00:00Z")
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    if not (year and 1 <= month <= 12 and 1 <= day <= 31 and hour < 24 and minute < 60 and second <= 60):
        raise Malformed(f"invalid time {text!r}")
    days = (date(year, month, 1) - date(1970, 1, 1)).days + day - 1
    whole = ((days * 24 + hour) * 60 + minute) * 60 + second
    fraction = float(f"0.{match[7]}") if match[7] else 0.0
    offset = 0 if match[8] else int(match[9] + "1") * (int(match[10]) * _HOUR + int(match[11]) * _MINUTE)
    return whole - offset + fraction


def time_text(seconds: float) -> str:
    """RFC 3339 in UTC, with nanoseconds where there is a fraction, as Go writes it."""
    whole = int(seconds // 1)
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole))
    nanoseconds = round((seconds - whole) * 1e9)
    return text + (f".{nanoseconds:09d}".rstrip("0") if nanoseconds else "") + "Z"


def _scaled(size: float, base: int, units: tuple[str, ...], digits: int) -> str:
    """Go's `%.4g%s`; but what would round up to the next unit takes it, where Go writes `1e+03kB`."""
    step = 0
    while float(f"{size:.{digits}g}") >= base and step < len(units) - 1:
        size /= base
        step += 1
    return f"{size:.{digits}g}{units[step]}"
