"""The store as a whole: references, lists, garbage, checks."""

import json
import os
from contextlib import nullcontext
from pathlib import Path

import pytest

from imagetool import digest as digests
from imagetool import mediatypes
from imagetool.errors import InvalidReference, Malformed, NotFound, StoreError
from imagetool.spec import Descriptor, Index, Platform
from imagetool.store import gc, layers
from imagetool.store.check import Remedy, check, repair
from imagetool.store.lease import Lease
from imagetool.store.lock import locked
from imagetool.store.store import Store
from imagetool.store.usage import prune, usage
from tests.imagetool.store.kit import Made, bring, bring_layer, claimed, image, layer

BASE = layer({"bin/sh": b"shell", "etc/passwd": b"root"})
TOP = layer({"app": b"x" * 1000}, "zstd")
PLAIN = layer({"data": b"y" * 5000}, "none")


def blobs(store: Store) -> set[str]:
    return {f"sha256:{name}" for name in os.listdir(f"{store.root}/blobs/sha256")}


def named(store: Store) -> dict[str | None, str]:
    return {ref.name: ref.target.digest for ref in store.references()}


def test_a_new_store_is_an_oci_layout(store: Store) -> None:
    assert json.loads(Path(store.root, "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    assert json.loads(Path(store.root, "index.json").read_text())["manifests"] == []
    assert os.stat(store.root).st_mode & 0o777 == 0o700
    assert Store.open(store.root, create=False).references() == []


def test_what_is_no_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no image store"):
        Store.open(str(tmp_path / "none"), create=False)
    (tmp_path / "home").mkdir()
    (tmp_path / "home/letter").write_text("dear")
    with pytest.raises(StoreError, match="'letter'"):
        Store.open(str(tmp_path / "home"))
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError):
        Store.open(str(tmp_path / "file"))
    (tmp_path / "new").mkdir()
    (tmp_path / "new/oci-layout").write_text('{"imageLayoutVersion": "9"}')
    with pytest.raises(StoreError, match="'9'"):
        Store.open(str(tmp_path / "new"))


def test_the_root_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGETOOL_ROOT", str(tmp_path / "env"))
    assert Store.open().root == str(tmp_path / "env")


def test_an_incomplete_image_gets_no_name(store: Store) -> None:
    made = image(BASE, TOP)
    with store.lease() as lease:
        bring_layer(store, lease, BASE)
        lease.put(made.rendered.config)
        lease.put(made.rendered.manifest)
        with pytest.raises(NotFound, match=f"layer {TOP.descriptor.digest} is missing"):
            store.publish(["docker.io/library/a:1"], made.target)
    assert store.references() == []


def test_tags_move_and_the_old_image_stays_without_a_name(store: Store) -> None:
    one, two = image(BASE), image(BASE, TOP)
    bring(store, one, "docker.io/library/a:1", f"docker.io/library/a@{one.target.digest}")
    before = store.publish([], one.target)
    assert before == {}
    bring(store, two, "docker.io/library/a:1")
    store.untag([f"docker.io/library/a@{one.target.digest}"])
    assert named(store) == {"docker.io/library/a:1": two.target.digest, None: one.target.digest}
    assert store.publish(["docker.io/library/a:1"], one.target) == {"docker.io/library/a:1": two.target}


def test_the_same_image_in_another_form_leaves_no_nameless_one(store: Store) -> None:
    gzipped, plain = image(layer({"a": b"1"}, "gzip")), image(layer({"a": b"1"}, "none"))
    assert gzipped.rendered.image_id == plain.rendered.image_id
    bring(store, gzipped, "docker.io/library/a:1")
    bring(store, plain, "docker.io/library/a:1")
    assert named(store) == {"docker.io/library/a:1": plain.target.digest}


def test_a_tag_moves_without_a_look_at_the_files_of_images(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A layer of 30,000 of them took 15 ms of every commit under a name that was there."""
    bring(store, image(BASE), "docker.io/library/a:1")
    monkeypatch.setattr(layers, "content_size", lambda *_: pytest.fail("files were looked at"))
    made = bring(store, image(BASE, TOP), "docker.io/library/a:1")
    assert named(store)["docker.io/library/a:1"] == made.target.digest


def test_tag_and_untag(store: Store) -> None:
    made = bring(store, image(BASE), "docker.io/library/debian:12")
    store.tag(made.rendered.image_id[7:19], "user/demo:1.0")
    store.tag("debian:12", "again")
    assert set(named(store)) == {
        "docker.io/library/debian:12",
        "docker.io/user/demo:1.0",
        "docker.io/library/again:latest",
    }
    assert store.names(made.rendered.image_id) == [ref.name for ref in store.references()]
    with pytest.raises(NotFound, match="No such image: gone:latest"):
        store.untag(["docker.io/library/again:latest", "docker.io/library/gone:latest"])
    assert len(named(store)) == 3
    with pytest.raises(InvalidReference):
        store.tag("debian:12", f"a@{made.target.digest}")


def test_summaries_have_sizes_labels_and_times(store: Store) -> None:
    bring(store, image(BASE, TOP, labels={"k": "v"}), "docker.io/library/a:1")
    for _ in range(2):  # computed, then from the cache
        (row,) = store.summaries()
        assert (row.size, row.created, row.labels) == (9 + 1000, "2024-01-01T00:00:00Z", {"k": "v"})
    Path(store.layout.summaries).write_text('{"version":1,"images":{"x":[1]}}')
    assert len(store.summaries()) == 1
    Path(store.layout.summaries).write_text("garbage")
    assert len(store.summaries()) == 1


def test_a_lost_layer_is_built_again(store: Store) -> None:
    made = bring(store, image(BASE, TOP, PLAIN), "docker.io/library/a:1")
    for each in (BASE, TOP, PLAIN):
        for path in Path(store.layer_dir(each.diff_id)).iterdir():
            path.unlink()
    whole = store.image(made.target)
    store.ensure_layers(whole)
    tars = store.layer_tars(whole)
    assert [os.path.exists(path) for path in tars] == [True] * 3
    assert tars[0] == store.layout.layer_tar(PLAIN.diff_id)


def test_an_index_gives_the_image_of_a_platform(store: Store) -> None:
    here, there = image(BASE), image(BASE, TOP)
    bring(store, here)
    bring(store, there)
    children = (
        here.target._replace(platform=Platform.host()),
        there.target._replace(platform=Platform("linux", "riscv64")),
        Descriptor(
            mediatypes.OCI_MANIFEST, digests.of(b"not pulled"), 5, platform=Platform("linux", "s390x")
        ),
    )
    data = Index(children).render()
    with store.lease() as lease:
        target = Descriptor(mediatypes.OCI_INDEX, lease.put(data), len(data))
        store.publish(["docker.io/library/multi:1"], target)
    assert store.resolve("multi:1").digest == here.target.digest
    assert store.resolve("multi:1", Platform.parse("riscv64")).digest == there.target.digest
    with pytest.raises(NotFound, match="s390x"):
        store.resolve("multi:1", Platform.parse("mips"))
    store.remove([here.target.digest, there.target.digest])
    assert gc.collect(store.layout).blobs == ()


# --- garbage


def test_what_nothing_reaches_goes(store: Store) -> None:
    one, two = image(BASE, TOP), image(BASE, PLAIN)
    bring(store, one, "docker.io/library/one:1")
    bring(store, two, "docker.io/library/two:1")
    assert gc.collect(store.layout) == gc.Collected((), (), 0)
    store.remove([one.target.digest])
    collected = gc.collect(store.layout)
    assert set(collected.blobs) == {one.target.digest, one.rendered.image_id, TOP.descriptor.digest}
    assert collected.layers == (TOP.diff_id,)
    assert collected.size > 0
    assert store.resolve("two:1") == two.target


def test_what_a_lease_pins_stays(store: Store) -> None:
    with store.lease() as lease:
        bring_layer(store, lease, BASE)
        gc.collect(store.layout)
        assert store.has_layer(BASE.descriptor, BASE.diff_id)
        made = bring(store, image(TOP))
        lease.pin(made.target.digest)
        store.remove([made.target.digest])
        gc.collect(store.layout)
        assert store.has_layer(TOP.descriptor, TOP.diff_id)
    gc.collect(store.layout)
    assert blobs(store) == set()


def test_a_dead_lease_keeps_nothing(store: Store) -> None:
    pid = os.fork()
    if pid == 0:
        lease = store.lease()
        bring_layer(store, lease, BASE)
        Path(lease.temporary()).write_text("half a file")
        os.kill(os.getpid(), 9)
    os.waitpid(pid, 0)
    assert len(list(Path(store.root, "locks").glob("lease-*"))) == 1
    gc.collect(store.layout)
    assert blobs(store) == set()
    assert list(Path(store.root, "locks").glob("lease-*")) == list(Path(store.root, "tmp").iterdir()) == []


@pytest.mark.parametrize("busy", [False, True])
def test_what_a_dead_lease_left_goes_when_another_begins(store: Store, busy: bool) -> None:
    """A killed pull may leave gigabytes; those of the living stay."""
    pid = os.fork()
    if pid == 0:
        lease = store.lease()
        os.mkdir(lease.temporary())
        Path(lease.temporary()).write_text("half a file")
        os.kill(os.getpid(), 9)
    os.waitpid(pid, 0)
    assert len(list(Path(store.root, "tmp").iterdir())) == 2
    with (
        Lease(store.layout) as living,
        locked(store.layout.lock("gc"), shared=True) if busy else nullcontext(),
    ):
        Path(living.temporary()).write_text("of somebody else")
        with store.lease():
            assert len(list(Path(store.root, "tmp").iterdir())) == (3 if busy else 1)
    store.lease().close()
    assert list(Path(store.root, "locks").glob("lease-*")) == list(Path(store.root, "tmp").iterdir()) == []


def test_a_container_keeps_its_image(store: Store) -> None:
    made = bring(store, image(BASE))
    container = Path(store.layout.containers, "de812a3f6b9b")
    container.mkdir()
    (container / "roots").write_text(made.target.digest + "\n")
    assert prune(store, everything=True).deleted == ()
    store.remove([made.target.digest])
    gc.collect(store.layout)
    assert store.image(made.target).id == made.rendered.image_id
    (container / "roots").unlink()
    gc.collect(store.layout)
    assert blobs(store) == set()


def test_nothing_is_removed_while_a_reference_cannot_be_read(damaged: Store) -> None:
    made = bring(damaged, image(BASE), "docker.io/library/a:1")
    bring(damaged, image(TOP))
    Path(damaged.layout.blob(made.target.digest)).write_bytes(b"{}")
    before = blobs(damaged)
    with pytest.raises((Malformed, StoreError, Exception), match="wrong content"):
        gc.collect(damaged.layout)
    assert blobs(damaged) == before


def test_the_index_behind_a_digest_stays(store: Store) -> None:
    made = bring(store, image(BASE))
    with store.lease() as lease:
        index = lease.put(Index((made.target,)).render())
        store.publish([f"docker.io/library/a@{index}"], made.target)
    gc.collect(store.layout)
    assert index in blobs(store)


def test_prune_and_df(store: Store) -> None:
    one, two = image(BASE), image(BASE, TOP)
    bring(store, one)
    bring(store, two, "docker.io/library/two:1")
    with store.lease() as lease, claimed(lease, PLAIN) as ingest:
        ingest.feed(PLAIN.blob[:100])
    rows = {row.kind: row for row in usage(store)}
    assert (rows["Images"].total, rows["Layers"].total, rows["Downloads"].total) == (2, 2, 1)
    assert rows["Images"].reclaimable == rows["Images"].size > 0
    pruned = prune(store)
    assert (pruned.untagged, pruned.deleted) == ((), (one.rendered.image_id,))
    assert os.listdir(f"{store.root}/partial") == []
    pruned = prune(store, everything=True)
    assert (pruned.untagged, pruned.deleted) == (("docker.io/library/two:1",), (two.rendered.image_id,))
    assert blobs(store) == set()


# --- checks


def files_of(store: Store, made: Made) -> dict[str, str]:
    layout = store.layout
    return {
        "manifest": layout.blob(made.target.digest),
        "config": layout.blob(made.rendered.image_id),
        "blob": layout.blob(BASE.descriptor.digest),
        "plain": layout.blob(PLAIN.descriptor.digest),
        "tar": layout.layer_tar(TOP.diff_id),
        "index": layout.layer_index(TOP.diff_id),
    }


@pytest.mark.parametrize("how", ["flip", "cut", "remove"])
@pytest.mark.parametrize("what", ["manifest", "config", "blob", "plain", "tar", "index"])
def test_any_damage_is_found_and_mended_or_named(damaged: Store, what: str, how: str) -> None:
    store = damaged
    made = bring(store, image(BASE, TOP, PLAIN), "docker.io/library/a:1", "docker.io/library/b:1")
    path = Path(files_of(store, made)[what])
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.unlink() if how == "remove" else path.write_bytes(data if how == "flip" else data[:-1])
    problems = list(check(store))
    assert problems
    assert all("\n" not in problem.text for problem in problems)
    left = repair(store, problems)
    mendable = what in ("tar", "index") or (what == "plain" and how == "remove")
    assert bool(left) is not mendable
    for problem in left:
        assert problem.remedy is Remedy.PULL
        assert problem.images == ("docker.io/library/a:1", "docker.io/library/b:1")
    bring(store, made, "docker.io/library/a:1")
    assert list(check(store)) == []


def test_damage_of_a_shared_layer_names_all_images(damaged: Store) -> None:
    bring(damaged, image(BASE), "docker.io/library/one:1")
    bring(damaged, image(BASE, TOP), "docker.io/library/two:1")
    Path(damaged.layout.blob(BASE.descriptor.digest)).write_bytes(b"x")
    (problem,) = check(damaged)
    assert problem.images == ("docker.io/library/one:1", "docker.io/library/two:1")


def test_an_orphan_that_is_damaged_is_removed(damaged: Store) -> None:
    with damaged.lease() as lease:
        digest = lease.put(b"orphan")
    Path(damaged.layout.blob(digest)).write_bytes(b"other")
    (problem,) = check(damaged)
    assert problem.remedy is Remedy.REMOVE
    assert repair(damaged, [problem]) == list(check(damaged)) == []


def test_a_damaged_index_json_is_one_clear_error(damaged: Store) -> None:
    Path(damaged.layout.references).write_text("{")
    with pytest.raises(StoreError, match=r"index\.json is damaged"):
        damaged.references()
