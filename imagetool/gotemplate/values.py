"""PURE: how Go prints, compares and tests values that came from JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from unionfs.annotations import Any

Value = Any


class Struct(dict[str, Value]):
    """Fields, and methods of one text beside them: `{{.Label "x"}}`. Printed, it is its fields."""

    def __init__(self, fields: Mapping[str, Value], **methods: Callable[[str], Value]) -> None:
        super().__init__(fields)
        self.methods = methods


def to_json(value: Value) -> str:
    """Compact JSON as Go's encoder writes it, without escaping `<`, `>` and `&` (Docker's `json`)."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, default=str)


def truth(value: Value) -> bool:
    """Go's idea: false, 0, nil and what is empty are false."""
    return bool(value)


def is_struct(value: Mapping[str, Value]) -> bool:
    """Whether a name that it lacks is a mistake: Go's fields have capitals, keys of a map are whatever they are."""
    return bool(value) and all(name[:1].isupper() for name in value)


def show(value: Value) -> str:
    """fmt.Print's form: `[a b]`, `map[k:v]`, `true`, `<no value>` for what is not there."""
    match value:
        case None:
            return "<no value>"
        case bool():
            return "true" if value else "false"
        case float():
            return _float(value)
        case dict():
            pairs = sorted(value.items(), key=lambda pair: str(pair[0]))
            return "map[" + " ".join(f"{_inner(key)}:{_inner(item)}" for key, item in pairs) + "]"
        case list() | tuple():
            return "[" + " ".join(map(_inner, value)) + "]"
    return str(value)


def kind(value: Value) -> str:
    """The word for a value's type in an error."""
    names = {
        bool: "bool",
        int: "int",
        float: "float64",
        str: "string",
        dict: "map",
        list: "list",
        tuple: "list",
    }
    return "nil" if value is None else names.get(type(value), type(value).__name__)


def _inner(value: Value) -> str:
    return "<nil>" if value is None else show(value)


def _float(value: float) -> str:
    """%v: the shortest form; an exponent below 1e-4 and from 1e21 on."""
    if abs(value) < 1e21 and value == int(value):
        return str(int(value))
    return repr(value)
