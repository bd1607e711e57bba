"""Images go out and come back: archives and layout directories; skopeo, umoci and podman are the other side."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import zstandard

from imagetool.archive.load import Loaded, load, load_directory
from imagetool.archive.rootimport import import_root, publish_draft
from imagetool.archive.save import Wanted, save_directory, save_docker, save_oci
from imagetool.errors import Damaged, ImageToolError, InvalidReference, Malformed, NotFound
from imagetool.spec import History, Platform
from imagetool.store import gc
from imagetool.store.check import check
from imagetool.store.store import Store
from tests.imagetool.archive.kit import gnu_tar, run, unpacked, without_links
from tests.imagetool.store.kit import Made, bring, from_tar, image, layer
from tests.support.notation import Tree, directory, file, hardlink, symlink
from tests.support.oci import tar_of
from tests.support.snapshot import differences, snapshot
from tests.support.write import to_directory

NAME = "docker.io/library/demo:1.0"
FILES = [
    layer({"bin/sh": b"shell", "etc/passwd": b"root"}, "gzip"),
    layer({"app": os.urandom(100_000)}, "zstd"),
    layer({"data": b"y"}, "none"),
]


@pytest.fixture
def stores(tmp_path: Path) -> tuple[Store, Store]:
    return Store.open(str(tmp_path / "one")), Store.open(str(tmp_path / "two"))


def saved(save: Callable[..., None], store: Store, target: Made, *names: str) -> bytes:
    out = io.BytesIO()
    save(store, [Wanted(target.target, names)], out.write)
    return out.getvalue()


def loaded(store: Store, data: bytes) -> list[Loaded]:
    result = load(store, io.BytesIO(data).read, "archive")
    assert list(check(store)) == []
    return result


@pytest.mark.parametrize("save", [save_docker, save_oci])
@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress, zstandard.compress])
def test_saved_images_load_again(
    stores: tuple[Store, Store], save: Callable[..., None], pack: Callable[[bytes], bytes]
) -> None:
    one, two = stores
    made = bring(one, image(*FILES), NAME)
    data = saved(save, one, made, NAME, "docker.io/user/app:2")
    assert saved(save, one, made, NAME, "docker.io/user/app:2") == data
    (back,) = loaded(two, pack(data))
    assert back.names == (NAME, "docker.io/user/app:2")
    assert back.image_id == made.rendered.image_id
    assert save is save_docker or back.target == made.target
    assert two.resolve("user/app:2") == back.target


def test_many_images_in_one_archive_share_their_layers(stores: tuple[Store, Store]) -> None:
    one, two = stores
    images = [bring(one, image(*FILES[: number + 1]), f"docker.io/library/a:{number}") for number in range(3)]
    out = io.BytesIO()
    save_docker(
        one,
        [Wanted(each.target, (f"docker.io/library/a:{number}",)) for number, each in enumerate(images)],
        out.write,
    )
    with tarfile.open(fileobj=io.BytesIO(out.getvalue())) as tar:
        names = tar.getnames()
    assert len(names) == len(set(names))
    assert [each.image_id for each in loaded(two, out.getvalue())] == [
        each.rendered.image_id for each in images
    ]


@pytest.mark.parametrize("how", ["docker-archive", "oci-archive"])
def test_skopeo_reads_what_we_save(stores: tuple[Store, Store], tmp_path: Path, how: str) -> None:
    made = bring(stores[0], image(*FILES), NAME)
    for save in (save_docker, save_oci) if how == "oci-archive" else (save_docker,):
        (tmp_path / "a.tar").write_bytes(saved(save, stores[0], made, NAME))
        seen = json.loads(run("skopeo", "inspect", "--config", f"{how}:{tmp_path}/a.tar:{NAME}"))
        assert seen["rootfs"]["diff_ids"] == [each.diff_id for each in FILES]


@pytest.mark.parametrize("how", ["docker-archive", "oci-archive", "oci"])
def test_we_load_what_skopeo_writes(stores: tuple[Store, Store], tmp_path: Path, how: str) -> None:
    one, two = stores
    files = [FILES[0], FILES[2]] if how == "docker-archive" else FILES  # skopeo refuses zstd there
    made = bring(one, image(*files), NAME)
    run("skopeo", "copy", f"oci:{one.root}:{NAME}", f"{how}:{tmp_path}/out:example.com/app:v1")
    if how == "oci":
        (back,) = load_directory(two, str(tmp_path / "out"), "example.com/app:v1")
    else:
        (back,) = loaded(two, (tmp_path / "out").read_bytes())
        assert back.names == ("example.com/app:v1",)
    assert back.image_id == made.rendered.image_id
    assert list(check(two)) == []


def test_the_store_itself_is_read_by_skopeo_and_umoci(stores: tuple[Store, Store]) -> None:
    store = stores[0]
    made = bring(
        store,
        image(*FILES),
        NAME,
        f"docker.io/library/demo@{image(*FILES).target.digest}",
        "127.0.0.1:5000/a/b:c",
    )
    for ref in store.references():
        assert (
            json.loads(run("skopeo", "inspect", f"oci:{store.root}:{ref.name}"))["Digest"]
            == made.target.digest
        )
    assert run("umoci", "ls", "--layout", store.root).split() == [ref.name for ref in store.references()]


def test_podman_loads_what_we_save(stores: tuple[Store, Store], tmp_path: Path) -> None:
    """Podman wants a short path for its run root."""
    made = bring(stores[0], image(FILES[0], FILES[2]), NAME)
    (tmp_path / "a.tar").write_bytes(saved(save_docker, stores[0], made, NAME))
    with TemporaryDirectory(dir="/var/tmp") as place:
        podman = ("podman", "--root", f"{place}/p", "--runroot", f"{place}/r", "--storage-driver", "vfs")
        run(*podman, "load", "-i", tmp_path / "a.tar")
        assert run(*podman, "images", "--no-trunc", "-q").strip() == made.rendered.image_id


def test_a_layout_directory_grows_and_replaces(stores: tuple[Store, Store], tmp_path: Path) -> None:
    one, two = (bring(stores[0], image(each), NAME) for each in (FILES[0], FILES[1]))
    for made, tag in ((one, "a"), (two, "b"), (two, "a")):
        save_directory(stores[0], Wanted(made.target), str(tmp_path / "dir"), tag)
    assert sorted(run("umoci", "ls", "--layout", tmp_path / "dir").split()) == ["a", "b"]
    (back,) = load_directory(stores[1], str(tmp_path / "dir"), "a")
    assert back.target == two.target
    with pytest.raises(NotFound, match=r"there are: (b, a|a, b)"):
        load_directory(stores[1], str(tmp_path / "dir"), "c")


def test_an_image_unpacks_as_umoci_unpacks_it(stores: tuple[Store, Store], tmp_path: Path) -> None:
    low: Tree = {
        "a": file(b"a", 0o4755, uid=3, gid=4),
        "b": hardlink("a"),
        "d/x": b"x",
        "d/y": b"y",
        "o/old": b"old",
        "l": symlink("/nowhere/at/all"),
        "cap": file(
            b"c", xattrs={"security.capability": bytes.fromhex("0100000200200000000000000000000000000000")}
        ),
        "sticky": directory(0o1777),
    }
    high: Tree = {"d/.wh.x": b"", "o/.wh..wh..opq": b"", "o/new": b"new", "a": b"changed", "l": b"a file now"}
    layers = []
    for number, tree in enumerate((low, high)):
        source = to_directory(tmp_path / f"src{number}", tree)
        layers.append(from_tar(gnu_tar(source, tmp_path / f"{number}.tar").read_bytes()))
    made = bring(stores[0], image(*layers), NAME)
    run("umoci", "raw", "unpack", "--image", f"{stores[0].root}:{NAME}", tmp_path / "umoci")
    tars = stores[0].layer_tars(stores[0].image(made.target))
    ours = unpacked([Path(tar) for tar in tars], tmp_path / "ours")
    theirs = snapshot(tmp_path / "umoci", times=True)
    assert differences(without_links(theirs), without_links(ours)) == []


# --- import


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstandard.compress, bz2.compress, lzma.compress])
def test_a_root_tar_becomes_an_image(stores: tuple[Store, Store], pack: Callable[[bytes], bytes]) -> None:
    tar = gzip.decompress(FILES[0].blob)
    with stores[0].lease() as lease:
        read = io.BytesIO(pack(tar)).read
        draft = import_root(lease, read, "it", Platform("linux", "amd64"), History(comment="Imported from -"))
        rendered = publish_draft(lease, draft)
        stores[0].publish([NAME], rendered.target)
    assert stores[0].image(rendered.target).config.diff_ids == (FILES[0].diff_id,)
    assert list(check(stores[0])) == []


# --- what is wrong with an archive


MADE = image(FILES[2])
TAR = FILES[2].blob


def manifest(**change: object) -> bytes:
    return json.dumps(
        [{"Config": "c.json", "RepoTags": ["demo:1"], "Layers": ["l/layer.tar"]} | change]
    ).encode()


GOOD: dict[str, bytes | str] = {
    "manifest.json": manifest(),
    "c.json": MADE.rendered.config,
    "l/layer.tar": TAR,
}


def test_an_old_archive_with_links_between_layers(stores: tuple[Store, Store]) -> None:
    members: dict[str, bytes | str] = {
        **GOOD,
        "l/layer.tar": "../m/layer.tar",
        "m/layer.tar": TAR,
        "m/VERSION": b"1.0",
    }
    (back,) = loaded(stores[0], tar_of(members))
    assert back.names == ("docker.io/library/demo:1",)
    assert back.image_id == MADE.rendered.image_id


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"manifest.json": None}, Malformed),
        ({"manifest.json": b"{}"}, Malformed),
        ({"manifest.json": b"["}, Malformed),
        ({"manifest.json": b"[]"}, Malformed),
        ({"manifest.json": b"[5]"}, Malformed),
        ({"manifest.json": manifest(Layers=[])}, Malformed),
        ({"manifest.json": manifest(Layers=["gone"])}, NotFound),
        ({"manifest.json": manifest(Layers=["../../etc/passwd"])}, NotFound),
        ({"manifest.json": manifest(Config="gone")}, NotFound),
        ({"manifest.json": manifest(RepoTags=["BAD"])}, InvalidReference),
        ({"c.json": b"{}"}, Malformed),
        ({"l/layer.tar": FILES[0].blob}, Damaged),
        ({"l/layer.tar": "layer.tar"}, NotFound),
        ({"l/layer.tar": "/etc/passwd"}, NotFound),
        ({"l/layer.tar": "../../../etc/passwd"}, Malformed),
        ({"../evil": b"x"}, Malformed),
        ({"l/layer.tar": TAR[:700]}, Malformed),
    ],
)
def test_a_bad_archive_is_refused_and_leaves_nothing(
    stores: tuple[Store, Store], change: dict[str, bytes | str | None], error: type[ImageToolError]
) -> None:
    members = {name: content for name, content in {**GOOD, **change}.items() if content is not None}
    store = stores[0]
    with pytest.raises(error) as caught:
        load(store, io.BytesIO(tar_of(members)).read, "archive")
    assert "\n" not in str(caught.value)
    assert store.references() == []
    gc.collect(store.layout)
    assert os.listdir(f"{store.root}/blobs/sha256") == []


@pytest.mark.parametrize("cut", [0, 1, 511, 700, 1500, 5000])
def test_a_truncated_archive_is_refused(stores: tuple[Store, Store], cut: int) -> None:
    whole = tar_of(GOOD)
    for data in (whole[:cut], gzip.compress(whole)[: -cut or None] if cut else b""):
        with pytest.raises(ImageToolError):
            load(
                stores[0],
                io.BytesIO(data[: len(data) // 2] if len(data) == len(whole) else data).read,
                "archive",
            )
    assert stores[0].references() == []
