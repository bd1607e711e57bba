"""PURE: the value of `RUN --mount=…`.

Source: the Dockerfile reference ("RUN --mount"). A cache's id is a name, never a path: the store hashes it.
"""

from __future__ import annotations

import csv

from imagetool.errors import UsageError
from imagetool.runtime.options import parse_size
from unionfs.namedtuple import NamedTuple

_TYPES = ("bind", "cache", "tmpfs", "secret", "ssh")
_KEYS = {
    "type": "type", "target": "target", "dst": "target", "destination": "target", "source": "source",
    "src": "source", "from": "stage", "rw": "rw", "readwrite": "rw", "ro": "ro", "readonly": "ro",
    "id": "id", "sharing": "sharing", "mode": "mode", "uid": "uid", "gid": "gid", "size": "size",
    "required": "required", "env": "env",
}  # fmt: skip
_ONLY = {
    "sharing": ("cache",), "size": ("tmpfs",), "required": ("secret", "ssh"), "env": ("secret",),
    "id": ("cache", "secret", "ssh"), "stage": ("bind", "cache"), "source": ("bind", "cache", "secret"),
    "mode": ("cache", "secret", "ssh"), "uid": ("cache", "secret", "ssh"), "gid": ("cache", "secret", "ssh"),
}  # fmt: skip


class RunMount(NamedTuple):
    """One mount of a RUN."""

    kind: str
    target: str = ""
    source: str = ""
    stage: str = ""  # "" is the build's context
    readonly: bool = False
    id: str = ""
    sharing: str = "shared"
    mode: int = 0
    uid: int = 0
    gid: int = 0
    size: int = 0
    required: bool = False
    env: str = ""


def parse(text: str) -> RunMount:
    """UsageError says which part of `text` is wrong."""
    given = _fields(text)
    kind = given.pop("type", "bind")
    if kind not in _TYPES:
        raise UsageError(f"unsupported mount type {kind!r}", hint=", ".join(_TYPES))
    for key in given:
        if kind not in _ONLY.get(key, _TYPES):
            raise UsageError(f"{key!r} does not go with a mount of type {kind}")
    if kind in ("bind", "cache", "tmpfs") and not given.get("target"):
        raise UsageError(f"a mount of type {kind} needs a target")
    if given.get("sharing", "shared") not in ("shared", "private", "locked"):
        raise UsageError(f"unsupported sharing {given['sharing']!r}", hint="shared, private or locked")
    if ".." in given.get("source", "").split("/"):
        raise UsageError(f"the source {given['source']!r} leads out of its directory")
    return _mount(kind, given)


def stage_of(text: str) -> str:
    """The `from` of a mount, which no variable may change; "" if there is none or the text is wrong."""
    try:
        return _fields(text).get("stage", "")
    except UsageError:
        return ""


def _mount(kind: str, given: dict[str, str]) -> RunMount:
    writable = _flag(given, "rw") if "rw" in given else not _flag(given, "ro")
    readonly = not writable if kind != "bind" else not _flag(given, "rw")
    mode = {"cache": 0o755, "secret": 0o400, "ssh": 0o600}.get(kind, 0)
    return RunMount(
        kind, given.get("target", ""), given.get("source", ""), given.get("stage", ""), readonly,
        given.get("id", "") or _default_id(kind, given), given.get("sharing", "shared"),
        _number(given, "mode", 8) or mode, _number(given, "uid", 10), _number(given, "gid", 10),
        parse_size(given["size"]) if "size" in given else 0, _flag(given, "required"), given.get("env", ""),
    )  # fmt: skip


def _default_id(kind: str, given: dict[str, str]) -> str:
    if kind == "cache":
        return given["target"]
    if kind == "secret":
        return (given.get("source") or given.get("target", "")).rsplit("/", 1)[-1]
    return "default" if kind == "ssh" else ""


def _fields(text: str) -> dict[str, str]:
    given: dict[str, str] = {}
    for field in next(csv.reader([text], strict=True), []):
        key, equals, value = field.partition("=")
        name = _KEYS.get(key.strip().lower())
        if name is None:
            raise UsageError(f"unexpected key {key!r} in --mount={text}")
        given[name] = value if equals else "true"
    return given


def _flag(given: dict[str, str], key: str) -> bool:
    value = given.get(key, "false").lower()
    if value not in ("true", "false", "1", "0"):
        raise UsageError(f"{key}={value!r} is neither true nor false")
    return value in ("true", "1")


def _number(given: dict[str, str], key: str, base: int) -> int:
    try:
        number = int(given.get(key, "0"), base)
        if not 0 <= number < 1 << 32:
            raise ValueError
    except ValueError:
        raise UsageError(f"{key}={given[key]!r} is not a number") from None
    return number
