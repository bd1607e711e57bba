"""Awake: asked for while there are many requests, taken back soon after, and never without the device."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from unionfs.fuse.awake import AT_ONCE, MANY, PATIENCE, WHENEVER, WINDOW, Awake, open_device


class Bench:
    """An Awake whose device is a pipe, and a clock."""

    def __init__(self) -> None:
        self.reader, writer = os.pipe2(os.O_NONBLOCK)
        self.awake = Awake(writer)
        self.now = 100.0

    def window(self, requests: int) -> None:
        """Requests that come evenly for the time of a window."""
        for number in range(max(1, requests)):
            self.awake.served(requests and 1, self.now + WINDOW * number / max(1, requests))
        self.now += WINDOW

    def wishes(self) -> list[bytes]:
        try:
            told = os.read(self.reader, 4096)
        except BlockingIOError:
            return []
        return [told[at : at + 4] for at in range(0, len(told), 4)]


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.awake.close()
    os.close(made.reader)


def test_many_requests_keep_the_machine_awake_once(bench: Bench) -> None:
    for _ in range(20):
        bench.window(MANY * 2)
    assert bench.awake.held
    assert bench.wishes() == [AT_ONCE]
    assert bench.awake.times == 1


def test_few_requests_do_not(bench: Bench) -> None:
    for _ in range(100):
        bench.window(MANY // 2)
    assert bench.wishes() == []


def test_it_sleeps_again_after_a_while_with_few(bench: Bench) -> None:
    for _ in range(3):
        bench.window(MANY * 2)
    for _ in range(PATIENCE - 1):
        bench.window(0)
    assert bench.awake.held
    for _ in range(2):
        bench.window(1)
    assert not bench.awake.held
    assert bench.wishes() == [AT_ONCE, WHENEVER]


def test_a_pause_is_forgiven(bench: Bench) -> None:
    for _ in range(10):
        bench.window(MANY * 2)
        bench.window(0)
    assert bench.wishes() == [AT_ONCE]


def test_without_a_device_nothing_is_asked_for() -> None:
    awake = Awake(open_device(False))
    for step in range(1000):
        awake.served(MANY, 100.0 + step * WINDOW)
    assert not awake.held
    awake.close()
