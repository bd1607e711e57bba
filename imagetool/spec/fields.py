"""Reading JSON documents strictly, and writing them canonically.

`Fields` takes known fields out of a JSON object one by one, each with its type; `rest()` is what nobody took.
A JSON null stands for a field that is not there, as in Go.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence

from imagetool import digest as digests
from imagetool.digest import Digest
from imagetool.errors import Malformed
from unionfs.annotations import Any

Json = Any  # what json.loads gives: the one place where a type is not known

MAX_DEPTH = 64
"""Nesting of a document; real ones have about five levels."""


def load(data: bytes, what: str) -> dict[str, Json]:
    """The JSON object in `data` (UTF-8). Malformed for anything else, and for a name twice in one object."""
    try:
        document = json.loads(
            data.decode(), object_pairs_hook=_unique, parse_float=_finite, parse_constant=_finite
        )
    except (ValueError, RecursionError) as error:
        raise Malformed(f"{what} is not valid JSON: {error or 'nested too deeply'}") from error
    if not isinstance(document, dict):
        raise Malformed(f"{what} is not a JSON object")
    if _deeper_than(document, MAX_DEPTH):
        raise Malformed(f"{what} is nested deeper than {MAX_DEPTH} levels")
    return document


def dump(value: Mapping[str, Json]) -> bytes:
    """Canonical bytes: fields in the order given, no blanks, UTF-8 (half a surrogate pair stays an escape)."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "backslashreplace")


def compact(pairs: Mapping[str, Json]) -> dict[str, Json]:
    """Without the fields that are None, empty text, or empty collections: those are left out, as in Go."""
    return {
        key: value
        for key, value in pairs.items()
        if value is not None and value != "" and value != [] and value != {}
    }


def extra(value: Mapping[str, Json]) -> dict[str, Json]:
    """Unknown fields, in a fixed order."""
    return {key: value[key] for key in sorted(value)}


class Fields:
    """One JSON object that is being read. Every method removes the field it returns."""

    def __init__(self, value: Json, what: str) -> None:
        if not isinstance(value, dict):
            raise Malformed(f"{what} is not a JSON object")
        self._left: dict[str, Json] = dict(value)
        self.what = what

    def rest(self) -> dict[str, Json]:
        return self._left

    def text(self, name: str) -> str:
        """ "" where there is none."""
        return self._take(name, str, "text") or ""

    def integer(self, name: str, *, low: int = 0) -> int | None:
        value: int | None = self._take(name, int, "a whole number")
        if isinstance(value, bool) or (value is not None and not low <= value < 2**63):
            raise self._wrong(name, f"a whole number from {low} on")
        return value

    def boolean(self, name: str) -> bool:
        return bool(self._take(name, bool, "true or false"))

    def digest(self, name: str) -> Digest:
        value = self._take(name, str, "a digest")
        if value is None:
            raise Malformed(f"{self.what} has no {name}")
        return digests.parse(value)

    def object(self, name: str) -> dict[str, Json] | None:
        value: dict[str, Json] | None = self._take(name, dict, "an object")
        return value

    def array(self, name: str) -> list[Json] | None:
        value: list[Json] | None = self._take(name, list, "a list")
        return value

    def texts(self, name: str) -> tuple[str, ...] | None:
        value = self.array(name)
        if value is None:
            return None
        if not all(isinstance(item, str) for item in value):
            raise self._wrong(name, "a list of texts")
        return tuple(value)

    def text_map(self, name: str) -> dict[str, str]:
        value = self.object(name) or {}
        if not all(isinstance(item, str) for item in value.values()):
            raise self._wrong(name, "an object of texts")
        return value

    def names(self, name: str) -> tuple[str, ...]:
        """The keys of an object whose values mean nothing (ExposedPorts, Volumes)."""
        return tuple(self.object(name) or ())

    def _take(self, name: str, kind: type, article: str) -> Json:
        value = self._left.pop(name, None)
        if value is not None and not isinstance(value, kind):
            raise self._wrong(name, article)
        return value

    def _wrong(self, name: str, expected: str) -> Malformed:
        return Malformed(f"{self.what}: {name} is not {expected}")


def name_set(names: Sequence[str]) -> dict[str, Json]:
    """The inverse of `Fields.names`."""
    return {name: {} for name in names}


def _unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a name occurs twice in one object")
    return result


def _finite(text: str) -> float:
    """What JSON has no words for could not be written again: NaN, and numbers that are infinite here."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is not a number")
    return value


def _deeper_than(value: Json, depth: int) -> bool:
    """Level by level, so that a hostile document costs no stack."""
    level = [value]
    for _ in range(depth):
        level = [item for node in level for item in _children(node)]
        if not level:
            return False
    return True


def _children(node: Json) -> list[Json]:
    values = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return [value for value in values if isinstance(value, (dict, list))]
