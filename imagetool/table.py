"""PURE: columns of text as Docker aligns them."""

from __future__ import annotations

from collections.abc import Iterator


def table(cells: list[list[str]]) -> Iterator[str]:
    """Lines with their columns aligned as Docker does: three blanks between, a column at least ten wide."""
    widths: list[int] = []
    for row in cells:
        for column, cell in enumerate(row[:-1]):
            widths += [10] * (column + 1 - len(widths))
            widths[column] = max(widths[column], len(cell) + 3)
    for row in cells:
        padded = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)][: len(row) - 1]
        yield "".join([*padded, row[-1]])
