"""A store for each test, checked at its end: whatever a test does, nothing in it may be damaged."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from imagetool.store.check import check
from imagetool.store.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(str(tmp_path / "store"))
    yield opened
    assert list(check(opened)) == []


@pytest.fixture
def damaged(tmp_path: Path) -> Store:
    """A store that the test leaves damaged."""
    return Store.open(str(tmp_path / "damaged"))
