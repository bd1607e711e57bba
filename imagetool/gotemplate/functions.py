"""PURE: the functions that a template may call: Go's own and Docker's (cli/templates/templates.go).

Each takes the values of its arguments and gives a value; `Wrong` says what does not fit.
"""

from __future__ import annotations

import html
import operator
import re
import sys
import urllib.parse
from collections.abc import Callable, Mapping

from imagetool.gotemplate.values import Value, kind, show, to_json, truth
from unionfs.annotations import Any


class Wrong(Exception):
    """The arguments of a function do not fit."""


def _number(value: Value, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise Wrong(f"{what} is a {kind(value)}, not a number")
    return value


def _text(value: Value, what: str) -> str:
    if not isinstance(value, str):
        raise Wrong(f"{what} is a {kind(value)}, not a string")
    return str(value)


def _length(value: Value) -> int:
    if isinstance(value, str):
        return len(value.encode())
    if isinstance(value, (dict, list, tuple)):
        return len(value)
    raise Wrong(f"a {kind(value)} has no length")


def _index(value: Value, *keys: Value) -> Value:
    for key in keys:
        if isinstance(value, Mapping):
            texts = all(isinstance(item, str) for item in value.values())
            value = value.get(_text(key, "the key"), "" if texts else None)  # Go's zero value
        elif isinstance(value, (list, tuple)):
            number = _number(key, "the index")
            if not 0 <= number < len(value):
                raise Wrong(f"index {number} is out of range: there are {len(value)}")
            value = value[number]
        elif isinstance(value, str):
            value = _index(list(value.encode()), key)
        else:
            raise Wrong(f"a {kind(value)} has no index")
    return value


def _slice(value: Value, *bounds: Value) -> Value:
    if not isinstance(value, (str, list, tuple)) or len(bounds) > 2:
        raise Wrong(f"a {kind(value)} cannot be sliced")
    low, high = [_number(bound, "a bound") for bound in bounds] + [0, len(value)][len(bounds) :]
    if not 0 <= low <= high <= len(value):
        raise Wrong(f"bounds {low}:{high} are out of range: there are {len(value)}")
    return value[low:high]


def _equal(first: Value, *others: Value) -> bool:
    if not others:
        raise Wrong("there is nothing to compare with")
    return any(_same(first, other) for other in others)


def _same(first: Value, second: Value) -> bool:
    if isinstance(first, bool) != isinstance(second, bool):
        raise Wrong(f"cannot compare {kind(first)} with {kind(second)}")
    numbers = isinstance(first, (int, float)) and isinstance(second, (int, float))
    if not numbers and None not in (first, second) and type(first) is not type(second):
        raise Wrong(f"cannot compare {kind(first)} with {kind(second)}")
    return bool(first == second)


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[..., bool]:
    def function(first: Value, second: Value) -> bool:
        for value in (first, second):
            if isinstance(value, bool) or not isinstance(value, (int, float, str)):
                raise Wrong(f"a {kind(value)} has no order")
        if isinstance(first, str) != isinstance(second, str):
            raise Wrong(f"cannot compare {kind(first)} with {kind(second)}")
        return compare(first, second)

    return function


def _join(values: Value, separator: Value) -> str:
    if not isinstance(values, (list, tuple)):
        raise Wrong(f"a {kind(values)} cannot be joined")
    return _text(separator, "the separator").join(show(value) for value in values)


def _split(text: Value, separator: Value) -> list[str]:
    text, separator = _text(text, "the first argument"), _text(separator, "the separator")
    return text.split(separator) if separator else list(text)


def _title(text: Value) -> str:
    return re.sub(r"(?<![\w'])\w", lambda match: match[0].upper(), _text(text, "the argument"))


def _pad(text: str, before: Value, after: Value) -> str:
    """Docker's: blanks around a text that is not empty."""
    blanks = [" " * min(_number(count, "the padding"), 10_000) for count in (before, after)]
    return text.join(blanks) if _text(text, "the first argument") else ""


def _truncate(text: Value, length: Value) -> str:
    return _text(text, "the first argument")[: max(0, _number(length, "the length"))]


def _print(*values: Value) -> str:
    """Blanks between operands when neither is a string."""
    out = ""
    for number, value in enumerate(values):
        if number and not isinstance(value, str) and not isinstance(values[number - 1], str):
            out += " "
        out += show(value)
    return out


_VERB = re.compile(r"%([-+# 0]*)(\d+)?(?:\.(\d+))?([a-zA-Z%])")


def _printf(format: Value, *values: Value) -> str:
    left = list(values)

    def one(match: re.Match[str]) -> str:
        flags, width, precision, verb = match.groups()
        if verb == "%":
            return "%"
        if not left:
            return f"%!{verb}(MISSING)"
        text = _verb(verb, left.pop(0), flags, precision)
        size = min(int(width or 0), 10_000)
        zeros = "0" in flags and "-" not in flags and verb in "dxXobfeg"
        return text.ljust(size) if "-" in flags else text.zfill(size) if zeros else text.rjust(size)

    text = _VERB.sub(one, _text(format, "the format"))
    return text + ("%!(EXTRA " + ", ".join(map(show, left)) + ")" if left else "")


def _verb(verb: str, value: Value, flags: str, precision: str | None) -> str:
    places = min(int(precision), 100) if precision is not None else None
    if verb in "sv":
        return show(value) if places is None or verb == "v" else show(value)[:places]
    if verb == "q" and isinstance(value, str):
        return to_json(value)
    if verb == "t" and isinstance(value, bool):
        return show(value)
    if verb in "dxXob" and isinstance(value, int) and not isinstance(value, bool):
        prefix = {"x": "0x", "X": "0X", "o": "0"}.get(verb, "") if "#" in flags else ""
        sign = "+" if "+" in flags else ""
        return f"{prefix}{value:{sign}{verb}}"
    if verb in "xX" and isinstance(value, str):
        return format(int.from_bytes(value.encode()), verb).zfill(2 * len(value.encode())) if value else ""
    if verb in "feg" and isinstance(value, (int, float)) and not isinstance(value, bool):
        return f"{value:.{6 if places is None else places}{verb}}"
    if verb == "c" and isinstance(value, int):
        sane = 0 <= value <= sys.maxunicode and not 0xD800 <= value < 0xE000
        return chr(value) if sane else "\ufffd"
    return f"%!{verb}({kind(value)}={show(value)})"


FUNCTIONS: dict[str, tuple[Callable[..., Value], int, int]] = {
    # name: function, fewest and most arguments; `and` and `or` stop early and are done by the execution
    "and": (lambda *values: values, 1, 99),
    "or": (lambda *values: values, 1, 99),
    "not": (lambda value: not truth(value), 1, 1),
    "len": (_length, 1, 1),
    "index": (_index, 1, 99),
    "slice": (_slice, 1, 3),
    "print": (_print, 0, 99),
    "printf": (_printf, 1, 99),
    "println": (lambda *values: " ".join(map(show, values)) + "\n", 0, 99),
    "html": (lambda *values: html.escape(_print(*values)), 1, 99),
    "urlquery": (lambda *values: urllib.parse.quote_plus(_print(*values)), 1, 99),
    "js": (lambda *values: to_json(_print(*values))[1:-1], 1, 99),
    "eq": (_equal, 2, 99),
    "ne": (lambda first, second: not _same(first, second), 2, 2),
    "lt": (_ordered(operator.lt), 2, 2),
    "le": (_ordered(operator.le), 2, 2),
    "gt": (_ordered(operator.gt), 2, 2),
    "ge": (_ordered(operator.ge), 2, 2),
    "json": (to_json, 1, 1),
    "join": (_join, 2, 2),
    "split": (_split, 2, 2),
    "lower": (lambda text: _text(text, "the argument").lower(), 1, 1),
    "upper": (lambda text: _text(text, "the argument").upper(), 1, 1),
    "title": (_title, 1, 1),
    "pad": (_pad, 3, 3),
    "truncate": (_truncate, 2, 2),
}
