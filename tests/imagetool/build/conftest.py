"""A store with busybox, for tests that build."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.imagetool.build.kit import Builder, builder
from tests.imagetool.e2e.conftest import busybox


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Builder]:
    with builder(tmp_path, busybox()) as made:
        yield made
