"""imagetool.store.pipeline: pieces go through in order, errors come back, and short streams need no thread."""

from __future__ import annotations

import threading

import pytest

from imagetool.store.pipeline import DEPTH, Stage


@pytest.mark.parametrize("count", [0, 1, 2, 3 * DEPTH])
def test_every_piece_is_consumed_in_order(count: int) -> None:
    pieces, seen = [b"%d" % n for n in range(count)], []
    stage = Stage(seen.append, "test")
    for piece in pieces:
        stage.put(piece)
    stage.finish()
    stage.finish()
    assert seen == pieces


def test_one_piece_is_consumed_where_the_stage_is_finished() -> None:
    where: list[int] = []
    stage = Stage(lambda _: where.append(threading.get_ident()), "test")
    stage.put(b"")
    stage.finish()
    assert where == [threading.get_ident()]


def test_several_pieces_have_a_thread() -> None:
    where: list[int] = []
    stage = Stage(lambda _: where.append(threading.get_ident()), "test")
    stage.put(b"1")
    stage.put(b"2")
    stage.finish()
    assert len(set(where) - {threading.get_ident()}) == 1


@pytest.mark.parametrize("count", [1, 2, 3 * DEPTH])
def test_an_error_comes_back_and_nothing_hangs(count: int) -> None:
    def refuse(piece: bytes) -> None:
        raise ValueError("no")

    stage = Stage(refuse, "test")

    def work() -> None:
        for _ in range(count):
            stage.put(b"x")
        stage.finish()

    with pytest.raises(ValueError, match="no"):
        work()
    stage.cancel()


@pytest.mark.parametrize("count", [0, 1, 2])
def test_what_is_cancelled_is_not_consumed_later(count: int) -> None:
    seen: list[bytes] = []
    stage = Stage(seen.append, "test")
    for _ in range(count):
        stage.put(b"x")
    stage.cancel()
    before = list(seen)
    stage.finish()
    assert seen == before
