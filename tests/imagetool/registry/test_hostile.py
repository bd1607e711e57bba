"""A registry that cuts, stalls, lies and floods. Each time: one clear line, nothing published, the store whole."""

import os
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from imagetool.errors import (
    Damaged,
    Denied,
    ImageToolError,
    LimitExceeded,
    Malformed,
    NotFound,
    RateLimited,
    RegistryError,
    Unauthorized,
)
from imagetool.registry.credentials import Credentials, Keyring
from imagetool.registry.errors import TransportError
from imagetool.store.check import check
from imagetool.store.limits import Limits
from tests.imagetool.registry.conftest import World
from tests.support.hostile import Exchange, Hostile, hostile
from tests.support.oci import Layout, digest, dump, layer_tar

BIG = {"big": os.urandom(3 << 20)}
SECRET = "s3cr3t-value"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"


@pytest.fixture
def name(bad: Hostile, layout: Layout) -> str:
    """The name of an image with one large layer at the bad registry."""
    image = layout.image([BIG])
    bad.load(layout)
    bad.tag("x", image)
    return f"{bad.host}/app:x"


def big_blob(bad: Hostile) -> tuple[str, bytes]:
    return max(bad.blobs.items(), key=lambda row: len(row[1]))


def refused(world: World, name: str, kind: type[ImageToolError], words: str, **options: Any) -> str:
    """The pull fails in the one way that is allowed: an error of ours on one line, and a store as before."""
    before = world.names()
    with pytest.raises(kind, match=words) as error:
        world.pull(name, **options)
    text = str(error.value)
    assert "\n" not in text
    assert SECRET not in text
    assert world.names() == before
    assert os.listdir(f"{world.store.root}/tmp") == []
    assert list(check(world.store)) == []
    return text


def on_big(bad: Hostile, act: Callable[[Exchange, int], bool]) -> None:
    """Call `act` with the number of the request, from 1, for requests of the large blob."""
    wanted, count = big_blob(bad)[0], [0]

    def fault(exchange: Exchange) -> bool:
        if not exchange.path.endswith(wanted) or exchange.command != "GET":
            return False
        count[0] += 1
        return act(exchange, count[0])

    bad.fault = fault


def part(exchange: Exchange, data: bytes, count: int) -> bool:
    """Begin to answer with the whole of `data`, or what was asked of it, and hang up after `count` bytes."""
    start = int(exchange.headers.get("Range", "bytes=0-")[6:-1]) if exchange.registry.ranges else 0
    exchange.send_response(206 if start else 200)
    exchange.send_header("Content-Length", str(len(data) - start))
    if start:
        exchange.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
    exchange.end_headers()
    exchange.wfile.write(data[start : start + count])
    exchange.cut()
    return True


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


# --- manifests


def manifest(**changes: Any) -> bytes:
    blob = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(b"{}"), "size": 2}
    layer = {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest(b"x"), "size": 1}
    return dump({"schemaVersion": 2, "mediaType": MANIFEST, "config": blob, "layers": [layer], **changes})


CONFIG = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(b"x"), "size": 2**40}
SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"
LAYER = {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest(b"x"), "size": 1}
DOCUMENTS = {
    "malformed": (b"{", MANIFEST, Malformed, "not valid JSON"),
    "not an object": (b"[]", MANIFEST, Malformed, "not a JSON object"),
    "deep": (b'{"a":' * 5000 + b"1" + b"}" * 5000, MANIFEST, Malformed, "nested|recursion"),
    "both": (manifest(manifests=[]), MANIFEST, Malformed, "not clear"),
    "both, an index": (manifest(manifests=[], mediaType=INDEX), INDEX, Malformed, "not clear"),
    "contradiction": (manifest(), INDEX, Malformed, "media type"),
    "schema 1": (b'{"schemaVersion":1}', SCHEMA1, Malformed, "schema 1"),
    "html": (b"<html>", "text/html", Malformed, "unknown type 'text/html'"),
    "huge size": (manifest(layers=[{**LAYER, "size": 2**70}]), MANIFEST, Malformed, "size"),
    "negative size": (manifest(layers=[{**LAYER, "size": -1}]), MANIFEST, Malformed, "size"),
    "path as digest": (manifest(layers=[{**LAYER, "digest": "sha256:../../../etc"}]), MANIFEST, Malformed, "digest"),
    "config is huge": (manifest(config=CONFIG), MANIFEST, Damaged, "too many"),
    "unknown layers": (manifest(layers=[{**LAYER, "mediaType": "a/b"}]), MANIFEST, Malformed, "artifact"),
}  # fmt: skip


@pytest.mark.parametrize("case", DOCUMENTS)
def test_hostile_documents(world: World, bad: Hostile, case: str) -> None:
    data, media_type, kind, words = DOCUMENTS[case]
    bad.manifest("x", data, media_type)
    bad.blobs[digest(b"{}")] = b"{}"
    refused(world, f"{bad.host}/app:x", kind, words)


def test_more_layers_than_diff_ids(world: World, bad: Hostile) -> None:
    config = dump({"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": []}})
    bad.blobs[digest(config)] = config
    row = {
        "mediaType": "application/vnd.oci.image.config.v1+json",
        "digest": digest(config),
        "size": len(config),
    }
    bad.manifest("x", manifest(config=row), MANIFEST)
    refused(world, f"{bad.host}/app:x", Malformed, "1 layers and the config 0")


def test_endless_manifest(world: World, bad: Hostile) -> None:
    def fault(exchange: Exchange) -> bool:
        if "manifests" not in exchange.path:
            return False
        exchange.send_response(200)
        exchange.send_header("Content-Type", MANIFEST)
        exchange.send_header("Transfer-Encoding", "chunked")
        exchange.end_headers()
        while True:
            exchange.wfile.write(b"10000\r\n%s\r\n" % (b" " * 0x10000))

    bad.fault = fault
    refused(world, f"{bad.host}/app:x", RegistryError, "more than 4194304 bytes")


def test_a_manifest_that_is_not_the_one_of_its_digest(world: World, bad: Hostile) -> None:
    wanted = digest(b"another")
    bad.manifests[wanted] = (MANIFEST, manifest())
    refused(world, f"{bad.host}/app@{wanted}", Damaged, "wrong content")


def test_a_manifest_with_the_wrong_digest_header(world: World, bad: Hostile) -> None:
    def fault(exchange: Exchange) -> bool:
        if "manifests" not in exchange.path:
            return False
        exchange.answer(200, manifest(), Content_Type=MANIFEST, Docker_Content_Digest=digest(b"y"))
        return True

    bad.fault = fault
    refused(world, f"{bad.host}/app:x", Damaged, "wrong content")


@pytest.mark.parametrize("how", ["size", "content", "type"])
def test_a_child_that_is_not_what_the_index_says(
    world: World, bad: Hostile, layout: Layout, how: str
) -> None:
    child = layout.image([BIG])
    bad.load(layout)
    listed = {**child, "size": child["size"] + (how == "size")}
    bad.manifest("x", dump({"schemaVersion": 2, "mediaType": INDEX, "manifests": [listed]}), INDEX)
    kind, data = bad.manifests[child["digest"]]
    if how == "content":
        bad.manifests[child["digest"]] = (kind, data.replace(b"sha256:", b"sha256:", 1)[:-1] + b" ")
    if how == "type":
        bad.manifests[child["digest"]] = ("application/vnd.docker.distribution.manifest.v2+json", data)
    expected = Malformed if how == "type" else Damaged
    refused(world, f"{bad.host}/app:x", expected, "bytes, not|wrong content|is sent as")


# --- statuses


def answers(bad: Hostile, *rows: tuple[int, dict[str, str]]) -> None:
    """Answer requests of the manifest with these, then as usual."""
    left = list(rows)

    def fault(exchange: Exchange) -> bool:
        if not left or "manifests" not in exchange.path:
            return False
        status, headers = left.pop(0)
        body = dump(
            {"errors": [{"code": "TOOMANYREQUESTS", "message": "You have reached your limit\x1b[2J"}]}
        )
        exchange.answer(status, body, **headers)
        return True

    bad.fault = fault


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_what_passes_is_waited_for(world: World, bad: Hostile, name: str, status: int) -> None:
    answers(bad, (status, {}), (status, {"Retry_After": "0"}))
    assert world.pull(name).changed


def test_retry_after_is_kept_to(world: World, bad: Hostile, name: str) -> None:
    answers(bad, (429, {"Retry_After": "1"}))
    began = time.monotonic()
    world.pull(name)
    assert time.monotonic() - began >= 1


def test_retry_after_beyond_all_patience(world: World, bad: Hostile, name: str) -> None:
    answers(bad, *[(429, {"Retry_After": "3600"})] * 9)
    text = refused(world, name, RateLimited, "You have reached your limit")
    assert "try again after 3600" in text
    assert "\x1b" not in text
    assert len(bad.asked("GET", "manifests")) == 1


def test_retries_end(world: World, bad: Hostile, name: str) -> None:
    answers(bad, *[(503, {})] * 99)
    refused(world, name, RegistryError, "answered 503")
    assert len(bad.asked("GET", "manifests")) == world.policy.attempts


@pytest.mark.parametrize(
    ("status", "headers", "kind"),
    [
        (401, {}, Unauthorized),
        (401, {"WWW_Authenticate": 'Basic realm="x"'}, Unauthorized),
        (401, {"WWW_Authenticate": "Negotiate"}, Unauthorized),
        (401, {"WWW_Authenticate": 'Bearer realm="x'}, RegistryError),
        (401, {"WWW_Authenticate": 'Bearer realm="file:///etc/passwd"'}, RegistryError),
        (401, {"WWW_Authenticate": "Bearer"}, RegistryError),
        (403, {}, Denied),
        (404, {}, NotFound),
        (418, {}, RegistryError),
        (204, {}, RegistryError),
        (304, {}, RegistryError),
    ],
)
def test_statuses(
    world: World, bad: Hostile, name: str, status: int, headers: dict[str, str], kind: Any
) -> None:
    answers(bad, *[(status, headers)] * 9)
    refused(world, name, kind, ".")


# --- other hosts


@pytest.fixture
def other() -> Iterator[Hostile]:
    """Another origin: the same machine at another port."""
    with hostile() as server:
        yield server


def with_basic(bad: Hostile) -> None:
    """Everything at the bad registry needs basic authentication."""
    inner = bad.fault

    def fault(exchange: Exchange) -> bool:
        if exchange.headers.get("Authorization") is None:
            exchange.answer(401, WWW_Authenticate='Basic realm="x"')
            return True
        return inner(exchange)

    bad.fault = fault


def test_a_redirect_to_another_host_takes_no_credentials_along(
    world: World, bad: Hostile, other: Hostile, name: str
) -> None:
    other.blobs = bad.blobs
    target = f"http://{other.host}/v2/cdn/blobs/{big_blob(bad)[0]}"
    on_big(bad, lambda exchange, number: exchange.answer(307, Location=target))
    with_basic(bad)
    Keyring(world.environ).save(bad.host, Credentials("me", SECRET))
    assert world.pull(name).changed
    assert len(other.seen) == 1
    assert "authorization" not in other.seen[0].headers
    assert all("authorization" in seen.headers for seen in bad.asked("GET", "blobs"))


def test_a_redirect_on_the_same_host_keeps_them(world: World, bad: Hostile, name: str) -> None:
    wanted = big_blob(bad)[0]
    on_big(
        bad,
        lambda exchange, number: (
            "moved" not in exchange.path and exchange.answer(302, Location=f"/v2/moved/blobs/{wanted}")
        ),
    )
    with_basic(bad)
    Keyring(world.environ).save(bad.host, Credentials("me", SECRET))
    assert world.pull(name).changed


def test_redirects_end(world: World, bad: Hostile, name: str) -> None:
    on_big(bad, lambda exchange, number: exchange.answer(302, Location=exchange.path))
    refused(world, name, RegistryError, "redirects more than 10 times")
    assert len(bad.asked("GET", big_blob(bad)[0])) == 11


def test_a_realm_elsewhere_gets_the_password_and_no_token(
    world: World, bad: Hostile, other: Hostile, name: str
) -> None:
    """That is what the specification wants; but the tokens that it hands out do not come back to it."""

    def token(exchange: Exchange) -> bool:
        exchange.answer(200, b'{"token": "tok"}')
        return True

    def fault(exchange: Exchange) -> bool:
        if exchange.headers.get("Authorization") == "Bearer tok":
            return False
        exchange.answer(401, WWW_Authenticate=f'Bearer realm="http://{other.host}/token",service="s"')
        return True

    other.fault, bad.fault = token, fault
    Keyring(world.environ).save(bad.host, Credentials("me", SECRET))
    assert world.pull(name).changed
    assert [seen.headers["authorization"][:6] for seen in other.seen] == ["Basic "]
    assert "scope=repository%3Aapp%3Apull" in other.seen[0].path
    assert not any(seen.headers.get("authorization", "").startswith("Basic") for seen in bad.seen)


def test_a_token_that_is_never_good_enough(world: World, bad: Hostile, other: Hostile, name: str) -> None:
    count = [0]

    def token(exchange: Exchange) -> bool:
        count[0] += 1
        exchange.answer(200, b'{"token": "t%d"}' % count[0])
        return True

    def fault(exchange: Exchange) -> bool:
        exchange.answer(401, WWW_Authenticate=f'Bearer realm="http://{other.host}/token",service="s"')
        return True

    other.fault, bad.fault = token, fault
    refused(world, name, Unauthorized, "authentication required")
    assert count[0] < 6


def test_foreign_layers_come_without_credentials(
    world: World, bad: Hostile, other: Hostile, layout: Layout
) -> None:
    image = layout.image([BIG], kind="gzip")
    bad.load(layout)
    wanted, data = big_blob(bad)
    other.blobs[wanted] = data
    del bad.blobs[wanted]
    document = bad.manifests[image["digest"]][1]
    foreign = document.replace(b"layer.v1.tar+gzip", b"layer.nondistributable.v1.tar+gzip").replace(
        b'"digest":"%s"' % wanted.encode(),
        b'"urls":["http://%s/v2/f/blobs/%s"],"digest":"%s"'
        % (other.host.encode(), wanted.encode(), wanted.encode()),
    )
    bad.manifest("x", foreign, MANIFEST)
    with_basic(bad)
    Keyring(world.environ).save(bad.host, Credentials("me", SECRET))
    assert world.pull(f"{bad.host}/app:x").changed
    assert "authorization" not in other.seen[0].headers


def test_pages_on_another_host_are_not_asked_for(world: World, bad: Hostile, other: Hostile) -> None:
    from imagetool.registry.repository import Repository

    def fault(exchange: Exchange) -> bool:
        if "tags/list" not in exchange.path:
            return False
        exchange.answer(
            200, b'{"tags": ["a"]}', Link=f'<http://{other.host}/v2/app/tags/list?last=a>; rel="next"'
        )
        return True

    bad.fault = fault

    async def tags(remote: Any) -> list[str]:
        return await Repository(remote.client.registry(bad.host), "app").tags()

    with pytest.raises(RegistryError, match="another host"):
        world.run(tags)
    assert other.seen == []


def test_what_answers_in_no_known_protocol(world: World) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def talk() -> None:
            for _ in range(2 * world.policy.attempts):  # both schemes, each time
                connection, _ = listener.accept()
                with connection:
                    connection.recv(1000)
                    connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")

        thread = threading.Thread(target=talk, daemon=True)
        thread.start()
        refused(world, f"127.0.0.1:{listener.getsockname()[1]}/app", TransportError, "TLS|broke")
        thread.join(5)


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


class Uploads:
    """The writing half of a registry. `stored` is by digest and by tag; the first large PUTs are `broken`."""

    def __init__(
        self,
        registry: Hostile,
        *,
        broken: Sequence[tuple[str, int]] = (),
        limit: int = 1 << 40,
        at: str = "",
        digest: str = "",
    ) -> None:
        self.stored: dict[str, bytes] = {}
        self._open: dict[str, bytes] = {}
        self._lock = threading.Lock()
        self._broken, self._limit, self._at, self._digest = list(broken), limit, at, digest
        self._registry = registry

    def fault(self, exchange: Exchange) -> bool:
        if exchange.command in ("GET", "HEAD") and "/to/" in exchange.path:
            exchange.answer(404)
        elif exchange.command == "POST":
            with self._lock:
                upload = f"u{len(self._open)}"
                self._open[upload] = b""
            exchange.answer(202, Location=f"{self._at}/v2/to/blobs/uploads/{upload}?state=1")
        elif exchange.command in ("PATCH", "PUT"):
            self._take(exchange)
        else:
            return False
        return True

    def _take(self, exchange: Exchange) -> None:
        size = int(exchange.headers["Content-Length"])
        if size > self._limit:
            exchange.rfile.read(size)
            exchange.answer(413)
            return
        if size > 100_000 and self._broken:
            how, status = self._broken.pop(0)
            if how == "cut":
                exchange.rfile.read(70_000)
                exchange.cut()
                return
            exchange.rfile.read(size)
            exchange.answer(status)
            return
        data = exchange.rfile.read(size)
        path, _, query = exchange.path.partition("?")
        last = path.rsplit("/", 1)[1]
        if "/manifests/" in path:
            self.stored[last] = data
            exchange.answer(201)
        elif exchange.command == "PATCH":
            self._open[last] += data
            exchange.answer(202, Location=f"{path}?state=2")
        else:
            self.stored[unquote(query.rpartition("digest=")[2])] = self._open.get(last, b"") + data
            told = self._digest or unquote(query.rpartition("digest=")[2])
            exchange.answer(201, Docker_Content_Digest=told)


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


def test_no_secret_in_any_log(world: World, bad: Hostile, other: Hostile, name: str, caplog: Any) -> None:
    caplog.set_level("DEBUG")
    test_a_redirect_to_another_host_takes_no_credentials_along(world, bad, other, name)
    answers(bad, *[(503, {})] * 9)
    refused(world, name, RegistryError, ".")
    assert SECRET not in caplog.text
    assert "Basic bWU6" not in caplog.text
