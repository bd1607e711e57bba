"""Lists as Docker prints them: a table, a Go template a row, or JSON lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import click

from imagetool.table import table
from unionfs.annotations import Any

Row = Mapping[str, Any]

format_option = click.option(
    "--format", metavar="TEMPLATE", help="'table', 'table TEMPLATE', 'json', or a Go template for each row."
)


def show_rows(
    rows: Sequence[Row],
    columns: Sequence[str],
    titles: Mapping[str, str],
    template: str | None = None,
    *,
    labels: Sequence[Mapping[str, str]] = (),
) -> None:
    """Prints `columns` of the rows below their `titles`; with a template, what that says.

    `labels`: those of each row, if they are to have some, for `.Label`.
    """
    if template is None or template.strip() == "table":
        cells = [[str(row[column]) for column in columns] for row in rows]
        lines = list(table([[titles[column] for column in columns], *cells]))
    else:
        from imagetool import gotemplate

        if labels:
            rows = [gotemplate.labelled(row, own) for row, own in zip(rows, labels, strict=True)]
        lines = list(gotemplate.rows(template, rows, titles))
    if lines:
        click.echo("\n".join(lines))


def show_documents(documents: Sequence[Any], template: str | None) -> None:
    """What `inspect` prints: one JSON array, or a line of a template for each document."""
    import json

    if template is None:
        click.echo(json.dumps(documents, indent=4, ensure_ascii=False))
        return
    from imagetool import gotemplate

    if template.strip() == "json":
        template = "{{json .}}"
    parsed = gotemplate.Template(template)
    for document in documents:
        click.echo(parsed.render(document))


def printable(name: bytes | str) -> str:
    """A name out of an image on one line: what could drive a terminal is shown as an escape."""
    text = name.decode("utf-8", "backslashreplace") if isinstance(name, bytes) else name
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
