"""Whatever is done, our mount and kernel overlayfs over the same layers show the same, and read each other's uppers.

Both mounts have many copies of the layers, each example takes the next: so an example costs no mount.
UNIONFS_EXAMPLES sets how many are tried.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from tests.conftest import Scratch
from tests.property.operations import LAYERS, LINKED, Operation, sequences
from tests.property.playing import COPIES, Seen, copies, look, play_both, without_counts, without_times
from tests.support import mounts, process
from tests.support.fsck import fsck
from tests.support.notation import Tree
from tests.support.snapshot import differences

EXAMPLES = int(os.environ.get("UNIONFS_EXAMPLES", "40"))
OVERLAY = "redirect_dir=on,index=on"
METACOPY = OVERLAY + ",metacopy=on"
OURS = "allow_other,dev,suid,driver=kernel"

slowly = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    print_blob=True,
)


class Pair:
    """Our mount and the kernel's, over the same layers. `next` gives a fresh copy, in fresh mounts if need be."""

    def __init__(self, base: Path, layers: Sequence[Tree], kinds: str, options: str, model: str) -> None:
        self._base, self._layers, self._kinds = base, copies(layers), kinds
        self._options, self._model_options = options, model
        self._exits = ExitStack()
        self._rounds = 0
        self._used = COPIES

    def next(self) -> str:
        if self._used == COPIES or not self.ours.alive:
            self.close()
            self._open()
        self._used += 1
        return str(self._used - 1)

    def _open(self) -> None:
        base = self._base / f"round{self._rounds}"
        base.mkdir()
        self._rounds += 1
        self._used = 0
        self.stack = mounts.stack(base / "ours", self._layers, kinds=self._kinds)
        self.model_stack = mounts.stack(base / "overlay", self._layers)
        self.ours = self._exits.enter_context(mounts.union(self.stack, f"{OURS},{self._options}"))
        self.model = self._exits.enter_context(mounts.overlay(self.model_stack, self._model_options))
        self.reader = base / "reader"
        self.reader.mkdir()

    def read_by_the_kernel(self, name: str) -> Seen:
        """What overlayfs shows of one copy, with our upper as its topmost lower layer."""
        lowers = [self.stack.upper or Path(), *self.model_stack.lowers]
        read_only = mounts.Stack(self.reader, lowers, None, None, self.reader)
        self.ours.call(lambda: _sync(self.ours.path))
        with mounts.overlay(read_only, "redirect_dir=on,metacopy=on") as mounted:
            return mounted.call(lambda: look(mounted.path / name))

    def close(self) -> None:
        exits, self._exits = self._exits, ExitStack()
        exits.close()


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    process.checked(process.LIBC.syncfs(fd))
    os.close(fd)


@pytest.fixture(
    scope="module",
    params=[
        ("dir", "io=cached"),
        ("tar", "io=cached"),
        ("dir", "io=passthrough"),
        ("mixed", "metacopy=4096"),
    ],
    ids=lambda param: "-".join(param).replace(",", "-"),
)
def pair(request: pytest.FixtureRequest, scratch: Scratch) -> Iterator[Pair]:
    kinds, options = request.param
    base = scratch.tmpfs / f"pair-{kinds}-{options}".replace(",", "-")
    base.mkdir()
    made = Pair(base, LINKED, kinds, options, OVERLAY)
    yield made
    made.close()


@pytest.mark.timeout(600)
@slowly
@given(steps=sequences)
def test_same_as_overlayfs(pair: Pair, steps: list[Operation]) -> None:
    name = pair.next()
    seen = play_both(pair.ours, pair.model, name, steps)
    assert pair.ours.complaints() == []
    assert pair.stack.upper
    assert fsck(pair.stack.upper) == []
    # Without its index the kernel counts links on disk, also those whose name is hidden.
    kernels = pair.read_by_the_kernel(name)
    assert differences(without_counts(seen), without_counts(kernels)) == []


@pytest.mark.timeout(600)
def test_uppers_can_be_exchanged(scratch: Scratch) -> None:
    """A round of examples, then each mounts the other's upper, reads it, and goes on with it.

    Times are not compared: overlayfs changes mtime where it copies data up after a metadata-only copy-up.
    """
    base = scratch.tmpfs / "exchange"
    base.mkdir()
    pair = Pair(base, LAYERS, "dir", "io=cached", METACOPY)
    played: dict[str, list[Operation]] = {}

    @settings(slowly, max_examples=COPIES, database=None)
    @given(steps=sequences)
    def first_half(steps: list[Operation]) -> None:
        name = pair.next()
        played[name] = steps
        play_both(pair.ours, pair.model, name, steps, times=False)

    first_half()
    pair.close()
    ours, model = pair.stack, pair.model_stack
    ours.upper, ours.work, model.upper, model.work = model.upper, model.work, ours.upper, ours.work
    with mounts.union(ours, OURS) as mine, mounts.overlay(model, METACOPY) as kernels:
        for name, steps in played.items():
            # The paths are chosen again, in what the first half left.
            both = [without_times(_look(mounted, name)) for mounted in (mine, kernels)]
            assert differences(*both) == [], f"after {steps}"
            play_both(mine, kernels, name, steps[::-1], times=False)
        assert mine.complaints() == []
    assert ours.upper
    assert fsck(ours.upper, ours.work) == []


def _look(mounted: mounts.Mounted, name: str) -> Seen:
    return mounted.call(lambda: look(mounted.path / name))
