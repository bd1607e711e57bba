"""Blobs and layers on their way in."""

import errno
import os
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from imagetool import digest as digests
from imagetool import mediatypes
from imagetool.errors import Damaged, ImageToolError, LimitExceeded, Malformed, NoSpace
from imagetool.spec import Descriptor
from imagetool.store import disk
from imagetool.store.ingest import GATHER
from imagetool.store.limits import Limits, require_space
from imagetool.store.store import Store
from tests.imagetool.store.kit import Layer, bring_layer, claimed, fill, from_tar, layer
from tests.support.oci import layer_tar
from unionfs.layers.tarball import open_tar_layer

BIG = {"a": os.urandom(3 << 20), "d/b": b"x" * 100_000}


def left_behind(store: Store) -> list[str]:
    """Every file below the directories that must be empty when nobody works."""
    return [
        str(path)
        for name in ("tmp", "partial")
        for path in Path(store.root, name).rglob("*")
        if not path.name.startswith("index")
    ]


@pytest.mark.parametrize("kind", ["gzip", "zstd", "none"])
@pytest.mark.parametrize("step", [1000, GATHER, 1 << 30])
def test_a_layer_is_brought_in_in_one_pass(store: Store, kind: str, step: int) -> None:
    made = layer(BIG, kind)
    with store.lease() as lease:
        assert not store.has_layer(made.descriptor, made.diff_id)
        bring_layer(store, lease, made, step)
        assert store.has_layer(made.descriptor, made.diff_id)
    tar = Path(store.layout.layer_tar(made.diff_id))
    assert tar.read_bytes() == layer_tar(BIG)
    assert Path(store.layout.blob(made.descriptor.digest)).read_bytes() == made.blob
    with open_tar_layer(str(tar)) as opened:
        assert opened.warning == ""
        assert opened.lookup(opened.root.handle, b"a") is not None
    if kind == "none":
        assert os.stat(store.layout.blob(made.descriptor.digest)).st_ino == tar.stat().st_ino
    assert left_behind(store) == []


def test_one_diff_id_in_two_compressions_is_one_layer(store: Store) -> None:
    with store.lease() as lease:
        for kind in ("gzip", "zstd", "none"):
            made = layer(BIG, kind)
            bring_layer(store, lease, made)
    assert len(os.listdir(f"{store.root}/layers/sha256")) == 1
    assert len(os.listdir(f"{store.root}/blobs/sha256")) == 3


@pytest.mark.parametrize("kind", ["gzip", "zstd", "none"])
@pytest.mark.parametrize("cut", [1, GATHER - 1, GATHER, GATHER + 1, 2 << 20])
def test_a_download_goes_on_where_it_was_cut(store: Store, kind: str, cut: int) -> None:
    made = layer(BIG, kind)
    with store.lease() as lease, claimed(lease, made) as ingest:
        ingest.feed(made.blob[:cut])
    with store.lease() as lease, claimed(lease, made) as ingest:
        assert ingest.offset == cut
        ingest.feed(made.blob[cut:])
        ingest.finish()
    assert store.has_layer(made.descriptor, made.diff_id)
    assert left_behind(store) == []


def test_a_download_that_was_complete_needs_no_bytes(store: Store) -> None:
    made = layer(BIG)
    with store.lease() as lease, claimed(lease, made) as ingest:
        ingest.feed(made.blob)
    with store.lease() as lease, claimed(lease, made) as ingest:
        assert ingest.offset == made.descriptor.size
        ingest.finish()


def test_a_server_without_ranges_starts_again(store: Store) -> None:
    made = layer(BIG)
    with store.lease() as lease, claimed(lease, made) as ingest:
        ingest.feed(made.blob[:5000])
    with store.lease() as lease, claimed(lease, made) as ingest:
        ingest.restart()
        ingest.feed(made.blob)
        ingest.finish()


def test_only_one_at_a_time_brings_in_a_blob(store: Store) -> None:
    made = layer(BIG)
    with store.lease() as one, store.lease() as two:
        first = one.claim(made.descriptor, made.diff_id)
        assert first is not None
        assert two.claim(made.descriptor, made.diff_id) is None
        assert one.claim(made.descriptor, made.diff_id) is None
        first.close()
        second = two.claim(made.descriptor, made.diff_id)
        assert second is not None
        second.discard()


def wrong(made: Layer, **changes: object) -> Descriptor:
    return made.descriptor._replace(**changes)  # type: ignore[arg-type]


HELLO = layer({"a": b"hello"})
OTHER = layer({"a": b"other"})
CUT = layer_tar(BIG)[: 1 << 20]


@pytest.mark.parametrize(
    ("descriptor", "diff_id", "blob", "error"),
    [
        (wrong(HELLO, size=HELLO.descriptor.size - 1), HELLO.diff_id, HELLO.blob, Damaged),
        (wrong(HELLO, size=HELLO.descriptor.size + 1), HELLO.diff_id, HELLO.blob, Damaged),
        (wrong(HELLO, digest=OTHER.descriptor.digest), HELLO.diff_id, HELLO.blob, Damaged),
        (HELLO.descriptor, OTHER.diff_id, HELLO.blob, Damaged),
        (from_tar(CUT).descriptor, from_tar(CUT).diff_id, from_tar(CUT).blob, Malformed),
        (
            from_tar(b"no tar" * 500).descriptor,
            from_tar(b"no tar" * 500).diff_id,
            from_tar(b"no tar" * 500).blob,
            Malformed,
        ),
    ],
)
def test_what_is_wrong_is_not_published_and_forgotten(
    store: Store, descriptor: Descriptor, diff_id: digests.Digest, blob: bytes, error: type[ImageToolError]
) -> None:
    with store.lease() as lease:
        ingest = lease.claim(descriptor, diff_id)
        assert ingest is not None
        with pytest.raises(error) as caught:
            fill(ingest, blob)
        assert "\n" not in str(caught.value)
        assert os.listdir(f"{store.root}/blobs/sha256") == []
        assert (
            not os.path.exists(f"{store.root}/layers/sha256")
            or os.listdir(f"{store.root}/layers/sha256") == []
        )
        assert left_behind(store) == []
        again = lease.claim(descriptor, diff_id)
        assert again is not None
        assert again.offset == 0
        again.discard()


def test_a_stored_part_that_was_damaged_is_forgotten(store: Store) -> None:
    made = layer(BIG)
    with store.lease() as lease:
        with claimed(lease, made) as ingest:
            ingest.feed(made.blob[: 1 << 20])
        with open(store.layout.partial(made.descriptor.digest), "r+b") as file:
            file.seek(500_000)
            file.write(b"garbage")
        again = claimed(lease, made)
        with pytest.raises(Damaged):
            fill(again, made.blob[1 << 20 :])
        bring_layer(store, lease, made)


def bomb(size: int) -> Layer:
    """Zeros that compress a thousandfold, in a tar that says so."""
    info = tarfile.TarInfo("zeros")
    info.size = size
    return from_tar(info.tobuf() + bytes(size + 1024))


def test_a_bomb_is_stopped_and_may_be_allowed(store: Store) -> None:
    made = bomb(40 << 20)
    limits = Limits(floor=1 << 20, ratio=100)
    with store.lease() as lease:
        bounded = claimed(lease, made, limits)
        with pytest.raises(LimitExceeded, match="--max-layer-size"):
            fill(bounded, made.blob)
        assert left_behind(store) == []
        allowed = limits._replace(layer_size=41 << 20)
        fill(claimed(lease, made, allowed), made.blob)


def test_what_does_not_fit_is_refused_before_a_byte_comes(store: Store) -> None:
    descriptor = Descriptor(mediatypes.OCI_LAYER_GZIP, digests.of(b"huge"), 1 << 60)
    with store.lease() as lease, pytest.raises(NoSpace, match="are free"):
        lease.claim(descriptor, digests.of(b"huge tar"))
    assert left_behind(store) == []


def test_space_that_stays_free_is_told(tmp_path: Path) -> None:
    """Else one would read that 1 kB do not fit into what is free."""
    limits = Limits(reserve=1 << 60)
    with pytest.raises(
        NoSpace, match=r"^layer needs 1kB, and .* are free on /[^ ]*, of which 1\.15EB are to stay"
    ):
        require_space(str(tmp_path), 1000, limits, "layer")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Store]:
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", place], check=True)
    yield Store.open(str(place / "store"))
    subprocess.run(["umount", "-l", place], check=True)


@pytest.mark.parametrize("kind", ["gzip", "none"])
def test_a_full_disk_leaves_no_trace(small_disk: Store, kind: str) -> None:
    store = small_disk
    made = layer({"a": bytes(10 << 20) if kind == "gzip" else os.urandom(5 << 20)}, kind)
    with store.lease() as lease:
        ingest = lease.new_layer(limits=Limits(reserve=0))
        with pytest.raises(NoSpace) as caught:
            fill(ingest, made.blob)
        assert "\n" not in str(caught.value)
        assert left_behind(store) == []
        fits = layer({"a": b"fits"})
        fill(claimed(lease, fits, Limits(reserve=0)), fits.blob)


def test_a_layer_of_unknown_digest(store: Store) -> None:
    for kind in ("none", "zstd"):
        made = layer(BIG, kind)
        with store.lease() as lease, lease.new_layer() as ingest:
            ingest.feed(made.blob)
            blob = ingest.finish()
        assert (blob.digest, blob.diff_id, blob.size) == (
            made.descriptor.digest,
            made.diff_id,
            len(made.blob),
        )
        assert blob.compression == kind
        assert store.has_layer(made.descriptor, made.diff_id)


def test_small_blobs(store: Store) -> None:
    with store.lease() as lease:
        digest = lease.put(b"{}")
        assert lease.put(b"{}", digest) == digest
        with pytest.raises(Damaged):
            lease.put(b"{ }", digest)
        with lease.new_blob() as ingest:
            ingest.feed(b"not a layer")
            assert ingest.finish().diff_id is None
    assert store.read_blob(digest) == b"{}"


def test_blobs_that_are_put_together_are_all_there_or_none(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, room = disk.write_all, [1]

    def full(fd: int, data: bytes) -> None:
        if data in (b"one", b"two"):
            room[0] -= 1
            if room[0] < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(fd, data)

    one, two = digests.of(b"one"), digests.of(b"two")
    monkeypatch.setattr(disk, "write_all", full)
    with store.lease() as lease:
        with pytest.raises(NoSpace):
            lease.put_all(b"one", b"two")
        assert not os.path.exists(store.layout.blob(one))
        assert os.listdir(store.layout.temporary) == []
        room[0] = 2
        lease.put_all(b"one", b"two", b"one")
        assert (store.read_blob(one), store.read_blob(two)) == (b"one", b"two")
