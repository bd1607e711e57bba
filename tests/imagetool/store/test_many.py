"""Several processes at once, and processes that die at any step."""

import io
import os
import random
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest

from imagetool import digest as digests
from imagetool.archive.load import load
from imagetool.archive.rootimport import import_root, publish_draft
from imagetool.archive.save import Wanted, save_directory, save_docker, save_oci
from imagetool.errors import NotFound
from imagetool.registry.credentials import Credentials, Keyring
from imagetool.spec import Descriptor, History, Index, Platform
from imagetool.store import disk, gc, layout, lease, refs
from imagetool.store.check import check, repair
from imagetool.store.store import Store
from tests.imagetool.store.kit import Made, bring, image, layer

LAYERS = [
    layer({f"file{number}": random.Random(number).randbytes(400_000)}, kind)
    for number, kind in enumerate(["gzip", "zstd", "none", "gzip"])
]


def in_child(work: Callable[[], None]) -> int:
    """The pid of a child that does some work and ends with 0, or shows what went wrong and ends with 1."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        work()
        code = 0
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
    finally:
        os._exit(code)


def status(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def pulling(root: str, name: str, made: Made, *, times: int = 1) -> Callable[[], None]:
    def work() -> None:
        for _ in range(times):
            bring(Store.open(root), made, f"docker.io/library/{name}")

    return work


def images() -> list[Made]:
    """Eight images that share layers with each other."""
    return [
        image(*(LAYERS[(number + each) % 4] for each in range(3)), created=f"2024-01-0{number + 1}T00:00:00Z")
        for number in range(8)
    ]


def test_eight_pulls_at_once_end_in_one_right_store(store: Store) -> None:
    made = images()
    pids = [in_child(pulling(store.root, f"a:{number}", each)) for number, each in enumerate(made)]
    assert [status(pid) for pid in pids] == [0] * 8
    assert {ref.name: ref.target for ref in store.references()} == {
        f"docker.io/library/a:{number}": each.target for number, each in enumerate(made)
    }
    assert len(os.listdir(f"{store.root}/layers/sha256")) == 4
    assert gc.collect(store.layout).blobs == ()


def test_pulls_removals_and_collections_at_once(store: Store) -> None:
    """Whatever wins, a name that is there is complete: the fixture checks every blob at the end."""
    made = images()

    def remove() -> None:
        for _ in range(15):
            with suppress(NotFound):
                store.untag(["docker.io/library/a:1"])
            store.remove([each.target.digest for each in made[::2]])
            gc.collect(store.layout, partial_age=0)

    pids = [in_child(pulling(store.root, "a:1", made[number], times=5)) for number in range(4)]
    pids += [in_child(remove), in_child(remove)]
    assert [status(pid) for pid in pids] == [0] * 6
    for ref in store.references():
        store.ensure_layers(store.image(ref.target))


STEPS = ("rename", "fsync", "link", "unlink", "mkdir", "rmdir", "write")


def dying(step: int) -> Callable[[], None]:
    """Makes the process kill itself instead of doing its `step`-th change on disk."""
    left = [step]

    def install() -> None:
        for name in STEPS:
            real = getattr(os, name)

            def call(*arguments: object, real: Callable[..., object] = real, **named: object) -> object:
                left[0] -= 1
                if left[0] < 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*arguments, **named)

            setattr(os, name, call)

    return install


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", ["gzip", "none"])
def test_a_kill_at_any_step_of_a_pull_harms_nothing(store: Store, kind: str) -> None:
    old = bring(store, image(layer({"a": b"old"}, kind)), "docker.io/library/a:1")
    new = image(layer({"a": b"new" * 200_000, "b": os.urandom(600_000)}, kind))
    step, code = 0, -1
    while code != 0:

        def work(step: int = step) -> None:
            dying(step)()
            bring(store, new, "docker.io/library/a:1")
            gc.collect(store.layout, partial_age=0)

        code = status(in_child(work))
        assert code in (0, -signal.SIGKILL)
        assert list(check(store)) == [], f"killed at step {step}"
        assert store.resolve("a:1") in (old.target, new.target)
        step += 1
    assert step > 15
    assert store.resolve("a:1") == new.target
    store.remove([old.target.digest])
    gc.collect(store.layout, partial_age=0)
    assert os.listdir(f"{store.root}/partial") == []
    assert [name for name in os.listdir(f"{store.root}/tmp") if name.startswith("lease-")] == []


def killed_at_every_step(work: Callable[[], None], prepare: Callable[[], None]) -> Iterator[int]:
    """Each step at which the work was killed, with the store as it was left; ends when the work does."""
    for step in count():
        prepare()

        def dies(step: int = step) -> None:
            dying(step)()
            work()

        code = status(in_child(dies))
        assert code in (0, -signal.SIGKILL)
        yield step
        if code == 0:
            return


def test_a_kill_at_any_step_of_a_tag_moves_it_or_does_not(store: Store) -> None:
    old, new = (
        bring(store, image(layer({"a": data})), f"docker.io/library/{data.decode()}:1")
        for data in (b"b", b"c")
    )

    def work() -> None:
        store.tag("c:1", "docker.io/library/a:1")

    def prepare() -> None:
        store.tag("b:1", "docker.io/library/a:1")

    for step in killed_at_every_step(work, prepare):
        assert list(check(store)) == [], f"killed at step {step}"
        assert store.resolve("a:1") in (old.target, new.target)
        assert {ref.name for ref in store.references()} >= {"docker.io/library/b:1", "docker.io/library/c:1"}
    assert step > 2
    assert store.resolve("a:1") == new.target


def test_a_kill_at_any_step_of_a_removal_leaves_all_of_an_image_or_none(store: Store) -> None:
    kept = bring(store, image(LAYERS[0]), "docker.io/library/kept:1")
    gone = image(LAYERS[0], LAYERS[1])

    def work() -> None:
        store.untag(["docker.io/library/gone:1"])
        store.remove([gone.target.digest])
        gc.collect(store.layout, partial_age=0)

    for step in killed_at_every_step(work, lambda: bring(store, gone, "docker.io/library/gone:1") and None):
        assert list(check(store)) == [], f"killed at step {step}"
        for ref in store.references():
            store.layer_tars(store.image(ref.target))
        assert store.resolve("kept:1") == kept.target
    assert step > 8
    assert len(os.listdir(f"{store.root}/layers/sha256")) == 1


def test_a_kill_at_any_step_of_a_repair_can_be_repaired(store: Store) -> None:
    made = bring(store, image(LAYERS[0], LAYERS[2]), "docker.io/library/a:1")
    one, two = (Path(path).parent for path in store.layer_tars(store.image(made.target)))

    def prepare() -> None:
        (one / "layer.idx").write_bytes(b"nothing")
        shutil.rmtree(two)

    for step in killed_at_every_step(lambda: repair(store, list(check(store))) and None, prepare):
        left = repair(store, list(check(store)))
        assert (left, list(check(store))) == ([], []), f"killed at step {step}"
    assert step > 8


@pytest.mark.parametrize("many", [3])
def test_stores_are_made_by_several_at_once(tmp_path: object, many: int) -> None:
    root = f"{tmp_path}/new"
    pids = [in_child(pulling(root, "a:1", images()[0])) for _ in range(many)]
    assert [status(pid) for pid in pids] == [0] * many
    assert list(check(Store.open(root, create=False))) == []
    disk.remove_tree(root)


def test_a_lease_that_ends_while_garbage_is_collected_keeps_nothing(store: Store) -> None:
    with store.lease() as held:
        held.pin(digests.of(b"x"))
        assert lease.pinned(store.layout, held.name) == {digests.of(b"x")}
    assert lease.pinned(store.layout, held.name) == set()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("save", [save_docker, save_oci])
def test_a_kill_at_any_step_of_a_load_harms_nothing(
    store: Store, tmp_path: Path, save: Callable[[Store, list[Wanted], Callable[[bytes], object]], None]
) -> None:
    old = bring(store, image(layer({"a": b"old"})), "docker.io/library/a:1")
    other = Store.open(str(tmp_path / "other"))
    new = bring(other, image(layer({"a": b"new" * 50_000}), layer({"b": b"b"})), "docker.io/library/a:1")
    archive = io.BytesIO()
    save(other, [Wanted(new.target, ("docker.io/library/a:1",))], archive.write)
    code, step = -1, 0
    while code != 0:

        def work(step: int = step) -> None:
            dying(step)()
            load(store, io.BytesIO(archive.getvalue()).read, "archive")

        code = status(in_child(work))
        assert code in (0, -signal.SIGKILL)
        assert list(check(store)) == [], f"killed at step {step}"
        found = store.image(store.resolve("a:1")).id
        assert found in (store.image(old.target).id, other.image(new.target).id)
        step += 1
    assert step > 15
    assert found == other.image(new.target).id


def test_a_kill_at_any_step_of_an_import_leaves_all_of_an_image_or_none(store: Store) -> None:
    old = bring(store, image(LAYERS[0]), "docker.io/library/a:1")
    tar = layer({"a": os.urandom(200_000)}, "none").blob

    def work() -> None:
        with store.lease() as held:
            draft = import_root(held, io.BytesIO(tar).read, "it", Platform.host(), History())
            store.publish(["docker.io/library/a:1"], publish_draft(held, draft).target)

    for step in killed_at_every_step(work, lambda: None):
        assert list(check(store)) == [], f"killed at step {step}"
        store.layer_tars(store.image(store.resolve("a:1")))
    assert step > 15
    assert store.resolve("a:1") != old.target


def test_a_kill_at_any_step_of_a_copy_to_a_directory_leaves_a_layout_that_others_read(
    store: Store, tmp_path: Path
) -> None:
    made = bring(store, image(LAYERS[0]), "docker.io/library/a:1")
    there, place = Wanted(made.target, ()), str(tmp_path / "layout")

    def work() -> None:
        save_directory(store, there, place, "new")

    save_directory(store, there, place, "old")
    pristine = tmp_path / "pristine"
    shutil.copytree(place, pristine)

    def prepare() -> None:
        shutil.rmtree(place)
        shutil.copytree(pristine, place)

    for step in killed_at_every_step(work, prepare):
        names = [entry.annotations[refs.REF_NAME] for entry in _index(place)]
        assert names in (["old"], ["old", "new"]), f"killed at step {step}"
        assert (Path(place) / "oci-layout").read_bytes() == layout.VERSION
    assert step > 3
    assert names == ["old", "new"]


def test_copies_into_one_directory_at_once_all_stay(store: Store, tmp_path: Path) -> None:
    made = bring(store, image(LAYERS[0]), "docker.io/library/a:1")
    place = str(tmp_path / "layout")

    def copying(name: str) -> Callable[[], None]:
        return lambda: save_directory(store, Wanted(made.target, ()), place, name)

    names = [f"n{number}" for number in range(12)]
    assert [status(pid) for pid in [in_child(copying(name)) for name in names]] == [0] * 12
    assert sorted(entry.annotations[refs.REF_NAME] for entry in _index(place)) == sorted(names)


def _index(place: str) -> tuple[Descriptor, ...]:
    return Index.parse((Path(place) / "index.json").read_bytes()).manifests


def test_a_kill_at_any_step_of_a_login_leaves_one_that_can_be_read(tmp_path: Path) -> None:
    ring = Keyring({"HOME": str(tmp_path)})
    ring.save("other.example", Credentials("me", "1"))
    before, after = Credentials("me", "old"), Credentials("me", "new")

    def prepare() -> None:
        ring.save("r.example", before)

    for step in killed_at_every_step(lambda: ring.save("r.example", after) and None, prepare):
        assert ring.find("r.example") in (before, after), f"killed at step {step}"
        assert ring.find("other.example") == Credentials("me", "1")
    assert ring.find("r.example") == after
    assert step > 1
