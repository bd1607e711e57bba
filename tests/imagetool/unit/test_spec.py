"""Documents of an image: strict reading, canonical writing, nothing lost in between."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagetool import digest as digests
from imagetool import mediatypes
from imagetool.errors import ImageToolError, LimitExceeded, Malformed, NotFound, UsageError
from imagetool.spec import Config, Descriptor, Index, Manifest, Platform, parse_document

D = digests.of(b"x")


def descriptor(media_type: str = mediatypes.OCI_LAYER_GZIP, **more: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": D, "size": 5, **more}


def manifest(**more: Any) -> dict[str, Any]:
    config = descriptor(mediatypes.OCI_CONFIG)
    return {"schemaVersion": 2, "mediaType": mediatypes.OCI_MANIFEST, "config": config, "layers": []} | more


def index(*children: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"schemaVersion": 2, "mediaType": mediatypes.OCI_INDEX, "manifests": list(children)} | more


def data(document: Any) -> bytes:
    return json.dumps(document).encode()


def test_unknown_fields_are_kept() -> None:
    document = manifest(layers=[descriptor(future={"a": [1]})], artifactType="x/y", annotations={"k": "v"})
    read = Manifest.parse(data(document))
    assert read.layers[0].extra == {"future": {"a": [1]}}
    assert json.loads(read.render()) == document
    assert Manifest.parse(read.render()) == read


def test_rendering_does_not_depend_on_the_order_of_fields() -> None:
    document = manifest(z=1, a=2)
    assert (
        Manifest.parse(data(document)).render()
        == Manifest.parse(data(dict(reversed(document.items())))).render()
    )


@pytest.mark.parametrize(
    "change",
    [
        {"manifests": []},
        {"schemaVersion": 1},
        {"schemaVersion": "2"},
        {"schemaVersion": True},
        {"layers": None},
        {"layers": {}},
        {"layers": [5]},
        {"config": None},
        {"config": descriptor(size=-1)},
        {"config": descriptor(size=True)},
        {"config": descriptor(size=2**63)},
        {"config": descriptor(size="5")},
        {"config": {"digest": D, "size": 5}},
        {"config": descriptor(digest="sha256:../../etc/passwd")},
        {"config": descriptor(annotations={"a": 1})},
        {"config": descriptor(urls="http://x")},
        {"mediaType": mediatypes.OCI_INDEX},
        {"annotations": [1]},
        {"layers": [descriptor()] * 10_001},
    ],
)
def test_a_manifest_that_breaks_the_specification_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        Manifest.parse(data(manifest(**change)))


@pytest.mark.parametrize("change", [{"layers": []}, {"config": descriptor()}, {"manifests": None}])
def test_an_index_that_could_be_read_as_a_manifest_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        Index.parse(data(index(**change)))


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"{",
        b'{"a":1,"a":2}',
        b'{"a":NaN}',
        b'{"a":-Infinity}',
        b'{"a":1e999}',
        b"\xff{}",
        b"[" * 100_000,
        b'{"a":' * 70 + b"1" + b"}" * 70,
    ],
)
def test_bad_json_is_refused(text: bytes) -> None:
    with pytest.raises(Malformed):
        parse_document(text)


def test_a_document_must_be_what_it_was_announced_as() -> None:
    assert isinstance(parse_document(data(manifest()), mediatypes.OCI_MANIFEST), Manifest)
    assert isinstance(parse_document(data(index())), Index)
    for announced in (mediatypes.DOCKER_MANIFEST, mediatypes.OCI_INDEX, "text/html"):
        with pytest.raises(Malformed):
            parse_document(data(manifest()), announced)
    untyped = {key: value for key, value in manifest().items() if key != "mediaType"}
    assert parse_document(data(untyped), mediatypes.DOCKER_MANIFEST).media_type == mediatypes.DOCKER_MANIFEST
    with pytest.raises(Malformed, match="schema 1"):
        parse_document(data({"schemaVersion": 1}))
    with pytest.raises(LimitExceeded):
        parse_document(b" " * (4 << 20) + b"{}x")


def child(platform: str | None, number: int) -> dict[str, Any]:
    named = None if platform is None else Platform.parse(platform).to_json()
    digest = digests.of(b"%d" % number)
    return {"mediaType": mediatypes.OCI_MANIFEST, "digest": digest, "size": 1, "platform": named}


@pytest.mark.parametrize(
    ("there", "wanted", "chosen"),
    [
        (["linux/amd64", "linux/arm64"], "linux/arm64", 1),
        (["linux/amd64", "linux/arm64/v8"], "arm64", 1),
        (["linux/arm/v5", "linux/arm/v6", "linux/arm/v7"], "linux/arm/v6", 1),
        (["linux/arm/v5", "linux/arm/v6"], "linux/arm", 1),
        (["linux/amd64", "linux/amd64/v3"], "linux/amd64", 0),
        (["linux/amd64", "linux/amd64/v2"], "linux/amd64/v3", 1),
        ([None, "linux/amd64"], "linux/amd64", 1),
        ([None], "linux/amd64", 0),
        (["windows/amd64", "linux/386"], "i386", 1),
        (["linux/s390x", "linux/386"], "linux/amd64", 1),
        (["linux/386", "linux/amd64"], "linux/amd64", 1),
        (["linux/arm/v5", "linux/arm/v7", "linux/arm/v6"], "linux/arm64", 1),
        (["linux/arm/v7", "linux/arm64/v8"], "linux/arm64", 1),
        ([None, "linux/386"], "linux/amd64", 1),
    ],
)
def test_the_platform_is_picked_from_an_index(there: list[str | None], wanted: str, chosen: int) -> None:
    children = [child(platform, number) for number, platform in enumerate(there)]
    found = Index.parse(data(index(*children))).select(Platform.parse(wanted))
    assert found.digest == digests.of(b"%d" % chosen)


def test_a_platform_that_is_not_there_names_those_that_are() -> None:
    children = [child("linux/amd64", 1), child("linux/arm/v7", 2), child("unknown/unknown", 3)]
    with pytest.raises(NotFound, match=r"there are: linux/amd64, linux/arm/v7\)"):
        Index.parse(data(index(*children))).select(Platform.parse("linux/s390x"))


@pytest.mark.parametrize("text", ["", "/", "a/b/c/d", "linux//v7", "linux/ä"])
def test_a_bad_platform_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        Platform.parse(text)


def config(**more: Any) -> dict[str, Any]:
    return {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [D]}} | more


def test_a_config_of_docker_is_read_whole() -> None:
    run: dict[str, Any] = {
        "Hostname": "x",
        "Cmd": ["bash"],
        "Entrypoint": None,
        "Env": ["A=b"],
        "Labels": None,
        "Volumes": {"/v": {}},
        "ExposedPorts": {"80/tcp": {}},
        "Healthcheck": {"Test": ["NONE"]},
    }
    document = config(
        config=run, container_config={"a": 1}, history=[{"created_by": "x", "empty_layer": True, "n": 1}]
    )
    read = Config.parse(data(document))
    assert (read.run.cmd, read.run.entrypoint, read.run.volumes) == (("bash",), None, ("/v",))
    assert read.run.extra == {"Hostname": "x"}
    assert read.extra == {"container_config": {"a": 1}}
    assert read.history[0].extra == {"n": 1}
    assert Config.parse(read.render()) == read


def test_an_empty_command_is_not_a_missing_one() -> None:
    read = Config.parse(data(config(config={"Cmd": [], "Entrypoint": ["/a"]})))
    assert read.run.cmd == ()
    assert Config.parse(read.render()).run.cmd == ()
    assert Config.parse(data(config())).run.cmd is None


@pytest.mark.parametrize(
    "change",
    [
        {"rootfs": None},
        {"rootfs": {"type": "zfs", "diff_ids": []}},
        {"rootfs": {"type": "layers", "diff_ids": ["x"]}},
        {"rootfs": {"type": "layers", "diff_ids": [None]}},
        {"config": {"Env": [1]}},
        {"config": {"Labels": {"a": 1}}},
        {"config": "x"},
        {"history": [1]},
        {"created": 5},
    ],
)
def test_a_config_that_breaks_the_specification_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        Config.parse(data(config(**change)))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
NAMES = [
    "schemaVersion",
    "mediaType",
    "config",
    "layers",
    "manifests",
    "annotations",
    "digest",
    "size",
    "rootfs",
]
documents = st.dictionaries(
    st.sampled_from(NAMES) | st.text(max_size=3), json_values | st.just(2), max_size=6
)


@given(documents)
def test_no_document_does_anything_but_parse_or_be_refused(document: dict[str, Any]) -> None:
    for change in (document, manifest() | document, index() | document, config() | document):
        for parse in (parse_document, Config.parse):
            try:
                read = parse(data(change))
            except ImageToolError:
                continue
            assert type(read).parse(read.render()) == read


def test_half_a_surrogate_pair_survives() -> None:
    text = data(manifest()).replace(b'"layers"', b'"x":"\\ud800","layers"')
    read = Manifest.parse(text)
    assert Manifest.parse(read.render()) == read


def test_descriptor_of_a_foreign_layer() -> None:
    read = Descriptor.from_json(descriptor(mediatypes.DOCKER_FOREIGN_GZIP, urls=["https://x/y"]))
    assert read.media_type in mediatypes.FOREIGN
    assert read.urls == ("https://x/y",)
