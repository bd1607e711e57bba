"""One table of behaviours on every target: native directories, kernel overlayfs, and our drivers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from fnmatch import filter as filter_names
from pathlib import Path

import pytest

import tests.conformance.behaviours  # noqa: F401 -- fills the table
from tests.conformance.deviations import DEVIATIONS, deviation
from tests.conformance.kit import TABLE, Behaviour
from tests.conformance.targets import TARGETS, Target, layers_of
from tests.conftest import Scratch
from tests.support.fsck import fsck
from tests.support.mounts import Mounted
from tests.support.process import ChildFailed
from tests.support.sandbox import Sandbox

CASES = [
    pytest.param(target, row, id=f"{target.name}-{row.name}")
    for target in TARGETS
    for row in TABLE.values()
    if target.allows(row)
]


class Mounts:
    """The mount of the present target: one at a time, made again if a behaviour killed it."""

    def __init__(self, scratch: Scratch, boxes: dict[str, Sandbox]) -> None:
        self._scratch, self._boxes, self._number = scratch, boxes, 0
        self._target: Target | None = None
        self._mounted: Mounted | None = None
        self._exits = ExitStack()
        self._broken: dict[str, str] = {}  # targets that cannot be mounted, and why: tried once only

    def get(self, target: Target) -> Mounted:
        assert target.name not in self._broken, self._broken[target.name]
        if target is not self._target or not self._mounted or not self._mounted.alive:
            self.close()
            try:
                self._mounted = self._open(target)
            except AssertionError as e:
                self._broken[target.name] = str(e)
                raise
            self._target = target
        return self._mounted

    def _open(self, target: Target) -> Mounted:
        self._number += 1
        base = (self._scratch.disk if target.disk else self._scratch.tmpfs) / f"{target.name}-{self._number}"
        rows = [] if target.fresh else [row for row in TABLE.values() if target.allows(row)]
        box = self._boxes[target.box]
        mounted = self._exits.enter_context(target.opener(base, layers_of(rows), box))
        return mounted

    def close(self) -> None:
        """Unmounts, which fails if the server did not end well; then checks the upper and work directories."""
        mounted, self._mounted, self._target = self._mounted, None, None
        exits, self._exits = self._exits, ExitStack()
        exits.close()
        if mounted and mounted.stack and mounted.stack.upper and not mounted.killed:
            work = mounted.stack.work if mounted.server else None  # the kernel tidies up when it mounts
            problems = fsck(mounted.stack.upper, work, namespace=mounted.box.namespace)
            assert not problems, "\n".join(problems)


@pytest.fixture(scope="module")
def targets(scratch: Scratch, boxes: dict[str, Sandbox]) -> Iterator[Mounts]:
    mounts = Mounts(scratch, boxes)
    yield mounts
    mounts.close()


@pytest.mark.timeout(60)
@pytest.mark.parametrize(("target", "row"), CASES)
def test_behaviour(targets: Mounts, target: Target, row: Behaviour) -> None:
    mounted = targets.get(target)
    place = mounted.path / row.name
    expected = deviation(row.name, target.name)
    try:
        mounted.call(lambda: _check(row, place, target.fresh))
    except ChildFailed:
        if not expected:
            raise
    else:
        assert not expected, f"{target.name} does not differ any more: take the row out ({expected.why})"
    finally:
        complaints = mounted.complaints()
    assert not complaints, f"unexpected lines in the server's log: {complaints}"
    _check_upper(mounted, row)


def _check(row: Behaviour, place: Path, fresh: bool) -> None:
    os.umask(0o022)
    if fresh:
        place.mkdir()
    row.check(place)


def _check_upper(mounted: Mounted, row: Behaviour) -> None:
    if mounted.stack and mounted.stack.upper and (mounted.stack.upper / row.name).exists():
        problems = fsck(mounted.stack.upper / row.name, namespace=mounted.box.namespace)
        assert not problems, "\n".join(problems)


def test_deviations_name_what_exists() -> None:
    used = {id(deviation(row.name, target.name)) for target in TARGETS for row in TABLE.values()}
    assert [row for row in DEVIATIONS if id(row) not in used] == []
    for row in DEVIATIONS:
        for pattern in row.behaviours.split():
            assert filter_names(TABLE, pattern), f"no behaviour is called {pattern}"
