"""A store with busybox, for tests that build; two directories, for tests that copy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.imagetool.build.copykit import Copy
from tests.imagetool.build.kit import Builder, builder
from tests.imagetool.e2e.conftest import busybox


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Builder]:
    with builder(tmp_path, busybox()) as made:
        yield made


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    return Copy(tmp_path)
