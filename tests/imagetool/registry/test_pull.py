"""Pulls from a real docker-registry that skopeo filled: forms of images, what is shown, what is fetched."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from imagetool.errors import Malformed, NotFound, RegistryError, Unauthorized
from imagetool.registry.config import Mirror, Registries, Rule
from imagetool.registry.credentials import Credentials, Keyring
from imagetool.registry.errors import Missing, TransportError
from imagetool.registry.login import login, logout
from imagetool.registry.tls import Certificates
from imagetool.spec import Platform
from imagetool.store.check import check
from tests.imagetool.registry.conftest import World
from tests.support.hostile import Exchange, Hostile
from tests.support.oci import Layout, digest, dump, layer_tar
from tests.support.registry import Server, fill, skopeo

ONE = {"etc/one": b"1" * 3000}
TWO = {"etc/two": os.urandom(3 << 20)}


def layer(world: World, number: int = 0, name: str = "") -> bytes:
    """The uncompressed tar of a layer of the image that was pulled."""
    target = world.store.resolve(name or next(iter(world.names())))
    diff_id = world.store.image(target).config.diff_ids[number]
    return (Path(world.store.layer_dir(diff_id)) / "layer.tar").read_bytes()


@pytest.mark.parametrize("kind", ["gzip", "zstd", "none"])
def test_each_compression(world: World, layout: Layout, plain: Server, kind: str) -> None:
    layout.tag("x", layout.image([ONE, TWO], kind=kind))
    name = f"{plain.host}/compression-{kind}:x"
    fill(plain, layout.root, "x", f"compression-{kind}:x")
    pulled = world.pull(name)
    assert pulled.changed
    assert layer(world, 0) == layer_tar(ONE)
    assert layer(world, 1) == layer_tar(TWO)
    assert world.names() == {name, f"{plain.host}/compression-{kind}@{pulled.target.digest}"}
    skopeo("inspect", f"oci:{world.store.root}:{name}")


def test_docker_schema_2(world: World, layout: Layout, plain: Server) -> None:
    layout.tag("x", layout.image([ONE]))
    fill(plain, layout.root, "x", "schema2:x", "--format=v2s2")
    target = world.pull(f"{plain.host}/schema2:x").target
    assert target.media_type == "application/vnd.docker.distribution.manifest.v2+json"
    assert layer(world) == layer_tar(ONE)


def test_lines_and_a_second_pull(world: World, layout: Layout, plain: Server) -> None:
    layout.tag("x", layout.image([ONE]))
    fill(plain, layout.root, "x", "lines:x")
    pulled = world.pull(f"{plain.host}/lines:x")
    short = world.store.image(pulled.target).manifest.layers[0].digest[7:19]
    assert world.lines == [
        "x: Pulling from lines",
        f"{short}: Pulling fs layer",
        f"{short}: Download complete",
        f"{short}: Pull complete",
        f"Digest: {pulled.target.digest}",
        f"Status: Downloaded newer image for {plain.host}/lines:x",
    ]
    assert not world.pull(f"{plain.host}/lines:x").changed
    assert world.lines == [
        "x: Pulling from lines",
        f"{short}: Already exists",
        f"Digest: {pulled.target.digest}",
        f"Status: Image is up to date for {plain.host}/lines:x",
    ]


def test_by_digest(world: World, layout: Layout, plain: Server) -> None:
    layout.tag("x", layout.image([ONE]))
    fill(plain, layout.root, "x", "by-digest:x")
    wanted = world.pull(f"{plain.host}/by-digest:x").target.digest
    (world.folder / "other").mkdir()
    other = World(world.folder / "other")
    other.pull(f"{plain.host}/by-digest@{wanted}")
    assert other.names() == {f"{plain.host}/by-digest@{wanted}"}
    assert other.lines[-1].endswith(f"by-digest@{wanted}")


def test_platforms(world: World, layout: Layout, plain: Server) -> None:
    amd, arm = layout.image([ONE]), layout.image([TWO], architecture="arm64")
    layout.tag("x", layout.index(amd, arm))
    name = f"{plain.host}/platforms:x"
    fill(plain, layout.root, "x", "platforms:x")
    assert world.pull(name, platform=Platform.parse("linux/arm64")).manifest.digest == arm["digest"]  # type: ignore[union-attr]
    assert not world.store.has_blob(
        world.store.find(name)[1]._replace(digest=amd["digest"], size=amd["size"])
    )
    with pytest.raises(NotFound, match="linux/s390x"):
        world.pull(name, platform=Platform.parse("linux/s390x"))
    world.pull(name, all_platforms=True)
    for platform, expected in (("linux/amd64", amd), ("linux/arm64", arm)):
        assert world.store.resolve(name, Platform.parse(platform)).digest == expected["digest"]


def test_a_single_image_for_another_platform_is_refused_if_one_was_named(
    world: World, layout: Layout, plain: Server
) -> None:
    layout.tag("x", layout.image([ONE], architecture="arm64"))
    fill(plain, layout.root, "x", "single:x")
    with pytest.raises(RegistryError, match="is for linux/arm64, not for linux/amd64"):
        world.pull(f"{plain.host}/single:x", platform=Platform.parse("linux/amd64"))


def test_shared_layers_are_fetched_once(world: World, layout: Layout, plain: Server) -> None:
    layout.tag("a", layout.image([ONE, TWO]))
    layout.tag("b", layout.image([ONE, TWO, {"c": b"3"}]))
    for tag in "ab":
        fill(plain, layout.root, tag, f"shared:{tag}")
    world.pull(f"{plain.host}/shared:a")
    world.pull(f"{plain.host}/shared:b")
    assert [line.split(": ")[1] for line in world.lines[1:4]] == [
        "Already exists",
        "Already exists",
        "Pulling fs layer",
    ]


def test_a_lost_layer_is_rebuilt_from_its_blob(world: World, layout: Layout, plain: Server) -> None:
    layout.tag("x", layout.image([ONE]))
    fill(plain, layout.root, "x", "lost:x")
    world.pull(f"{plain.host}/lost:x")
    (Path(world.store.layer_dir(digest(layer_tar(ONE)))) / "layer.tar").unlink()  # type: ignore[arg-type]
    world.pull(f"{plain.host}/lost:x")
    assert layer(world) == layer_tar(ONE)


def test_missing(world: World, plain: Server) -> None:
    with pytest.raises(Missing, match=rf"{plain.host}/nothing:here: manifest unknown"):
        world.pull(f"{plain.host}/nothing:here")
    assert world.names() == set()


def test_nobody_there(world: World) -> None:
    with pytest.raises(TransportError, match=r"cannot connect to 127\.0\.0\.1:1: Connection refused"):
        world.pull("127.0.0.1:1/x")


def test_an_artifact_is_no_image(world: World, layout: Layout, plain: Server) -> None:
    kind = "application/vnd.oci.image.manifest.v1+json"
    empty = layout.blob(b"{}", "application/vnd.oci.empty.v1+json")
    body = {"schemaVersion": 2, "mediaType": kind, "config": empty, "layers": [empty]}
    layout.tag("x", layout.blob(dump(body), kind))
    fill(plain, layout.root, "x", "artifact:x")
    with pytest.raises(Malformed, match="artifact is an artifact, not an image"):
        world.pull(f"{plain.host}/artifact:x")


def test_basic_authentication(world: World, layout: Layout, empty: Callable[..., Any]) -> None:
    layout.tag("x", layout.image([ONE]))
    with empty(login=("alice", "correct horse")) as server:
        fill(server, layout.root, "x", "private:x")
        name = f"{server.host}/private:x"
        keyring = Keyring(world.environ)
        with pytest.raises(Unauthorized, match=f"imagetool login {server.host}"):
            world.pull(name)

        def try_login(password: str) -> str:
            who = Credentials("alice", password)
            return world.run(lambda r: login(r.client, keyring, r.registries, server.host, who))

        with pytest.raises(Unauthorized, match="incorrect username or password") as error:
            try_login("wrong battery")
        assert "wrong battery" not in str(error.value)
        assert try_login("correct horse").endswith("config.json")
        assert world.pull(name).changed
        assert logout(keyring, server.host) == (True, False)
        with pytest.raises(Unauthorized):
            world.pull(name)


def test_tls(
    world: World, layout: Layout, empty: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    layout.tag("x", layout.image([ONE]))
    with empty(tls=True) as server:
        fill(server, layout.root, "x", "tls:x")
        name = f"{server.host}/tls:x"
        with pytest.raises(TransportError, match=rf"certificate of {server.host} is not trusted") as error:
            world.pull(name)
        assert f"certs.d/{server.host}" in str(error.value)

        folder = world.folder / "certs.d" / server.host
        folder.mkdir(parents=True)
        (folder / "ca.crt").write_bytes(server.ca.read_bytes())
        world.certificates = Certificates((str(world.folder / "certs.d"),), world.environ)
        assert world.pull(name).changed

        world.certificates = Certificates((), {"REQUESTS_CA_BUNDLE": str(server.ca)})
        assert not world.pull(name).changed
        monkeypatch.setenv("SSL_CERT_FILE", str(server.ca))
        world.certificates = Certificates((), os.environ)
        assert not world.pull(name).changed


def test_tls_without_a_known_authority_only_if_told(
    world: World, layout: Layout, empty: Callable[..., Any]
) -> None:
    layout.tag("x", layout.image([ONE]))
    with empty(tls=True) as server:
        fill(server, layout.root, "x", "tls:x")
        world.registries = Registries((Rule(server.host, server.host, insecure=True),))
        assert world.pull(f"{server.host}/tls:x").changed


def test_client_certificate(world: World, layout: Layout, empty: Callable[..., Any], tmp_path: Path) -> None:
    import trustme

    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "clients.pem")
    me = authority.issue_cert("me@example.org")
    layout.tag("x", layout.image([ONE]))
    from tests.support import registry as registries

    folder = tmp_path / "registry"
    folder.mkdir()
    ca, certificate, key = registries.make_certificate(folder)
    tls = {"certificate": str(certificate), "key": str(key), "clientcas": [str(tmp_path / "clients.pem")]}
    certs = tmp_path / "certs.d"
    with empty(extra={"tls": tls}, wait_tls=True) as server:
        place = certs / server.host
        place.mkdir(parents=True)
        (place / "ca.crt").write_bytes(ca.read_bytes())
        world.certificates = Certificates((str(certs),), world.environ)
        with pytest.raises(TransportError):
            world.pull(f"{server.host}/x")
        me.cert_chain_pems[0].write_to_path(place / "client.cert")
        me.private_key_pem.write_to_path(place / "client.key")
        world.certificates = Certificates((str(certs),), world.environ)
        with pytest.raises(Missing):
            world.pull(f"{server.host}/x")


def test_mirror_first_and_the_registry_if_it_fails(world: World, layout: Layout, plain: Server) -> None:
    layout.tag("x", layout.image([ONE]))
    fill(plain, layout.root, "x", "mirrored/app:x")
    mirrors = (Mirror("127.0.0.1:1/dead"), Mirror(f"{plain.host}/mirrored"))
    world.registries = Registries((Rule("registry.invalid/team", "registry.invalid/team", mirrors=mirrors),))
    world.pull("registry.invalid/team/app:x")
    assert "registry.invalid/team/app:x" in world.names()


def test_eight_pulls_at_once_share(world: World, layout: Layout, plain: Server) -> None:
    layers = [{f"f{number}": os.urandom(200_000)} for number in range(6)]
    for number in range(4):
        layout.tag(f"t{number}", layout.image(layers[number : number + 3]))
        fill(plain, layout.root, f"t{number}", f"parallel:t{number}")
    others = [world, *(World.__new__(World) for _ in range(7))]
    errors: list[BaseException] = []
    for other in others[1:]:
        other.__dict__.update(world.__dict__)

    def go(number: int) -> None:
        try:
            others[number].pull(f"{plain.host}/parallel:t{number % 4}")
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=go, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not errors
    for number in range(4):
        assert layer(world, 2, f"{plain.host}/parallel:t{number}") == layer_tar(layers[number + 2])
    assert os.listdir(f"{world.store.root}/partial") == []


def test_what_is_known_is_asked_for_with_head(world: World, bad: Hostile, layout: Layout) -> None:
    """Docker Hub counts a GET of a manifest as a pull, and a HEAD as nothing."""
    first, second = layout.image([ONE]), layout.image([TWO])
    bad.load(layout)
    bad.tag("x", first)
    world.pull(f"{bad.host}/app:x")
    bad.seen.clear()
    assert not world.pull(f"{bad.host}/app:x").changed
    assert [seen.method for seen in bad.seen if "manifests" in seen.path] == ["HEAD"]
    bad.tag("x", second)
    assert world.pull(f"{bad.host}/app:x").target.digest == second["digest"]


def test_an_interrupted_pull_keeps_what_came(world: World, bad: Hostile, layout: Layout) -> None:
    """Ctrl-C: a KeyboardInterrupt and not a group, the claim given up, the bytes kept."""
    image = layout.image([TWO])
    bad.load(layout)
    bad.tag("x", image)
    wanted, data = max(bad.blobs.items(), key=lambda row: len(row[1]))

    def fault(exchange: Exchange) -> bool:
        if not exchange.path.endswith(wanted):
            return False
        exchange.send_response(200)
        exchange.send_header("Content-Length", str(len(data)))
        exchange.end_headers()
        exchange.wfile.write(data[:2_500_000])
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)
        exchange.cut()
        return True

    bad.fault = fault
    world.timeouts = world.timeouts._replace(stall=5)
    with pytest.raises(KeyboardInterrupt):
        world.pull(f"{bad.host}/app:x")
    bad.fault = lambda exchange: False
    bad.seen.clear()
    world.pull(f"{bad.host}/app:x")
    offset = int(bad.asked("GET", wanted)[0].headers["range"][6:-1])
    assert 0 < offset <= 2_500_000


def test_an_unknown_host_is_not_tried_again(world: World) -> None:
    with pytest.raises(TransportError, match=r"cannot connect to registry\.invalid"):
        world.pull("registry.invalid/app:x")


def test_attestations_come_along_with_all_platforms(
    world: World, layout: Layout, plain: Server, empty: Callable[..., Any]
) -> None:
    """BuildKit puts them into the index as manifests for unknown/unknown, with layers that are no tars."""
    image = layout.image([ONE])
    statement = layout.blob(b'{"_type": "statement"}', "application/vnd.in-toto+json")
    rootfs = {"type": "layers", "diff_ids": [statement["digest"]]}
    config = dump({"os": "unknown", "architecture": "unknown", "config": {}, "rootfs": rootfs})
    kind = "application/vnd.oci.image.manifest.v1+json"
    config_blob = layout.blob(config, "application/vnd.oci.image.config.v1+json")
    body = {"schemaVersion": 2, "mediaType": kind, "config": config_blob, "layers": [statement]}
    attestation = {**layout.blob(dump(body), kind), "platform": {"os": "unknown", "architecture": "unknown"}}
    index = layout.index(image, attestation)
    layout.tag("x", index)
    fill(plain, layout.root, "x", "attested:x")
    assert world.pull(f"{plain.host}/attested:x").manifest.digest == image["digest"]  # type: ignore[union-attr]
    world.pull(f"{plain.host}/attested:x", all_platforms=True)
    assert list(check(world.store)) == []
    with empty() as server:
        world.store.tag(f"{plain.host}/attested:x", f"{server.host}/attested:x")
        assert world.push(f"{server.host}/attested:x", all_platforms=True).digest == index["digest"]


def test_a_mirror_that_lacks_a_layer_is_left_for_the_next_place(
    world: World, layout: Layout, plain: Server, bad: Hostile
) -> None:
    """The mirror has the manifest and one of the layers; the registry brings what it lacks, and no more."""
    descriptor = layout.image([ONE, {"b": b"2" * 3000}])
    layout.tag("x", descriptor)
    fill(plain, layout.root, "x", "behind/app:x")
    bad.load(layout)
    bad.tag("x", descriptor)
    manifest = json.loads((layout.root / "blobs/sha256" / descriptor["digest"][7:]).read_bytes())
    lost = manifest["layers"][1]["digest"]
    bad.fault = lambda exchange: lost in exchange.path and exchange.answer(404)
    rule = Rule("registry.invalid/team", f"{plain.host}/behind", mirrors=(Mirror(f"{bad.host}/team"),))
    world.registries = Registries((rule,))
    assert world.pull("registry.invalid/team/app:x").target.digest == descriptor["digest"]
    assert any(lost in seen.path for seen in bad.seen)
