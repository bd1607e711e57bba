"""PURE: a template's text as tokens. The rules are those of Go's text/template/parse/lex.go."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator

from imagetool.errors import UsageError
from unionfs.annotations import NoReturn
from unionfs.namedtuple import NamedTuple


class Token(NamedTuple):
    """`kind` is one of text, open, close, field, variable, word, string, number, char or the sign itself."""

    kind: str
    text: str
    at: int


_PATTERNS = re.compile(
    r"""(?P<space>[ \t\r\n]+)
      | (?P<string>"(?:[^"\\\n]|\\.)*")
      | (?P<raw>`[^`]*`)
      | (?P<char>'(?:[^'\\\n]|\\.)+')
      | (?P<number>[+-]?(?:0[xX][0-9a-fA-F_]+|0[bB][01_]+|0[oO][0-7_]+
                          |[0-9][0-9_]*(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?|\.[0-9]+))
      | (?P<field>\.[A-Za-z_]\w*)
      | (?P<dot>\.)
      | (?P<variable>\$\w*)
      | (?P<word>[A-Za-z_]\w*)
      | (?P<sign>:=|[|(),=])
    """,
    re.VERBOSE,
)

_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_BLANKS = " \t\r\n"


def tokens(text: str) -> Iterator[Token]:
    """All tokens. Blanks inside an action are `space` tokens: they tell `.a .b` from `.a.b`."""
    at, trim = 0, False
    while True:
        start = text.find("{{", at)
        end = len(text) if start < 0 else start
        trim_right = start >= 0 and text.startswith("-", start + 2) and text[start + 3 : start + 4] in _BLANKS
        yield from _text(text[at:end], at, trim, trim_right and start + 3 < len(text))
        if start < 0:
            return
        inside = start + (3 if trim_right else 2)
        yield Token("open", "{{", start)
        at, trim = yield from _action(text, inside, start)


def _text(piece: str, at: int, trim_left: bool, trim_right: bool) -> Iterator[Token]:
    piece = piece.lstrip(_BLANKS) if trim_left else piece
    piece = piece.rstrip(_BLANKS) if trim_right else piece
    if piece:
        yield Token("text", piece, at)


def _action(text: str, at: int, start: int) -> Generator[Token, None, tuple[int, bool]]:
    """The tokens up to and with `}}`; where it ends, and whether blanks after it go."""
    comment = _COMMENT.match(text, at + len(text[at:]) - len(text[at:].lstrip(_BLANKS)))
    if comment:
        at = comment.end()
    while True:
        for end, trim in (("}}", False), (" -}}", True), ("\t-}}", True), ("\n-}}", True)):
            if text.startswith(end, at):
                yield Token("close", end, at)
                return at + len(end), trim
        match = _PATTERNS.match(text, at)
        if match is None:
            if at >= len(text):
                fail(text, start, "an action is not closed: '}}' is missing")
            fail(text, at, f"unexpected {text[at]!r}")
        kind = match.lastgroup or ""
        yield Token(match[0] if kind == "sign" else kind, match[0], at)
        at = match.end()


def fail(text: str, at: int, reason: str) -> NoReturn:
    """UsageError that shows the place."""
    raise UsageError(f"template {text!r}, column {at + 1}: {reason}")
