"""Downloads that are cut, stall, lie or flood. Each time: one clear line, nothing published, the store whole."""

import os
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from imagetool.errors import (
    Damaged,
    LimitExceeded,
    RegistryError,
)
from imagetool.registry.errors import TransportError
from imagetool.store.limits import Limits
from tests.imagetool.registry.conftest import BIG, World
from tests.imagetool.registry.hostilekit import (
    MANIFEST,
    big_blob,
    on_big,
    part,
    refused,
)
from tests.support.hostile import Exchange, Hostile
from tests.support.oci import Layout, digest, layer_tar

# --- cuts and stalls


@pytest.mark.parametrize("ranges", [True, False])
def test_a_download_goes_on_after_cuts(world: World, bad: Hostile, name: str, ranges: bool) -> None:
    wanted, data = big_blob(bad)
    bad.ranges = ranges

    def act(exchange: Exchange, number: int) -> bool:
        if number > 2:
            return False
        part(exchange, data, 1_100_000)
        return True

    on_big(bad, act)
    world.pull(name)
    asked = [seen.headers.get("range", "") for seen in bad.asked("GET", wanted)]
    assert asked[0] == ""
    assert len(asked) == 3
    if ranges:
        assert asked[1:] == ["bytes=1100000-", "bytes=2200000-"]
    assert (Path(world.store.layer_dir(digest(layer_tar(BIG)))) / "layer.tar").read_bytes() == layer_tar(BIG)  # type: ignore[arg-type]


def test_endless_cuts_end(world: World, bad: Hostile, name: str) -> None:
    wanted, data = big_blob(bad)
    on_big(bad, lambda exchange, number: part(exchange, data, 10))
    refused(world, name, TransportError, "broke")
    assert len(bad.asked("GET", wanted)) == world.policy.attempts


def test_a_stall_is_a_cut(world: World, bad: Hostile, name: str) -> None:
    data = big_blob(bad)[1]

    def act(exchange: Exchange, number: int) -> bool:
        if number == 1:
            exchange.send_response(200)
            exchange.send_header("Content-Length", str(len(data)))
            exchange.end_headers()
            exchange.wfile.write(data[:1_500_000])
            time.sleep(1.0)
            exchange.cut()
            return True
        return False

    on_big(bad, act)
    world.pull(name)


def test_a_registry_that_never_answers(world: World, bad: Hostile, name: str) -> None:
    world.pull(name)
    gone = threading.Event()
    bad.fault = lambda exchange: gone.wait(3) or True
    refused(world, name, TransportError, "in time")
    gone.set()


def test_a_trickle_is_a_stall(world: World, bad: Hostile, name: str) -> None:
    data = big_blob(bad)[1]

    def act(exchange: Exchange, number: int) -> bool:
        exchange.send_response(200)
        exchange.send_header("Content-Length", str(len(data)))
        exchange.end_headers()
        for at in range(40):
            exchange.wfile.write(data[at : at + 1])
            exchange.wfile.flush()
            time.sleep(0.05)
        exchange.cut()
        return True

    on_big(bad, act)
    refused(world, name, TransportError, "too slowly")


PULLER = """
import sys, trio
from imagetool import reference
from imagetool.registry.pull import pull
from imagetool.registry.remote import connect
from imagetool.store.store import Store

async def main():
    async with connect() as remote:
        await pull(Store.open(sys.argv[1]), reference.parse(sys.argv[2]), remote)

trio.run(main)
"""


def test_a_killed_pull_is_resumed(world: World, bad: Hostile, name: str) -> None:
    wanted, data = big_blob(bad)
    started = threading.Event()

    def act(exchange: Exchange, number: int) -> bool:
        exchange.send_response(200)
        exchange.send_header("Content-Length", str(len(data)))
        exchange.end_headers()
        exchange.wfile.write(data[:2_500_000])
        exchange.wfile.flush()
        started.set()
        time.sleep(5)
        exchange.cut()
        return True

    on_big(bad, act)
    command = [sys.executable, "-c", textwrap.dedent(PULLER), world.store.root, name]
    process = subprocess.Popen(command)
    try:
        assert started.wait(20)
        deadline = time.monotonic() + 10
        folder = Path(world.store.root) / "partial"
        while time.monotonic() < deadline and not any(path.stat().st_size for path in folder.iterdir()):
            time.sleep(0.02)
    finally:
        process.kill()
        process.wait()
    bad.fault = lambda exchange: False
    bad.seen.clear()
    world.pull(name)
    offset = int(bad.asked("GET", wanted)[0].headers["range"][6:-1])
    assert 0 < offset < len(data)


def test_a_damaged_rest_is_fetched_again(world: World, bad: Hostile, name: str) -> None:
    wanted = big_blob(bad)[0]
    rest = Path(world.store.layout.partial(wanted))  # type: ignore[arg-type]
    rest.parent.mkdir(exist_ok=True)
    rest.write_bytes(b"\0" * 1_000_000)
    world.pull(name)
    assert [seen.headers.get("range") for seen in bad.asked("GET", wanted)] == ["bytes=1000000-", None]


# --- wrong bytes


def test_wrong_content(world: World, bad: Hostile, name: str) -> None:
    data = big_blob(bad)[1]
    on_big(bad, lambda exchange, number: exchange.answer(200, data[:-1] + bytes([data[-1] ^ 1])))
    refused(world, name, Damaged, "wrong content|damaged")
    assert os.listdir(f"{world.store.root}/partial") == []


@pytest.mark.parametrize("delta", [-1, 1])
def test_wrong_length(world: World, bad: Hostile, name: str, delta: int) -> None:
    data = big_blob(bad)[1]
    sent = data[:-1] if delta < 0 else data + b"\0"
    on_big(bad, lambda exchange, number: exchange.answer(200, sent))
    refused(world, name, Damaged, f"{len(sent)} bytes instead of {len(data)}")


def test_endless_body(world: World, bad: Hostile, name: str) -> None:
    data = big_blob(bad)[1]

    def act(exchange: Exchange, number: int) -> bool:
        exchange.send_response(200)
        exchange.send_header("Transfer-Encoding", "chunked")
        exchange.end_headers()
        chunk = data
        while True:
            exchange.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
            chunk = b"\0" * 100_000

    on_big(bad, act)
    refused(world, name, Damaged, "longer than")


def test_wrong_range(world: World, bad: Hostile, name: str) -> None:
    data = big_blob(bad)[1]

    def act(exchange: Exchange, number: int) -> bool:
        if number == 1:
            part(exchange, data, 1_500_000)
        else:
            exchange.answer(
                206, data[-10:], Content_Range=f"bytes {len(data) - 10}-{len(data) - 1}/{len(data)}"
            )
        return True

    on_big(bad, act)
    refused(world, name, RegistryError, "begins at byte")


def test_a_layer_that_decompresses_to_too_much(world: World, bad: Hostile, layout: Layout) -> None:
    image = layout.image([{"zeros": bytes(30 << 20)}])
    bad.load(layout)
    bad.tag("x", image)
    refused(
        world, f"{bad.host}/app:x", LimitExceeded, "decompresses to more", limits=Limits(layer_size=10 << 20)
    )


def test_wrong_diff_id(world: World, bad: Hostile, layout: Layout) -> None:
    image = layout.image([BIG])
    bad.load(layout)
    document = bad.manifests[image["digest"]][1]
    old = next(data for data in bad.blobs.values() if b"diff_ids" in data)
    new = old.replace(digest(layer_tar(BIG)).encode(), digest(b"").encode())
    bad.blobs[digest(new)] = new
    bad.manifest("x", document.replace(digest(old).encode(), digest(new).encode()), MANIFEST)
    refused(world, f"{bad.host}/app:x", Damaged, "wrong content")
