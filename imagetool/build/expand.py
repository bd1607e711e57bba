"""PURE: variable expansion of the Dockerfile language, with all its modifiers.

`$NAME`, `${NAME}`, `:-` `-` `:+` `+` `:?` `?`, `#` `##` `%` `%%` (patterns `*` `?` and escapes), `/` `//`.
Source: the Dockerfile reference ("Environment replacement").
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

from imagetool.errors import UsageError
from unionfs.namedtuple import NamedTuple

_SPECIAL = "@*#?-$!"


class ExpansionError(UsageError):
    """A word that cannot be expanded; `at` is the place in it, from 0."""

    def __init__(self, text: str, at: int) -> None:
        super().__init__(text)
        self.at = at


class Expansion(NamedTuple):
    text: str
    used: frozenset[str]  # every name that was looked at, set or not: what a cache key depends on


def expand(text: str, values: Mapping[str, str], escape: str = "\\") -> str:
    """One word: variables replaced, quotes removed, escapes resolved. Unset variables are empty."""
    return traced(text, values, escape).text


def traced(text: str, values: Mapping[str, str], escape: str = "\\", *, quotes: bool = True) -> Expansion:
    """The same, telling which names it used. quotes=False: a here-document, in which quotes are plain text."""
    scanner = _Scanner(text, values, escape, quotes)
    return Expansion(scanner.until(""), frozenset(scanner.used))


def expand_words(text: str, values: Mapping[str, str], escape: str = "\\") -> list[str]:
    """Words split after the expansion, as EXPOSE has it; what was quoted stays together."""
    scanner = _Scanner(text, values, escape, True, splitting=True)
    scanner.until("")
    return scanner.finish()


class _Scanner:
    def __init__(
        self, text: str, values: Mapping[str, str], escape: str, quotes: bool, *, splitting: bool = False
    ) -> None:
        self._text, self._values, self._escape, self._quotes = text, values, escape, quotes
        self._at = 0
        self.used: set[str] = set()
        self._splitting = splitting
        self._words: list[str] = []
        self._word: list[str] | None = None

    def finish(self) -> list[str]:
        self._break()
        return self._words

    def until(self, stops: str) -> str:
        """Expand up to one of the characters `stops`, which is not consumed, or to the end."""
        out: list[str] = []
        while self._at < len(self._text) and self._text[self._at] not in stops:
            char = self._text[self._at]
            if char == "'" and self._quotes:
                out.append(self._keep(self._single()))
            elif char == '"' and self._quotes:
                out.append(self._keep(self._double()))
            elif char == self._escape:
                out.append(self._keep(self._escaped()))
            elif char == "$":
                out.append(self._split(self._dollar()))
            else:
                self._at += 1
                out.append(self._split(char))
        return "".join(out)

    def _single(self) -> str:
        end = self._text.find("'", self._at + 1)
        if end < 0:
            raise ExpansionError(
                "unexpected end of statement while looking for matching single-quote", self._at
            )
        inner = self._text[self._at + 1 : end]
        self._at = end + 1
        return inner

    def _double(self) -> str:
        start = self._at
        out: list[str] = []
        self._at += 1
        while self._at < len(self._text):
            char = self._text[self._at]
            if char == '"':
                self._at += 1
                return "".join(out)
            if char == "$":
                out.append(self._dollar())
                continue
            if char == self._escape and self._text[self._at + 1 : self._at + 2] in ('"', "$", self._escape):
                self._at += 1
                char = self._text[self._at : self._at + 1]
            out.append(char)
            self._at += 1
        raise ExpansionError("unexpected end of statement while looking for matching double-quote", start)

    def _escaped(self) -> str:
        """An escape protects the next character; at the end, and in here-documents before others, it stays."""
        following = self._text[self._at + 1 : self._at + 2]
        keep = not self._quotes and following not in ("$", self._escape)
        if not following or keep:
            self._at += 1
            return self._escape
        self._at += 2
        return following

    def _dollar(self) -> str:
        start = self._at
        self._at += 1
        following = self._text[self._at : self._at + 1]
        if following == "{":
            self._at += 1
            return self._braced(start)
        name = self._name()
        return self._value(name) if name else "$"

    def _braced(self, start: int) -> str:
        name = self._name()
        if not name:
            raise ExpansionError("bad substitution: a variable needs a name", start)
        modifier = self._text[self._at : self._at + 1]
        if modifier == "}":
            self._at += 1
            return self._value(name)
        if not modifier:
            raise ExpansionError("syntax error: missing '}'", start)
        self._at += 1
        if modifier == ":":
            operator = self._text[self._at : self._at + 1]
            self._at += 1
            if operator not in ("-", "+", "?") or not operator:
                raise ExpansionError(f"unsupported modifier (:{operator}) in substitution", start)
            return self._conditional(name, operator, start, empty_counts=False)
        if modifier in "-+?":
            return self._conditional(name, modifier, start, empty_counts=True)
        if modifier in "#%":
            return self._trimmed(name, modifier, start)
        if modifier == "/":
            return self._replaced(name, start)
        raise ExpansionError(f"unsupported modifier ({modifier}) in substitution", start)

    def _conditional(self, name: str, operator: str, start: int, *, empty_counts: bool) -> str:
        word = self._operand("}", start)
        self._at += 1
        self.used.add(name)
        there = name in self._values and (empty_counts or self._values[name] != "")
        if operator == "+":
            return word if there else ""
        if there:
            return self._values[name]
        if operator == "-":
            return word
        kind = "is not allowed to be unset" if empty_counts else "is not allowed to be empty"
        raise ExpansionError(f"{name}: {word or kind}", start)

    def _trimmed(self, name: str, modifier: str, start: int) -> str:
        greedy = self._text[self._at : self._at + 1] == modifier
        self._at += greedy
        pattern = self._operand("}", start, raw=True)
        self._at += 1
        value, regex = self._value(name), _shell_pattern(pattern, self._escape, greedy)
        if modifier == "#":
            match = re.match(regex, value, re.S)
            return value[match.end() :] if match else value
        starts = range(len(value) + 1) if greedy else range(len(value), -1, -1)
        for at in starts:
            if re.fullmatch(regex, value[at:], re.S):
                return value[:at]
        return value

    def _replaced(self, name: str, start: int) -> str:
        everywhere = self._text[self._at : self._at + 1] == "/"
        self._at += everywhere
        pattern = self._operand("/", start, raw=True)
        self._at += 1
        replacement = self._operand("}", start)
        self._at += 1
        regex = _shell_pattern(pattern, self._escape, True)
        return re.sub(
            regex, lambda _: replacement, self._value(name), count=0 if everywhere else 1, flags=re.S
        )

    def _operand(self, stop: str, start: int, *, raw: bool = False) -> str:
        """The text of a modifier up to `stop`, with its own variables expanded; raw keeps pattern escapes."""
        inner = _Scanner(self._text, self._values, self._escape, self._quotes)
        inner._at = self._at
        text = inner._pattern(stop) if raw else inner.until(stop)
        if inner._at >= len(self._text):
            raise ExpansionError(f"syntax error: missing '{stop}' in substitution", start)
        self._at = inner._at
        self.used |= inner.used
        return text

    def _pattern(self, stop: str) -> str:
        out: list[str] = []
        while self._at < len(self._text) and self._text[self._at] != stop:
            char = self._text[self._at]
            if char == self._escape and self._at + 1 < len(self._text):
                out.append(self._text[self._at : self._at + 2])
                self._at += 2
            elif char == "$":
                out.append(self._dollar())
            else:
                out.append(char)
                self._at += 1
        return "".join(out)

    def _name(self) -> str:
        char = self._text[self._at : self._at + 1]
        if char and (char in _SPECIAL or (char.isascii() and char.isdigit())):
            self._at += 1
            return char
        match = re.compile(r"[A-Za-z_][A-Za-z0-9_]*").match(self._text, self._at)
        self._at = match.end() if match else self._at
        return match[0] if match else ""

    def _value(self, name: str) -> str:
        self.used.add(name)
        return self._values.get(name, "")

    def _keep(self, text: str) -> str:
        if self._splitting:
            self._word = [*(self._word or []), text]
        return text

    def _split(self, text: str) -> str:
        if self._splitting:
            for char in text:
                if char.isspace():
                    self._break()
                else:
                    self._word = [*(self._word or []), char]
        return text

    def _break(self) -> None:
        if self._word is not None:
            self._words.append("".join(self._word))
            self._word = None


@lru_cache(maxsize=256)
def _shell_pattern(pattern: str, escape: str, greedy: bool) -> str:
    out, at = [], 0
    while at < len(pattern):
        char = pattern[at]
        if char == escape and at + 1 < len(pattern):
            at += 1
            out.append(re.escape(pattern[at]))
        elif char == "*":
            out.append(".*" if greedy else ".*?")
        else:
            out.append("." if char == "?" else re.escape(char))
        at += 1
    return "".join(out)
