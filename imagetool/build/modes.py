"""PURE: the value of --chmod: octal, or symbolic as chmod(1) has it (POSIX, "chmod": Extended Description)."""

from __future__ import annotations

import re
import stat
from collections.abc import Callable

from imagetool.errors import UsageError

_CLAUSE = re.compile(r"([ugoa]*)((?:[-+=][rwxXstugo]*)+)")
_ACTION = re.compile(r"([-+=])([rwxXstugo]*)")
_WHO = {"u": 0o4700, "g": 0o2070, "o": 0o1007}
_BITS = {"r": 0o444, "w": 0o222, "x": 0o111, "s": 0o6000, "t": 0o1000}
_SHIFT = {"u": 6, "g": 3, "o": 0}
_ALL = 0o7777


def parse(text: str) -> Callable[[int], int]:
    """A function from the mode a file has, its type included, to the permissions that it gets. UsageError."""
    if not text:
        return stat.S_IMODE
    if re.fullmatch(r"[0-7]{1,5}", text) and int(text, 8) <= _ALL:
        number = int(text, 8)
        return lambda mode: number
    clauses = [_CLAUSE.fullmatch(clause) for clause in text.split(",")]
    if text[0].isdigit() or not all(clauses):
        hint = "octal, 0 to 07777, or symbolic such as u=rwX,go=rX"
        raise UsageError(f"invalid chmod parameter: {text!r}", hint=hint)
    steps = [(clause[1], *action) for clause in clauses if clause for action in _ACTION.findall(clause[2])]

    def changed(mode: int) -> int:
        for who, sign, what in steps:
            mode = _step(mode, who, sign, what)
        return stat.S_IMODE(mode)

    return changed


def _step(mode: int, who: str, sign: str, what: str) -> int:
    mask = _ALL if not who or "a" in who else sum(_WHO[one] for one in set(who))
    bits = _bits(mode, what) & mask
    if sign == "+":
        return mode | bits
    if sign == "-":
        return mode & ~bits
    kept = 0o7000 & ~mask
    if stat.S_ISDIR(mode):  # as GNU chmod: "=" leaves the setuid and setgid bits of a directory alone
        kept |= 0o6000
    return (mode & ~(mask & ~kept)) | bits


def _bits(mode: int, what: str) -> int:
    bits = 0
    for letter in what:
        if letter in _SHIFT:  # the permissions that somebody else has
            bits |= (mode >> _SHIFT[letter] & 7) * 0o111
        elif letter == "X":
            bits |= 0o111 if stat.S_ISDIR(mode) or mode & 0o111 else 0
        else:
            bits |= _BITS[letter]
    return bits
