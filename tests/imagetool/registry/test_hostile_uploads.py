"""Uploads that break, are too large, or are sent elsewhere."""

import pytest

from imagetool.errors import (
    Damaged,
)
from imagetool.registry.credentials import Credentials, Keyring
from tests.imagetool.registry.conftest import World
from tests.imagetool.registry.hostilekit import (
    SECRET,
    Uploads,
    big_blob,
    with_basic,
)
from tests.support.hostile import Hostile
from tests.support.oci import digest

# --- uploads


def test_an_upload_that_breaks_begins_again(world: World, bad: Hostile, other: Hostile, name: str) -> None:
    """Cut, then 500, then good; each attempt with an upload of its own, and the whole blob."""
    uploads = Uploads(bad, broken=[("cut", 0), ("status", 500)])
    world.pull(name)
    world.store.tag(name, f"{bad.host}/to:x")
    bad.fault = uploads.fault
    pushed = world.push(f"{bad.host}/to:x")
    assert uploads.stored[big_blob(bad)[0]] == big_blob(bad)[1]
    assert uploads.stored["x"] == bad.manifests[pushed.digest][1]
    assert len(bad.asked("POST", "uploads")) == 4


def test_too_large_for_one_request(
    world: World, bad: Hostile, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imagetool.registry.upload.CHUNK", 1 << 20)
    uploads = Uploads(bad, limit=1 << 20)
    world.pull(name)
    world.store.tag(name, f"{bad.host}/to:x")
    bad.fault = uploads.fault
    world.push(f"{bad.host}/to:x")
    assert uploads.stored[big_blob(bad)[0]] == big_blob(bad)[1]
    ranges = [seen.headers["content-range"] for seen in bad.asked("PATCH", "uploads")]
    assert ranges[:2] == ["0-1048575", "1048576-2097151"]


def test_an_upload_elsewhere_gets_no_credentials(
    world: World, bad: Hostile, other: Hostile, name: str
) -> None:
    uploads, there = Uploads(bad, at=f"http://{other.host}"), Uploads(other)
    world.pull(name)
    world.store.tag(name, f"{bad.host}/to:x")
    bad.fault, other.fault = uploads.fault, there.fault
    with_basic(bad)
    Keyring(world.environ).save(bad.host, Credentials("me", SECRET))
    world.push(f"{bad.host}/to:x")
    assert big_blob(bad)[0] in there.stored
    assert not any("authorization" in seen.headers for seen in other.seen)


def test_a_registry_that_stores_something_else(world: World, bad: Hostile, name: str) -> None:
    uploads = Uploads(bad, digest=digest(b"other"))
    world.pull(name)
    world.store.tag(name, f"{bad.host}/to:x")
    bad.fault = uploads.fault
    with pytest.raises(Damaged, match="stored sha256:"):
        world.push(f"{bad.host}/to:x")
