"""Words for annotations: what stands for them at run time serves nobody who evaluates one."""

from __future__ import annotations

import ast
import pkgutil
import subprocess
import sys
import typing
from pathlib import Path

import pytest

import imagetool
import unionfs
from unionfs import annotations

PACKAGES = [Path(package.__path__[0]) for package in (unionfs, imagetool)]
USERS = sorted(
    path
    for package in PACKAGES
    for path in package.rglob("*.py")
    if "from unionfs.annotations import" in path.read_text()
)


def test_there_are_modules_that_use_them() -> None:
    assert len(USERS) > 50


@pytest.mark.parametrize("path", USERS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_annotations_are_postponed_where_they_are_used(path: Path) -> None:
    (postponed,) = [
        {alias.name for alias in node.names}
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ImportFrom) and node.module == "__future__"
    ]
    assert "annotations" in postponed


def test_each_stands_for_a_word_of_typing() -> None:
    names = {name for name in vars(annotations) if not name.startswith("_")} - {
        "annotations",
        "TYPE_CHECKING",
    }
    assert names <= set(vars(typing))


def test_what_is_called_gives_back_what_it_is_given() -> None:
    kept = annotations.NewType("kept", str)
    assert kept("a") == "a"
    assert annotations.cast("int", "b") == "b"


@pytest.mark.parametrize("package", ["unionfs", "imagetool"])
def test_every_module_can_be_imported(package: str) -> None:
    """Each in one interpreter: what is evaluated at import is there."""
    names = [
        module.name
        for module in pkgutil.walk_packages(sys.modules[package].__path__, f"{package}.")
        if not module.name.endswith("__main__")
    ]
    code = f"from importlib import import_module\nfor name in {names}: import_module(name)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_server_starts_without_typing_and_openssl() -> None:
    code = "import sys, unionfs.serve; print(sorted({'typing', 're', '_hashlib'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], cwd=PACKAGES[0].parent, capture_output=True, text=True
    )
    assert done.stdout == "[]\n"
