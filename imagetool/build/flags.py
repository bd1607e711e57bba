"""PURE: which flags an instruction has, and their values."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from imagetool.errors import UsageError
from unionfs.namedtuple import NamedTuple


class Flag(NamedTuple):
    switch: bool = False  # may stand without a value
    many: bool = False  # may be repeated


_VALUE, _SWITCH, _MANY = Flag(), Flag(switch=True), Flag(many=True)
_COPY = {
    "from": _VALUE,
    "chown": _VALUE,
    "chmod": _VALUE,
    "link": _SWITCH,
    "parents": _SWITCH,
    "exclude": _MANY,
}
_ADD = {
    "chown": _VALUE, "chmod": _VALUE, "link": _SWITCH, "exclude": _MANY, "checksum": _VALUE, "keep-git-dir": _SWITCH,
    "unpack": _SWITCH,
}  # fmt: skip
DURATIONS = ("interval", "timeout", "start-period", "start-interval")

KNOWN: Mapping[str, Mapping[str, Flag]] = {
    "FROM": {"platform": _VALUE},
    "RUN": {"mount": _MANY, "network": _VALUE, "security": _VALUE},
    "COPY": _COPY,
    "ADD": _ADD,
    "HEALTHCHECK": dict.fromkeys((*DURATIONS, "retries"), _VALUE),
}

_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")


def one(given: Mapping[str, list[str]], name: str) -> str:
    return given.get(name, [""])[0]


def switch(given: Mapping[str, list[str]], name: str) -> bool | None:
    """True, False, or None if the flag is not there."""
    value = one(given, name)
    return value.lower() in ("true", "1", "t") if value else None


def duration(text: str, fail: Callable[[str, str], UsageError]) -> int:
    """Go's durations ("1m30s") in nanoseconds; "" and "0" are 0."""
    if text in ("", "0"):
        return 0
    if not re.fullmatch(rf"(?:{_DURATION.pattern})+", text):
        raise fail(f"invalid duration {text!r}, such as 30s or 1m30s", text)
    total = sum(float(number) * _UNITS[unit] for number, unit in _DURATION.findall(text))
    if 0 < total < 10**6:
        raise fail(f"duration {text!r} is less than 1ms", text)
    return round(total)
