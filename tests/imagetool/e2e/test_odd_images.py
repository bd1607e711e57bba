"""A pull of every odd image, mounted, equals what umoci unpacks as root: all that stat, xattr and read tell."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.imagetool.e2e.conftest import busybox
from tests.support import oddlayers, process
from tests.support.imagetool import Cli, program
from tests.support.oci import Layout
from tests.support.registry import Server, fill
from tests.support.snapshot import Facts, differences, snapshot

pytestmark = pytest.mark.timeout(300)

KINDS = ["whiteouts", "links", "owners", "devices", "names", "sparse", "many", "busybox"]


class Shelf:
    """The odd images: in the registry as odd/NAME:COMPRESSION, and as an OCI layout for umoci."""

    def __init__(self, folder: Path, server: Server) -> None:
        self.layout = Layout(folder / "oci")
        self._server = server
        self._there: set[str] = set()
        self._layers: dict[str, Sequence[bytes]] = {**oddlayers.all_of_them(folder), "busybox": [busybox()]}

    def put(self, name: str, compression: str) -> str:
        """The name to pull."""
        tag = f"{name}-{compression}"
        if tag not in self._there:
            self._there.add(tag)
            self.layout.tag(tag, self.layout.image(self._layers[name], kind=compression))
            fill(self._server, self.layout.root, tag, f"odd/{name}:{compression}")
        return f"{self._server.host}/odd/{name}:{compression}"

    def unpacked(self, name: str, folder: Path) -> dict[bytes, Facts]:
        """What umoci, which knows no zstd, makes of the gzip form."""
        image = f"{self.layout.root}:{name}-gzip"
        command = ["umoci", "unpack", "--image", image, folder / "bundle"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return snapshot(folder / "bundle/rootfs", times=True)


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory, server: Server) -> Shelf:
    return Shelf(tmp_path_factory.mktemp("odd"), server)


@pytest.fixture
def odd(tmp_path: Path, server: Server) -> Iterator[Cli]:
    with program(tmp_path / "cli", server) as made:
        yield made


def same(one: dict[bytes, Facts], other: dict[bytes, Facts]) -> None:
    """But the time of the root, which has no entry in these layers: umoci's is that of its unpacking."""
    one[b""], other[b""] = (facts[b""]._replace(mtime=None) for facts in (one, other))
    assert differences(one, other) == []


@pytest.mark.parametrize("name", KINDS)
def test_a_pull_equals_what_umoci_unpacks(odd: Cli, shelf: Shelf, tmp_path: Path, name: str) -> None:
    reference = shelf.put(name, "gzip")
    odd("pull", "-q", reference)
    mounted = Path(odd("mount", reference).strip())
    expected = shelf.unpacked(name, tmp_path)
    process.in_child(lambda: same(snapshot(mounted, times=True), expected), timeout=120)
    assert odd("system", "check") == ""


@pytest.mark.parametrize("compression", ["zstd", "none"])
@pytest.mark.parametrize("name", ["whiteouts", "owners", "names", "sparse"])
def test_the_compression_makes_no_difference(
    odd: Cli, shelf: Shelf, tmp_path: Path, name: str, compression: str
) -> None:
    shelf.put(name, "gzip")
    reference = shelf.put(name, compression)
    odd("pull", "-q", reference)
    mounted = Path(odd("mount", reference).strip())
    expected = shelf.unpacked(name, tmp_path)
    process.in_child(lambda: same(snapshot(mounted, times=True), expected), timeout=120)


@pytest.mark.parametrize("name", KINDS)
def test_unpack_equals_what_umoci_unpacks(odd: Cli, shelf: Shelf, tmp_path: Path, name: str) -> None:
    reference = shelf.put(name, "gzip")
    odd("unpack", reference, tmp_path / "plain")
    same(snapshot(tmp_path / "plain", times=True), shelf.unpacked(name, tmp_path))


@pytest.mark.parametrize("name", ["whiteouts", "links", "owners", "devices", "names", "sparse"])
def test_out_of_the_registry_and_into_another_name(odd: Cli, shelf: Shelf, server: Server, name: str) -> None:
    """What was pulled is pushed byte for byte."""
    reference = shelf.put(name, "gzip")
    digest = odd("pull", reference).split("Digest: ")[1].split()[0]
    odd("tag", reference, f"{server.host}/again/{name}")
    assert f"digest: {digest} " in odd("push", f"{server.host}/again/{name}")


def test_both_formats_of_sparse_files_are_the_same(odd: Cli, shelf: Shelf) -> None:
    views = []
    for name in ("sparse", "sparse-gnu"):
        reference = shelf.put(name, "gzip")
        mounted = Path(odd("mount", "--pull", "always", reference).strip())
        views.append(process.in_child(lambda path=mounted: snapshot(path), timeout=60))  # type: ignore[misc]
    assert differences(*views) == []


def test_a_directory_that_a_layer_does_not_describe_stays_as_it_was(
    odd: Cli, shelf: Shelf, tmp_path: Path
) -> None:
    reference = shelf.put("implied", "gzip")
    mounted = Path(odd("mount", reference).strip())
    expected = shelf.unpacked("implied", tmp_path)
    process.in_child(lambda: same(snapshot(mounted, times=True), expected), timeout=60)
