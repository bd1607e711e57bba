"""ARCHITECTURE.md is true: imports go one way through its map, and packages come in where its table says."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

PROJECT = Path(__file__).parents[2]
TEXT = (PROJECT / "ARCHITECTURE.md").read_text()
PACKAGES = ("unionfs", "imagetool")


class Import(NamedTuple):
    path: str  # of the file, from the project's root
    module: str  # that imports
    name: str  # what it imports, dotted
    late: bool  # inside a function


def block(kind: str) -> list[str]:
    found = re.search(rf"^```{kind}\n(.*?)^```", TEXT, re.S | re.M)
    assert found, f"ARCHITECTURE.md has no block {kind!r}"
    return found[1].splitlines()


def rows(package: str) -> list[str]:
    """Dotted prefixes in the order of the map; "unionfs.fuse.abi", "imagetool.store." for a package."""
    return [f"{package}.{line.split()[0].replace('/', '.')}" for line in block(f"map {package}")]


def table() -> dict[str, list[str]]:
    """Import name -> the places that may import it."""
    lines = re.findall(r"^\| `(\w+)` \| (`.*?) \|", TEXT, re.M)
    return {name: re.findall(r"`([^`]+)`", places) for name, places in lines}


def position(module: str) -> int:
    """The row of a module in the map of its package."""
    package = module.partition(".")[0]
    if module == package:
        module += ".__init__"
    found = [n for n, row in enumerate(rows(package)) if row == module or _is_in(module, row)]
    assert len(found) == 1, f"{module} is in {len(found)} rows of ARCHITECTURE.md's map: give it one"
    return found[0]


def _is_in(module: str, row: str) -> bool:
    return row.endswith(".") and f"{module}.".startswith(row)


@cache
def modules() -> dict[str, Path]:
    """Every module with code, by its dotted name."""
    found = {}
    for package in PACKAGES:
        for path in sorted((PROJECT / package).rglob("*.py")):
            parts = path.relative_to(PROJECT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def imports() -> tuple[Import, ...]:
    return tuple(found for module, path in modules().items() for found in _imports(module, path))


def _imports(module: str, path: Path) -> Iterator[Import]:
    tree = ast.parse(path.read_text())
    for node, late in _walk(tree, late=False):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            assert not node.level, f"{module} has a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        yield from (Import(str(path.relative_to(PROJECT)), module, name, late) for name in names)


def _walk(node: ast.AST, *, late: bool) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    """Imports that run, and whether they do so when the module is imported or later."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, late
        elif not (isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"):
            function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
            yield from _walk(child, late=late or function)


def target(name: str) -> str:
    """The module that an imported name is, or is from."""
    while name not in modules():
        name = name.rpartition(".")[0]
        assert name
    return name


def own() -> list[Import]:
    """Imports of this project's modules, as modules."""
    found = [one for one in imports() if one.name.partition(".")[0] in PACKAGES]
    return [one._replace(name=target(one.name)) for one in found]


def test_the_map_has_every_module_once() -> None:
    seen = {position(module) for module, path in modules().items() if path.read_text().strip()}
    for package in PACKAGES:
        assert [row for n, row in enumerate(rows(package)) if row.endswith(".") and n not in seen] == []


def test_the_map_has_no_module_that_is_gone() -> None:
    for package in PACKAGES:
        for row in rows(package):
            place = PROJECT / row.replace(".", "/")
            assert place.is_dir() if row.endswith(".") else place.with_suffix(".py").is_file(), row


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_go_up_the_map(package: str) -> None:
    late = {tuple(line.split(" -> ")) for line in block("late")}
    wrong: list[str] = []
    down: set[tuple[str, ...]] = set()
    for one in own():
        if not one.module.startswith(package) or not one.name.startswith(package) or one.name == package:
            continue
        here, there = position(one.module), position(one.name)
        if there > here or (there == here and not rows(package)[here].endswith(".")):
            if one.late and (one.module, one.name) in late:
                down.add((one.module, one.name))
            else:
                wrong.append(f"{one.path} imports {one.name}, which is below it in the map")
    assert wrong == []
    assert down == {pair for pair in late if pair[0].startswith(package)}


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph: dict[str, set[str]] = {}
    for one in own():
        if not one.late and one.module != one.name:
            graph.setdefault(one.module, set()).add(one.name)
    list(TopologicalSorter(graph).static_order())  # raises CycleError, which names them


def test_unionfs_knows_neither_imagetool_nor_click() -> None:
    assert [
        one for one in imports() if one.path.startswith("unionfs/") and _top(one) in ("imagetool", "click")
    ] == []


def test_packages_come_in_where_the_table_says() -> None:
    places = table()
    used: set[tuple[str, str]] = set()
    for one in imports():
        name = _top(one)
        if name in PACKAGES or name in sys.stdlib_module_names:
            continue
        assert name in places, f"{one.path} imports {name}, of which ARCHITECTURE.md says nothing"
        fits = [
            place
            for place in places[name]
            if one.path == place or (place[-1] == "/" and one.path.startswith(place))
        ]
        assert fits, f"{one.path} imports {name}: ARCHITECTURE.md has other places for it"
        used.update((name, place) for place in fits)
    assert {(name, place) for name in places for place in places[name]} == used


def test_the_table_has_what_is_installed() -> None:
    with (PROJECT / "pyproject.toml").open("rb") as file:
        wanted = tomllib.load(file)["project"]["dependencies"]
    assert {re.split(r"[^\w-]", one)[0] for one in wanted} == set(table())


@pytest.mark.parametrize("module", ["serve", "api"])
def test_trio_comes_late_where_a_start_would_wait_for_it(module: str) -> None:
    found = [one for one in imports() if one.module == f"unionfs.{module}" and _top(one) == "trio"]
    assert found
    assert all(one.late for one in found)


def _top(one: Import) -> str:
    return one.name.partition(".")[0]
