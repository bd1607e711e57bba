"""Running a parsed template over a value. The output is bounded, so that no format fills the memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from imagetool.errors import LimitExceeded
from imagetool.gotemplate.functions import FUNCTIONS, Wrong
from imagetool.gotemplate.lexer import fail
from imagetool.gotemplate.parser import Block, Call, Jump, Literal, Method, Nodes, Operand, Pipeline, Text
from imagetool.gotemplate.values import Struct, Value, is_struct, kind, show, truth
from unionfs.annotations import Any

OUTPUT_MAX = 64 << 20
"""Characters."""

RANGE_MAX = 100_000
"""Rounds over a number: nothing that is listed has as many."""


class _Leave(Exception):
    """break or continue."""


class _Break(_Leave):
    pass


class Execution:
    """One run. Variables live in a list of scopes, the innermost last."""

    def __init__(self, text: str, value: Value) -> None:
        self._text = text
        self._root = value
        self._scopes: list[dict[str, Value]] = [{"$": value}]
        self._out: list[str] = []
        self._size = 0

    def run(self, nodes: Nodes) -> str:
        self._nodes(nodes, self._root)
        return "".join(self._out)

    def _nodes(self, nodes: Nodes, dot: Value) -> None:
        for node in nodes:
            match node:
                case Text(text=text):
                    self._write(text)
                case Pipeline():
                    value = self._pipeline(node, dot)
                    if not node.names:
                        self._write(show(value))
                case Block(kind="range"):
                    self._range(node, dot)
                case Block():
                    self._branch(node, dot)
                case Jump(kind="break"):
                    raise _Break
                case Jump():
                    raise _Leave

    def _write(self, text: str) -> None:
        self._size += len(text)
        if self._size > OUTPUT_MAX:
            raise LimitExceeded(f"the template gives more than {OUTPUT_MAX} characters")
        self._out.append(text)

    def _scoped(self, nodes: Nodes, dot: Value) -> None:
        self._scopes.append({})
        try:
            self._nodes(nodes, dot)
        finally:
            self._scopes.pop()

    def _branch(self, block: Block, dot: Value) -> None:
        self._scopes.append({})
        try:
            value = self._pipeline(block.pipeline, dot)
            inner = value if block.kind == "with" and truth(value) else dot
            self._scoped(block.body if truth(value) else block.otherwise, inner)
        finally:
            self._scopes.pop()

    def _range(self, block: Block, dot: Value) -> None:
        names = block.pipeline.names
        value = self._pipeline(block.pipeline._replace(names=()), dot)
        pair = None
        for pair in self._pairs(value, block.pipeline.at):
            key, item = pair
            both = (item,) if len(names) == 1 else (key, item)
            self._scopes.append(dict(zip(names, both, strict=False)))
            try:
                self._scoped(block.body, item)
            except _Break:
                break
            except _Leave:
                continue
            finally:
                self._scopes.pop()
        if pair is None:
            self._scoped(block.otherwise, dot)

    def _pairs(self, value: Value, at: int) -> Iterable[tuple[Value, Value]]:
        match value:
            case None:
                return ()
            case dict():
                return sorted(value.items(), key=lambda pair: str(pair[0]))
            case list() | tuple():
                return enumerate(value)
            case int() if not isinstance(value, bool):
                if value > RANGE_MAX:
                    fail(self._text, at, f"cannot range over {value}: more than {RANGE_MAX}")
                return ((number, number) for number in range(value))
        fail(self._text, at, f"cannot range over a {kind(value)}")

    def _pipeline(self, pipeline: Pipeline, dot: Value) -> Value:
        value: Value = None
        for number, command in enumerate(pipeline.commands):
            value = self._value(command, dot, piped=(value,) if number else ())
        for name in pipeline.names:
            self._set(name, value, declares=pipeline.declares, at=pipeline.at)
        return value

    def _set(self, name: str, value: Value, *, declares: bool, at: int) -> None:
        if declares:
            self._scopes[-1][name] = value
            return
        for scope in reversed(self._scopes):
            if name in scope:
                scope[name] = value
                return
        fail(self._text, at, f"undefined variable {name!r}")

    def _value(self, node: Any, dot: Value, piped: tuple[Value, ...] = ()) -> Value:
        match node:
            case Literal(value=value):
                return value
            case Operand(start=start, fields=fields, at=at):
                return self._fields(self._start(start, dot, at), fields, at)
            case Method(operand=operand, arguments=arguments):
                return self._method(operand, [self._value(each, dot) for each in arguments] + [*piped], dot)
            case Call():
                return self._call(node, dot, piped)
        raise AssertionError(node)

    def _start(self, start: Any, dot: Value, at: int) -> Value:
        if isinstance(start, Pipeline):
            return self._pipeline(start, dot)
        if not start:
            return dot
        for scope in reversed(self._scopes):
            if start in scope:
                return scope[start]
        fail(self._text, at, f"undefined variable {start!r}")

    def _fields(self, value: Value, fields: tuple[str, ...], at: int) -> Value:
        for name in fields:
            if not isinstance(value, Mapping):
                fail(self._text, at, f"a {kind(value)} has no field {name!r}")
            if name not in value and is_struct(value):
                there = ", ".join(sorted(map(str, value))[:40])
                fail(self._text, at, f"there is no field {name!r}; there are: {there}")
            value = value.get(name)
        return value

    def _method(self, operand: Operand, arguments: list[Value], dot: Value) -> Value:
        *fields, name = operand.fields
        value = self._fields(self._start(operand.start, dot, operand.at), tuple(fields), operand.at)
        method = value.methods.get(name) if isinstance(value, Struct) else None
        if method is None:
            fail(self._text, operand.at, f"'.{name}' is not a function")
        if len(arguments) != 1 or not isinstance(arguments[0], str):
            fail(self._text, operand.at, f"'.{name}' takes one text")
        return method(arguments[0])

    def _call(self, call: Call, dot: Value, piped: tuple[Value, ...]) -> Value:
        function, fewest, most = FUNCTIONS[call.name]
        count = len(call.arguments) + len(piped)
        if not fewest <= count <= most:
            wanted = (
                str(fewest)
                if fewest == most
                else f"at least {fewest}"
                if count < fewest
                else f"at most {most}"
            )
            fail(self._text, call.at, f"{call.name} takes {wanted} arguments, not {count}")
        if call.name in ("and", "or"):
            return self._shortcut(call, dot, piped)
        values = [self._value(argument, dot) for argument in call.arguments]
        try:
            return function(*values, *piped)
        except Wrong as error:
            fail(self._text, call.at, f"{call.name}: {error}")

    def _shortcut(self, call: Call, dot: Value, piped: tuple[Value, ...]) -> Value:
        value: Value = None
        for argument in call.arguments:
            value = self._value(argument, dot)
            if truth(value) == (call.name == "or"):
                return value
        return piped[0] if piped else value
