"""Adaptive polling: the time it may spend in vain."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from unionfs.fuse.polling import PollBudget


def test_an_idle_server_does_not_poll() -> None:
    budget = PollBudget(40e-6)
    looks = 0
    while budget.worth():
        budget.miss()
        looks += 1
    assert looks <= PollBudget.LIMIT
    assert not budget.worth()


def test_off() -> None:
    budget = PollBudget(0.0)
    budget.served(1000)
    assert not budget.worth()


def test_whoever_is_preempted_waits_for_more_requests() -> None:
    budget = PollBudget(40e-6)
    budget.preempted()
    budget.served(64)
    assert not budget.worth()
    budget.served(4)
    assert budget.worth()


def test_hits_keep_it_going() -> None:
    budget = PollBudget(40e-6)
    for _ in range(1000):
        assert budget.worth()
        budget.hit()
        budget.served(1)
    assert budget.hits == 1000


@given(st.lists(st.tuples(st.integers(0, 20), st.booleans()), max_size=300))
def test_looks_in_vain_are_bounded_by_requests(steps: list[tuple[int, bool]]) -> None:
    budget, requests = PollBudget(40e-6), 0
    for served, hits in steps:
        budget.served(served)
        requests += served
        if budget.worth():
            if hits:
                budget.hit()
                budget.served(1)
                requests += 1
            else:
                budget.miss()
    assert budget.misses <= requests / 4 + 4
