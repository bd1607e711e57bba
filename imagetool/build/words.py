"""PURE: splitting an instruction's text into words, flags and JSON, quotes and escapes left in place."""

from __future__ import annotations

import json

from imagetool.errors import UsageError
from unionfs.namedtuple import NamedTuple


class Word(NamedTuple):
    """A word as written, and where it starts in the text (from 0)."""

    text: str
    at: int


def split_words(text: str, escape: str = "\\") -> list[Word]:
    """Words at white space outside quotes; an escape takes the next character along."""
    words: list[Word] = []
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        end = word_end(text, at, escape)
        words.append(Word(text[at:end], at))
        at = end
    return words


def word_end(text: str, at: int, escape: str) -> int:
    """Where the word that starts at `at` ends; an open quote runs to the end of the text."""
    quote = ""
    while at < len(text):
        char = text[at]
        if char == escape and quote != "'" and at + 1 < len(text):
            at += 2
            continue
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char.isspace():
            break
        at += 1
    return at


def split_flags(text: str, escape: str = "\\") -> tuple[list[Word], int]:
    """The leading `--name[=value]` words, and where the rest starts; a lone `--` ends them."""
    flags: list[Word] = []
    at = 0
    while True:
        at = _skip_space(text, at)
        if not text.startswith("--", at):
            return flags, at
        end = word_end(text, at, escape)
        if text[at:end] == "--":
            return flags, _skip_space(text, end)
        flags.append(Word(text[at:end], at))
        at = end


def json_strings(text: str) -> list[str] | None:
    """The strings of a JSON array; None if it is none, and so is the shell form. UsageError for other things in it.

    What follows the array does not count, as in Docker: `CMD ["serve"] # a comment`.
    """
    if not text.lstrip().startswith("["):
        return None
    try:
        value, _ = json.JSONDecoder(parse_constant=_no_json).raw_decode(text.lstrip())
    except (ValueError, RecursionError):
        return None
    if not all(isinstance(item, str) for item in value):
        raise UsageError("when using JSON array syntax, arrays must be comprised of strings only")
    return list(value)


def _no_json(word: str) -> None:
    """NaN and Infinity, which Python takes for numbers."""
    raise ValueError(word)


def unquote(word: str, escape: str = "\\") -> str:
    """A word without its quotes and escapes, for places where no variable is expanded."""
    out: list[str] = []
    quote, at = "", 0
    while at < len(word):
        char = word[at]
        if char == escape and quote != "'" and at + 1 < len(word):
            at += 1
            keep = quote == '"' and word[at] not in ('"', "$", escape)
            out.append(escape + word[at] if keep else word[at])
        elif quote and char == quote:
            quote = ""
        elif not quote and char in "'\"":
            quote = char
        else:
            out.append(char)
        at += 1
    return "".join(out)


def _skip_space(text: str, at: int) -> int:
    while at < len(text) and text[at].isspace():
        at += 1
    return at
