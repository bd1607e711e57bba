"""Go templates, as `--format` takes them (Go's text/template, with the functions that Docker adds).

There is no kept library for it. What is left out: define, template and block, and methods but those of a `Struct`.

    Template('{{.Repository}}:{{.Tag}}').render({"Repository": "debian", "Tag": "12"})
    rows("table {{.ID}}\\t{{.Size}}", values, {"ID": "IMAGE ID"})

A value is what JSON has: dict, list, str, int, float, bool, None; or a Struct, which has methods. Errors are
UsageErrors that show where they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from imagetool.gotemplate.execute import Execution
from imagetool.gotemplate.parser import parse
from imagetool.gotemplate.values import Struct, to_json
from imagetool.table import table
from unionfs.annotations import Any

Value = Any

TABLE = "table"


class Template:
    """A parsed template; `render` it as often as needed. UsageError for a template that is none."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._nodes = parse(text)

    def render(self, value: Value) -> str:
        """UsageError for a field that is not there, a function used wrongly, and the like."""
        return Execution(self.text, value).run(self._nodes)


def rows(format: str, values: Iterable[Mapping[str, Value]], headers: Mapping[str, str]) -> Iterator[str]:
    """The lines of a list command: `json`, `table TEMPLATE` with a header, or a template a row.

    `headers` has a title for every field that a row can have; that of a label is the end of its name.
    `\\t` and `\\n` are taken as in Docker.
    """
    if format.strip() == "json":
        yield from (to_json(dict(value)) for value in values)
        return
    text = format.replace("\\t", "\t").replace("\\n", "\n")
    is_table = text == TABLE or text.startswith(TABLE + " ")
    template = Template(text.removeprefix(TABLE).lstrip(" ") if is_table else text)
    if not is_table:
        yield from (template.render(value) for value in values)
        return
    header = Struct(headers, Label=_title)
    yield from table([template.render(value).split("\t") for value in (header, *values)])


def _title(label: str) -> str:
    """Docker's: `com.example.build-host` -> `build host`."""
    return label.rpartition(".")[2].replace("-", " ").replace("_", " ")


def labelled(fields: Mapping[str, Value], labels: Mapping[str, str]) -> Struct:
    """A row that `.Label "NAME"` can be asked of; empty for a label that it has not."""
    return Struct(fields, Label=lambda name: labels.get(name, ""))
