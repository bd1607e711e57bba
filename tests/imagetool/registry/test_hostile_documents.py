"""Manifests and indexes that are not what they should be: refused by one clear line."""

from typing import Any

import pytest

from imagetool.errors import (
    Damaged,
    Malformed,
    RegistryError,
)
from tests.imagetool.registry.conftest import BIG, World
from tests.imagetool.registry.hostilekit import (
    INDEX,
    MANIFEST,
    refused,
)
from tests.support.hostile import Exchange, Hostile
from tests.support.oci import Layout, digest, dump

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
