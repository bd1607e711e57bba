"""A disk that fills up, or has no inode left, at any moment: one clear error, and the store is as before."""

import io
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from imagetool.archive.load import load
from imagetool.archive.save import Wanted, save_docker
from imagetool.errors import NoSpace
from imagetool.store import gc
from imagetool.store.check import check, repair
from imagetool.store.limits import Limits
from imagetool.store.store import Store
from tests.imagetool.store.kit import bring, image, layer

NAME = "docker.io/library/a:1"
PAGE = os.sysconf("SC_PAGE_SIZE")
NONE_STAYS_FREE = Limits(reserve=0)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m,nr_inodes=500", "tmpfs", place], check=True)
    yield place
    subprocess.run(["umount", place], check=True)


@pytest.fixture
def archive(tmp_path: Path) -> bytes:
    """Two layers and a config, as `a:1`."""
    other = Store.open(str(tmp_path / "other"))
    new = bring(other, image(layer({"a": b"new" * 20_000}), layer({"b": os.urandom(9_000)})), NAME)
    saved = io.BytesIO()
    save_docker(other, [Wanted(new.target, (NAME,))], saved.write)
    return saved.getvalue()


def leave_pages(disk: Path, count: int) -> Path:
    """A file that takes all but so many pages of the disk."""
    ballast = disk / "ballast"
    ballast.write_bytes(b"")
    free = os.statvfs(disk)
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(1, free.f_bavail * free.f_frsize - count * PAGE))
    return ballast


def leave_inodes(disk: Path, count: int) -> Path:
    """A directory that takes all but so many inodes of the disk."""
    ballast = disk / "ballast"
    ballast.mkdir()
    for number in range(os.statvfs(disk).f_favail - count):
        (ballast / str(number)).touch()
    return ballast


def remove(ballast: Path) -> None:
    subprocess.run(["rm", "-r", ballast], check=True)


def failures(disk: Path, leave: Callable[[Path, int], Path], work: Callable[[], object]) -> Iterator[int]:
    """How much was left each time that the work failed as it may; ends when it is enough."""
    for count in range(1000):
        ballast = leave(disk, count)
        try:
            work()
            return
        except NoSpace as error:
            said = str(error)
        finally:
            remove(ballast)
        assert "\n" not in said
        yield count


@pytest.mark.parametrize("leave", [leave_pages, leave_inodes])
def test_a_load_onto_a_disk_that_becomes_full(
    disk: Path, archive: bytes, leave: Callable[[Path, int], Path]
) -> None:
    store = Store.open(str(disk / "store"))
    old = bring(store, image(layer({"a": b"old"})), NAME, limits=NONE_STAYS_FREE)
    tries = 0
    for tries, left in enumerate(  # noqa: B007 -- counted
        failures(disk, leave, lambda: load(store, io.BytesIO(archive).read, "it", NONE_STAYS_FREE))
    ):
        assert list(check(store)) == [], f"with {left} left"
        assert store.resolve("a:1") == old.target
        gc.collect(store.layout, partial_age=0)
        assert (os.listdir(f"{store.root}/tmp"), len(os.listdir(f"{store.root}/blobs/sha256"))) == ([], 3)
    assert tries > 4
    assert list(check(store)) == []
    assert store.resolve("a:1") != old.target


@pytest.mark.parametrize("leave", [leave_pages, leave_inodes])
def test_a_new_store_a_tag_and_a_repair_on_a_disk_that_becomes_full(
    disk: Path, leave: Callable[[Path, int], Path]
) -> None:
    root = str(disk / "store")
    assert list(failures(disk, leave, lambda: Store.open(root)))
    store = Store.open(root)
    made = bring(store, image(layer({"a": bytes(50_000)})), NAME, limits=NONE_STAYS_FREE)
    for _ in failures(disk, leave, lambda: store.tag("a:1", "docker.io/library/b:1")):
        assert [ref.name for ref in store.references()] == [NAME]
        store.summaries()
    assert store.resolve("b:1") == made.target
    (tar,) = store.layer_tars(store.image(made.target))
    os.unlink(tar)
    tries = 0
    for _ in failures(disk, leave, lambda: repair(store, list(check(store)), NONE_STAYS_FREE)):
        tries += 1
        assert os.path.exists(f"{root}/blobs/sha256/{made.layers[0].descriptor.digest[7:]}")
    assert tries > 1
    assert list(check(store)) == []


@pytest.mark.parametrize("leave", [leave_pages, leave_inodes])
def test_a_full_disk_can_be_tidied_up(disk: Path, leave: Callable[[Path, int], Path]) -> None:
    """Who has no space left must be able to make some."""
    store = Store.open(str(disk / "store"))
    made = bring(store, image(layer({"a": os.urandom(50_000)})), NAME, limits=NONE_STAYS_FREE)
    assert [row.name for row in store.summaries()] == [NAME]
    remaining = leave(disk, 0)
    store.remove([made.target.digest])
    gc.collect(store.layout, partial_age=0)
    assert os.listdir(f"{store.root}/blobs/sha256") == []
    remove(remaining)
    assert list(check(store)) == []
