"""Whatever comes from outside is read, or refused by an error that was meant: nothing else ever comes out."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from imagetool import compression, digest, gotemplate, reference, units
from imagetool.archive.members import Members
from imagetool.errors import ImageToolError
from imagetool.gotemplate import functions
from imagetool.registry import auth, challenge, config, credentials, proxies, repository, retry, urls
from imagetool.spec import Config, Descriptor, Index, Manifest, Platform, parse_document
from imagetool.spec.manifest import Index as Children
from tests.support.oci import compress, layer_tar, tar_of

DIGEST = "sha256:" + "0123456789abcdef" * 4
LAYER = {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": DIGEST, "size": 12}
MANIFEST: dict[str, Any] = {
    "schemaVersion": 2,
    "mediaType": "application/vnd.oci.image.manifest.v1+json",
    "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": DIGEST, "size": 3},
    "layers": [LAYER, {**LAYER, "urls": ["https://a.example/x"], "annotations": {"a": "b"}}],
}
INDEX: dict[str, Any] = {
    "schemaVersion": 2,
    "manifests": [{**LAYER, "platform": {"os": "linux", "architecture": "arm", "variant": "v7"}}],
}
CONFIG: dict[str, Any] = {
    "architecture": "amd64",
    "os": "linux",
    "created": "2024-05-01T12:00:00.123456789Z",
    "config": {
        "Cmd": ["a"], "Env": ["A=b"], "Labels": {"a": "b"}, "ExposedPorts": {"80/tcp": {}}, "Volumes": {"/v": {}},
        "Healthcheck": {"Test": ["NONE"], "Interval": 1}, "StopSignal": "SIGTERM", "User": "1:2", "WorkingDir": "/",
    },
    "rootfs": {"type": "layers", "diff_ids": [DIGEST]},
    "history": [{"created": "2024-05-01T12:00:00Z", "created_by": "x", "empty_layer": True}],
}  # fmt: skip

MANY = settings(max_examples=int(os.environ.get("IMAGETOOL_EXAMPLES", "150")), deadline=None)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just(DIGEST),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)
EDITS = st.lists(
    st.tuples(st.integers(0, 1 << 16), st.binary(min_size=0, max_size=3)), min_size=1, max_size=4
)


def edited(data: bytes, edits: list[tuple[int, bytes]]) -> bytes:
    """Some bytes replaced, or, by an empty piece, one taken out."""
    for at, piece in edits:
        at %= len(data) or 1
        data = data[:at] + piece + data[at + (len(piece) or 1) :]
    return data


def replaced(document: Any, path: list[int], value: Any) -> Any:
    """A document with one value somewhere in it replaced; `path` chooses among what there is at each step."""
    if not path or not isinstance(document, dict | list) or not document:
        return value
    keys = list(document) if isinstance(document, dict) else range(len(document))
    key = list(keys)[path[0] % len(keys)]
    copy = document.copy()
    copy[key] = replaced(document[key], path[1:], value)  # type: ignore[index]
    return copy


def parse_all(data: bytes) -> None:
    for parse in (parse_document, Manifest.parse, Index.parse, Config.parse):
        with suppress(ImageToolError):
            found = parse(data)
            with suppress(ImageToolError):
                assert parse(found.render()).render() == found.render()
            if isinstance(found, Children):
                with suppress(ImageToolError):
                    found.select(Platform.host())


@MANY
@given(st.sampled_from([MANIFEST, INDEX, CONFIG]), EDITS)
def test_documents_with_bytes_changed(document: Any, edits: list[tuple[int, bytes]]) -> None:
    parse_all(edited(json.dumps(document).encode(), edits))


@MANY
@given(st.sampled_from([MANIFEST, INDEX, CONFIG]), st.lists(st.integers(0, 9), min_size=1, max_size=5), JSON)
def test_documents_with_values_changed(document: Any, path: list[int], value: Any) -> None:
    parse_all(json.dumps(replaced(document, path, value)).encode())


@MANY
@given(st.text(max_size=60))
def test_words_of_people(text: str) -> None:
    for parse in (
        reference.parse,
        Platform.parse,
        digest.parse,
        units.parse_size,
        units.parse_time,
        urls.parse,
    ):
        with suppress(ImageToolError):
            parse(text)  # type: ignore[operator]


@MANY
@given(st.text("{}. |()\"'`$:=,%<>abcifrangeldtws01-*/\\\n", max_size=40), JSON)
def test_templates(text: str, value: Any) -> None:
    with suppress(ImageToolError):
        gotemplate.Template(text).render(value)


ARGUMENTS = st.sampled_from(
    [
        ".",
        ".a",
        ".b",
        "$",
        "nil",
        "true",
        '"a"',
        '"%9d%c%x%q%f"',
        "0",
        "-1",
        "7",
        "1.5",
        "99999999999",
        "9e300",
    ]
)
CALLS = st.builds(
    lambda name, arguments: " ".join((name, *arguments)),
    st.sampled_from(sorted(functions.FUNCTIONS)),
    st.lists(ARGUMENTS | ARGUMENTS.map(lambda text: f"(index . {text})"), max_size=3),
)
BLOCKS = st.sampled_from(
    ["%s", "{{range %s}}{{.}}{{else}}-{{end}}", "{{with %s}}{{json .}}{{end}}", "{{if %s}}y{{end}}"]
)


@MANY
@given(BLOCKS, st.lists(CALLS | ARGUMENTS, min_size=1, max_size=3).map(" | ".join), JSON)
def test_calls_in_templates(block: str, pipeline: str, value: Any) -> None:
    text = block % pipeline if "{{" in block else "{{" + pipeline + "}}"
    with suppress(ImageToolError):
        gotemplate.Template(text).render({"a": value, "b": [value], "c": {"d": value}}).encode()


@MANY
@given(
    st.text(max_size=80),
    st.text("bytes 0123456789-/*", max_size=30),
    st.text('<>;rel="next", /?&=ab', max_size=60),
)
def test_headers(text: str, span: str, links: str) -> None:
    with suppress(ImageToolError):
        challenge.choose(challenge.parse([text]))
    with suppress(ImageToolError):
        repository.range_start(span, Descriptor("x", digest.parse(DIGEST), 10), "blob")
    urls.next_page(links)
    with suppress(ImageToolError):
        urls.parse("http://a.example/x").join(links)


@MANY
@given(st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()))
def test_answers_of_token_servers(body: bytes) -> None:
    with suppress(ImageToolError):
        auth.parse_token(body, 0.0, "registry.example")


@MANY
@given(st.text(max_size=40), st.text(max_size=40))
def test_proxies(proxy: str, no_proxy: str) -> None:
    with suppress(ImageToolError):
        proxies.choose(
            {"HTTPS_PROXY": proxy, "no_proxy": no_proxy}, urls.parse("https://registry.example/").origin
        )


def on_disk(name: str, data: bytes, read: Callable[[str], object]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, name)
        Path(path).write_bytes(data)
        with suppress(ImageToolError):
            read(path)


AUTH = {"auths": {"r.example": {"auth": "dTpw", "identitytoken": ""}}, "credHelpers": {}, "credsStore": ""}
CONF = b"""unqualified-search-registries = ["a"]
[[registry]]
prefix = "docker.io"
location = "a.example/b"
insecure = false
[[registry.mirror]]
location = "m.example"
pull-from-mirror = "all"
[aliases]
"x" = "docker.io/library/x"
"""


@MANY
@given(st.lists(st.integers(0, 9), min_size=1, max_size=4), JSON)
def test_files_of_credentials(path: list[int], value: Any) -> None:
    def read(file: str) -> None:
        ring = credentials.Keyring({"REGISTRY_AUTH_FILE": file})
        with suppress(ImageToolError):
            ring.find("r.example", "some/image")

    on_disk("auth.json", json.dumps(replaced(AUTH, path, value)).encode(), read)


@MANY
@given(EDITS)
def test_registries_conf(edits: list[tuple[int, bytes]]) -> None:
    def read(file: str) -> None:
        found = config.load({"CONTAINERS_REGISTRIES_CONF": file})
        for name in ("x", "debian", "a.example/b/c:1"):
            found.endpoints(found.parse(name))

    on_disk("registries.conf", edited(CONF, edits), read)


STREAMS = [
    compress(layer_tar({"a": b"x" * 5000, "b": os.urandom(500)}), kind) for kind in ("gzip", "zstd", "none")
]


@MANY
@given(st.sampled_from(STREAMS), EDITS, st.integers(1, 700))
def test_compressed_streams(stream: bytes, edits: list[tuple[int, bytes]], step: int) -> None:
    data = edited(stream, edits)
    came: list[bytes] = []
    source = compression.Sniffer(came.append)
    with suppress(ImageToolError):
        for at in range(0, len(data), step):
            source.feed(data[at : at + step])
        source.finish()
    assert sum(map(len, came)) < 1 << 20


SAVED = tar_of({"manifest.json": b"[]", "a/layer.tar": b"x" * 700, "b/layer.tar": "../a/layer.tar"})[:4096]


@MANY
@given(EDITS, st.integers(1, 3000))
def test_members_of_archives(edits: list[tuple[int, bytes]], step: int) -> None:
    data = edited(SAVED, edits)
    members = Members(iter([data[at : at + step] for at in range(0, len(data), step)]), "archive")
    with suppress(ImageToolError):
        for found in members:
            assert ".." not in found.path.split("/")
            for piece in members.body():
                assert piece


@MANY
@given(st.text(max_size=30))
def test_retry_after(text: str) -> None:
    seconds = retry.parse_retry_after(text, 0.0)
    assert seconds is None or seconds >= 0
