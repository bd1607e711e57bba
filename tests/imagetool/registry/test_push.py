"""Pushes to a real docker-registry, which skopeo then reads."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from imagetool import digest as digests
from imagetool.errors import NotFound
from imagetool.spec import Config, Descriptor, Manifest, Platform
from tests.imagetool.registry.conftest import World
from tests.support.oci import Layout, digest, layer_tar
from tests.support.registry import Server, fill, skopeo

ONE = {"etc/one": b"1" * 3000}
TWO = {"etc/two": os.urandom(3 << 20)}


def pulled(world: World, layout: Layout, server: Server, name: str, **options: Any) -> Descriptor:
    layout.tag("x", layout.image([ONE, TWO]))
    fill(server, layout.root, "x", name)
    return world.pull(f"{server.host}/{name}", **options).target


def raw(server: Server, name: str) -> bytes:
    login = [f"--creds={server.user}:{server.password}"] if server.user else []
    return skopeo("inspect", "--raw", "--tls-verify=false", *login, f"docker://{server.host}/{name}").encode()


def short(files: dict[str, bytes]) -> str:
    return digest(layer_tar(files))[7:19]


def test_to_an_empty_registry_byte_for_byte(
    world: World, layout: Layout, plain: Server, empty: Callable[..., Any], tmp_path: Path
) -> None:
    target = pulled(world, layout, plain, "push/source:1")
    with empty() as server:
        name = f"{server.host}/push/target:2"
        world.store.tag(f"{plain.host}/push/source:1", name)
        assert world.push(name).digest == target.digest
        assert set(world.lines[1:-1]) == {
            f"{short(ONE)}: Preparing",
            f"{short(TWO)}: Preparing",
            f"{short(ONE)}: Pushed",
            f"{short(TWO)}: Pushed",
        }
        assert world.lines[0] == f"The push refers to repository [{server.host}/push/target]"
        assert world.lines[-1] == f"2: digest: {target.digest} size: {target.size}"
        assert digest(raw(server, "push/target:2")) == target.digest
        skopeo("copy", "-q", "--src-tls-verify=false", f"docker://{name}", f"oci:{tmp_path}/copied:x")
        assert f"{server.host}/push/target@{target.digest}" in world.names()

        world.push(name)
        assert sorted(world.lines[3:-1]) == sorted(
            [f"{short(ONE)}: Layer already exists", f"{short(TWO)}: Layer already exists"]
        )
        assert world.lines[-1] == f"2: digest: {target.digest} size: {target.size}"


def test_mounted_from_a_repository_of_the_same_registry(world: World, layout: Layout, plain: Server) -> None:
    pulled(world, layout, plain, "mount/from:1")
    world.store.tag(f"{plain.host}/mount/from:1", f"{plain.host}/mount/to:1")
    world.push(f"{plain.host}/mount/to:1")
    assert f"{short(TWO)}: Mounted from mount/from" in world.lines


@pytest.mark.parametrize("chunk", [1 << 20, 3_000_000])
def test_in_chunks(
    world: World, layout: Layout, plain: Server, empty: Callable[..., Any], chunk: int
) -> None:
    target = pulled(world, layout, plain, "chunks:1")
    with empty() as server:
        world.store.tag(f"{plain.host}/chunks:1", f"{server.host}/chunks:1")
        world.push(f"{server.host}/chunks:1", chunk=chunk)
        assert digest(raw(server, "chunks:1")) == target.digest


def test_relative_locations(world: World, layout: Layout, plain: Server, empty: Callable[..., Any]) -> None:
    pulled(world, layout, plain, "relative:1")
    with empty(extra={"relativeurls": True}) as server:
        world.store.tag(f"{plain.host}/relative:1", f"{server.host}/relative:1")
        world.push(f"{server.host}/relative:1")
        world.store.tag(f"{plain.host}/relative:1", f"{server.host}/again:1")
        world.push(f"{server.host}/again:1", chunk=1 << 20)


def test_login_is_needed_and_used(
    world: World, layout: Layout, plain: Server, empty: Callable[..., Any]
) -> None:
    from imagetool.errors import Unauthorized
    from imagetool.registry.credentials import Credentials, Keyring

    target = pulled(world, layout, plain, "auth:1")
    with empty(login=("alice", "correct horse")) as server:
        name = f"{server.host}/auth:1"
        world.store.tag(f"{plain.host}/auth:1", name)
        with pytest.raises(Unauthorized):
            world.push(name)
        Keyring(world.environ).save(server.host, Credentials("alice", "correct horse"))
        world.push(name)
        assert digest(raw(server, "auth:1")) == target.digest


def test_one_platform_or_all(world: World, layout: Layout, plain: Server, empty: Callable[..., Any]) -> None:
    amd, arm = layout.image([ONE]), layout.image([TWO], architecture="arm64")
    index = layout.index(amd, arm)
    layout.tag("x", index)
    fill(plain, layout.root, "x", "platforms-pushed:x")
    source = f"{plain.host}/platforms-pushed:x"
    world.pull(source, platform=Platform.parse("linux/amd64"))
    with empty() as server:
        name = f"{server.host}/p:x"
        world.store.tag(source, name)
        with pytest.raises(NotFound, match="linux/arm64"):
            world.push(name, all_platforms=True)
        assert world.push(name, platform=Platform.parse("linux/amd64")).digest == amd["digest"]
        world.pull(source, all_platforms=True)
        world.store.tag(source, name)
        assert world.push(name, all_platforms=True).digest == index["digest"]
        assert json.loads(raw(server, "p:x"))["manifests"][1]["digest"] == arm["digest"]


def local(world: World, name: str) -> Descriptor:
    """An image that was made here: its layer lies uncompressed in the store."""
    with world.store.lease() as lease:
        with lease.new_layer() as ingest:
            ingest.feed(layer_tar(ONE))
            blob = ingest.finish()
        assert blob.diff_id is not None
        config = Config(Platform("linux", "amd64"), (blob.diff_id,)).render()
        kind = "application/vnd.oci.image.config.v1+json"
        config_blob = Descriptor(kind, lease.put(config), len(config))
        layer = Descriptor("application/vnd.oci.image.layer.v1.tar", blob.digest, blob.size)
        manifest = Manifest(config_blob, (layer,))
        data = manifest.render()
        target = Descriptor(manifest.media_type, lease.put(data), len(data))
        world.store.publish([name], target)
    return target


@pytest.mark.parametrize("compression", ["", "gzip", "zstd", "zstd:19"])
def test_what_was_made_here_is_compressed_once(
    world: World, empty: Callable[..., Any], compression: str
) -> None:
    with empty() as server:
        name = f"{server.host}/made:1"
        before = local(world, name)
        image_id = world.store.image(before).id
        pushed = world.push(name, compression=compression)
        image = world.store.image(world.store.resolve(name))
        assert image.target.digest == pushed.digest != before.digest
        assert image.id == image_id
        assert image.manifest.layers[0].media_type.endswith(compression.partition(":")[0] or "gzip")
        local(world, f"{server.host}/again:1")
        assert world.push(f"{server.host}/again:1", compression=compression).digest == pushed.digest
        assert world.push(name).digest == pushed.digest
        assert world.lines[2].endswith("Layer already exists")


def test_what_is_not_there(world: World) -> None:
    with pytest.raises(NotFound, match="An image does not exist locally with the tag: nothing"):
        world.push("nothing:1")


def test_a_damaged_blob_is_refused_by_the_registry(world: World, empty: Callable[..., Any]) -> None:
    from imagetool.errors import RegistryError

    with empty() as server:
        name = f"{server.host}/damaged:1"
        target = local(world, name)
        layer = world.store.image(target).manifest.layers[0]
        path = Path(world.store.root) / "blobs/sha256" / digests.encoded(layer.digest)
        path.chmod(0o644)
        path.write_bytes(b"\0" * layer.size)
        with pytest.raises(RegistryError, match=r"digest invalid|damaged|wrong content"):
            world.push(name, compression="none")
