"""PURE: tokens to a tree. The grammar is that of Go's text/template, without define, template and block."""

from __future__ import annotations

import ast
import math

from imagetool.gotemplate.functions import FUNCTIONS
from imagetool.gotemplate.lexer import Token, fail, tokens
from unionfs.annotations import Any
from unionfs.namedtuple import NamedTuple

_DEPTH = 64
"""Of nested blocks and parentheses."""


class Text(NamedTuple):
    text: str


class Literal(NamedTuple):
    value: Any


class Operand(NamedTuple):
    """A start and the fields taken from it. `start`: "" for the dot, "$name" for a variable, or a Pipeline."""

    start: Any
    fields: tuple[str, ...]
    at: int


class Method(NamedTuple):
    """The last field of an operand, called."""

    operand: Operand
    arguments: tuple[Any, ...]


class Call(NamedTuple):
    name: str
    arguments: tuple[Any, ...]
    at: int


class Pipeline(NamedTuple):
    """Commands joined by `|`. `names` are variables that it sets; `declares`: with `:=`."""

    commands: tuple[Any, ...]
    names: tuple[str, ...] = ()
    declares: bool = True
    at: int = 0


class Block(NamedTuple):
    """if, with or range."""

    kind: str
    pipeline: Pipeline
    body: tuple[Any, ...]
    otherwise: tuple[Any, ...]


class Jump(NamedTuple):
    """break or continue, in a range."""

    kind: str


Nodes = tuple[Any, ...]


def parse(text: str) -> Nodes:
    """UsageError, with the column, for what is no template."""
    parser = _Parser(text)
    nodes, end = parser.nodes(("",), 0, loop=False)
    assert end == ""
    return nodes


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = [*tokens(text), Token("end", "", len(text))]
        self._next = 0

    def nodes(self, ends: tuple[str, ...], depth: int, *, loop: bool) -> tuple[Nodes, str]:
        """Up to one of the words `ends`, of which the parser then is behind; "" is the end of the text."""
        found: list[Any] = []
        if depth > _DEPTH:
            self._fail("too deeply nested")
        while True:
            token = self._take()
            if token.kind == "end":
                if "" not in ends:
                    self._fail("{{end}} is missing")
                return tuple(found), ""
            if token.kind == "text":
                found.append(Text(token.text))
                continue
            self._spaces()
            word = self._peek().text if self._peek().kind == "word" else ""
            if word in ("end", "else"):
                if word not in ends:
                    self._fail(f"unexpected {{{{{word}}}}}")
                self._take()
                return tuple(found), word
            found += self._action(word, depth, loop=loop)

    def _action(self, word: str, depth: int, *, loop: bool) -> list[Any]:
        if word in ("if", "with", "range"):
            self._take()
            return [self._block(word, depth, loop=loop)]
        if word in ("break", "continue"):
            if not loop:
                self._fail(f"{{{{{word}}}}} outside of a range")
            self._take()
            self._close()
            return [Jump(word)]
        if word in ("define", "template", "block"):
            self._fail(f"{word!r} is not supported")
        if self._peek().kind == "close":  # a comment
            self._take()
            return []
        pipeline = self._pipeline(depth)
        self._close()
        return [pipeline]

    def _block(self, kind: str, depth: int, *, loop: bool) -> Block:
        pipeline = self._pipeline(depth)
        self._close()
        body, end = self.nodes(("else", "end"), depth + 1, loop=loop or kind == "range")
        otherwise: Nodes = ()
        if end == "else":
            self._spaces()
            if self._peek().text in ("if", "with") and kind == self._peek().text:
                self._take()
                return Block(kind, pipeline, body, (self._block(kind, depth + 1, loop=loop),))
            self._close()
            otherwise, _ = self.nodes(("end",), depth + 1, loop=loop)
        self._close()
        return Block(kind, pipeline, body, otherwise)

    def _pipeline(self, depth: int) -> Pipeline:
        self._spaces()
        at = self._peek().at
        names, declares = self._names()
        commands = [self._command(depth, first=True)]
        while self._peek().kind == "|":
            self._take()
            commands.append(self._command(depth, first=False))
        return Pipeline(tuple(commands), names, declares, at)

    def _names(self) -> tuple[tuple[str, ...], bool]:
        """`$a :=`, `$a =` or `$i, $v :=` in front of a pipeline; nothing is taken if there is none."""
        start = self._next
        names: list[str] = []
        while self._peek().kind == "variable":
            names.append(self._take().text)
            self._spaces()
            sign = self._peek().kind
            if sign in (":=", "="):
                self._take()
                self._spaces()
                return tuple(names), sign == ":="
            if sign != ",":
                break
            self._take()
            self._spaces()
        self._next = start
        return (), True

    def _command(self, depth: int, *, first: bool) -> Any:
        self._spaces()
        token = self._peek()
        if token.kind == "word" and token.text not in ("true", "false", "nil"):
            self._take()
            if token.text not in FUNCTIONS:
                fail(self._text, token.at, f"function {token.text!r} is not defined")
            return Call(token.text, self._arguments(depth), token.at)
        operand = self._operand(depth)
        arguments = self._arguments(depth)
        if first and not arguments:
            return operand
        if not isinstance(operand, Operand) or not operand.fields:
            fail(self._text, token.at, f"{token.text!r} is not a function")
        return Method(operand, arguments)

    def _arguments(self, depth: int) -> tuple[Any, ...]:
        found: list[Any] = []
        while True:
            self._spaces()
            token = self._peek()
            if token.kind in ("close", "|", ")", "end"):
                return tuple(found)
            if token.kind == "word" and token.text in FUNCTIONS:
                self._take()
                found.append(Call(token.text, (), token.at))
            else:
                found.append(self._operand(depth))

    def _operand(self, depth: int) -> Any:
        token = self._take()
        match token.kind:
            case "string" | "raw" | "char" | "number":
                return Literal(self._literal(token))
            case "word" if token.text in ("true", "false", "nil"):
                return Literal({"true": True, "false": False, "nil": None}[token.text])
            case "dot":
                return Operand("", self._fields(), token.at)
            case "field":
                return Operand("", (token.text[1:], *self._fields()), token.at)
            case "variable":
                return Operand(token.text, self._fields(), token.at)
            case "(":
                if depth > _DEPTH:
                    self._fail("too deeply nested")
                inner = self._pipeline(depth + 1)
                if self._take().kind != ")":
                    fail(self._text, token.at, "'(' is not closed")
                return Operand(inner, self._fields(), token.at)
        what = "the end" if token.kind in ("close", "end") else repr(token.text)
        fail(self._text, token.at, f"unexpected {what}")

    def _fields(self) -> tuple[str, ...]:
        found = []
        while self._peek().kind == "field":
            found.append(self._take().text[1:])
        return tuple(found)

    def _literal(self, token: Token) -> Any:
        try:
            match token.kind:
                case "raw":
                    return token.text[1:-1]
                case "number":
                    return _number(token.text.replace("_", ""))
                case "char":
                    return ord(ast.literal_eval(token.text))
            return ast.literal_eval(token.text)
        except (ValueError, SyntaxError, TypeError):
            fail(self._text, token.at, f"{token.text} is not a valid {token.kind}")

    def _close(self) -> None:
        self._spaces()
        token = self._take()
        if token.kind != "close":
            fail(self._text, token.at, f"unexpected {token.text!r}")

    def _spaces(self) -> None:
        while self._peek().kind == "space":
            self._next += 1

    def _peek(self) -> Token:
        return self._tokens[self._next]

    def _take(self) -> Token:
        token = self._tokens[self._next]
        self._next = min(self._next + 1, len(self._tokens) - 1)
        return token

    def _fail(self, reason: str) -> None:
        fail(self._text, self._peek().at, reason)


def _number(text: str) -> int | float:
    """ValueError for what does not fit into Go's int64 or float64."""
    value = _unbounded(text)
    if not (math.isfinite(value) if isinstance(value, float) else -(2**63) <= value < 2**63):
        raise ValueError
    return value


def _unbounded(text: str) -> int | float:
    try:
        return int(text, 0)
    except ValueError:
        digits = text.lstrip("+-")
        if digits.isdigit() and digits.startswith("0"):  # octal as in C
            return int(text, 8)
        return float(text)
