"""How many at once, and who fetches what two want."""

import os
import threading
import time
from typing import Any

import pytest

from imagetool.store.ingest import Ingest
from imagetool.store.lease import Lease
from tests.imagetool.registry.conftest import World
from tests.imagetool.registry.hostilekit import (
    big_blob,
    on_big,
)
from tests.support.hostile import Exchange, Hostile
from tests.support.oci import Layout

# --- manners


def test_at_most_so_many_layers_at_once(world: World, bad: Hostile, layout: Layout) -> None:
    image = layout.image([{f"f{n}": os.urandom(300_000)} for n in range(8)])
    bad.load(layout)
    bad.tag("x", image)
    lock, active, most = threading.Lock(), [0], [0]

    def fault(exchange: Exchange) -> bool:
        digest_asked = exchange.path.rsplit("/", 1)[1]
        if len(bad.blobs.get(digest_asked, b"")) < 100_000:
            return False
        with lock:
            active[0] += 1
            most[0] = max(most[0], active[0])
        time.sleep(0.05)
        with lock:
            active[0] -= 1
        return False

    bad.fault = fault
    world.pull(f"{bad.host}/app:x", parallel=2)
    assert most[0] == 2


def test_two_pulls_at_once_fetch_a_layer_once(world: World, bad: Hostile, name: str) -> None:
    wanted = big_blob(bad)[0]

    def act(exchange: Exchange, number: int) -> bool:
        time.sleep(0.5)
        return False

    on_big(bad, act)
    errors: list[BaseException] = []

    def go() -> None:
        try:
            other = World.__new__(World)
            other.__dict__.update(world.__dict__)
            other.timeouts = other.timeouts._replace(stall=5)
            other.pull(name)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=go) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not errors
    assert len(bad.asked("GET", wanted)) == 1


def test_a_layer_that_came_just_before_it_was_claimed(
    world: World, bad: Hostile, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at the store and the claim, another pull was done with it."""
    wanted = big_blob(bad)[0]
    claim = Lease.claim

    def late(lease: Lease, *arguments: Any) -> Ingest | None:
        monkeypatch.setattr(Lease, "claim", claim)
        other = threading.Thread(target=world.pull, args=(name,))
        other.start()
        other.join(30)
        return claim(lease, *arguments)

    monkeypatch.setattr(Lease, "claim", late)
    world.pull(name)
    assert len(bad.asked("GET", wanted)) == 1
    assert world.store.find(name)
