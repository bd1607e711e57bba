"""A union core on layers of either kind, for the tests of what it does."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Scratch
from tests.support.core import Core
from tests.support.notation import Tree
from unionfs.model import Policy

Union = Callable[..., Core]


@pytest.fixture(params=["dir", "tar"])
def union(request: pytest.FixtureRequest, scratch: Scratch) -> Iterator[Union]:
    """`union(layer, …, policy=…)`: the topmost layer first."""
    made: list[Core] = []

    def make(*layers: Tree, policy: Policy | None = None, upper: bool = True) -> Core:
        base = Path(tempfile.mkdtemp(dir=scratch.tmpfs))
        made.append(Core(base, layers, request.param, policy, upper=upper))
        return made[-1]

    before = os.umask(0)
    yield make
    os.umask(before)
    for core in made:
        core.close()


def refused(number: int) -> pytest.RaisesExc[OSError]:
    return pytest.RaisesExc(OSError, check=lambda e: e.errno == number)
