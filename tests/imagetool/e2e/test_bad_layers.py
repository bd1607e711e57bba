"""Layers that mean harm, or came to some: refused in one line by whatever brings them in, or shown as they are.

Nothing outside the store is ever touched, and the store is sound afterwards.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.hostile import hostile
from tests.support.imagetool import Cli, program
from tests.support.oci import Layout, compress, digest, dump, layer_tar
from tests.support.oddlayers import TarMaker

pytestmark = pytest.mark.timeout(120)

VICTIM = b"/var/tmp/imagetool-victim"
SOUND = layer_tar({"a": os.urandom(5000)})


def link(name: bytes, target: bytes, kind: bytes = tarfile.SYMTYPE) -> TarMaker:
    return TarMaker().add(name, kind=kind, link=target)


BAD_TARS = {
    "a name above the root": (TarMaker().add(b"../evil", b"x"), "leaves the root"),
    "a name that goes up inside": (TarMaker().add(b"a/../../evil", b"x"), "leaves the root"),
    "a file below an absolute link": (link(b"l", VICTIM).add(b"l/evil", b"x"), "is not a directory"),
    "a file below a link upwards": (link(b"l", b"../..").add(b"l/evil", b"x"), "is not a directory"),
    "a hard link to a file outside": (link(b"h", b"/etc/passwd", tarfile.LNKTYPE), "not in the archive before it"),
    "a hard link upwards": (link(b"h", b"../../etc/passwd", tarfile.LNKTYPE), "leaves the root"),
    "a root that is a link": (link(b".", VICTIM), "the root is not a directory"),
    "a deletion of what is above": (TarMaker().add(b".wh..."), "a whiteout of no name"),
    "a name that no file can have": (TarMaker().add(b"n" * 300, b"x"), "longer than 255"),
    "headers without end": (TarMaker().add(b"a", xattrs={"user.x": b"y" * (2 << 20)}), "too large"),
    "a tar that is cut": (SOUND[:3000], "truncated"),
    "no tar at all": (b"no tar" * 1000, "not a tar archive"),
}  # fmt: skip

BAD_STREAMS = {
    "gzip that is cut": (compress(SOUND, "gzip")[:-9], "(gzip) is truncated"),
    "gzip with more behind it": (compress(SOUND, "gzip") + b"garbage" * 100, "(gzip) is damaged"),
    "gzip with a wrong sum": (compress(SOUND, "gzip")[:-8] + bytes(8), "(gzip) is damaged"),
    "zstd that is cut": (compress(SOUND, "zstd")[:-9], "(zstd) is truncated"),
    "zstd with more behind it": (compress(SOUND, "zstd") + b"garbage" * 100, "(zstd) is damaged"),
}


def devices(count: int) -> TarMaker:
    """So many doors to the kernel's memory."""
    made = TarMaker()
    for number in range(count):
        made.add(b"%d" % number, kind=tarfile.CHRTYPE, mode=0o666, device=(1, 1))
    return made


@pytest.fixture
def victim() -> Iterator[Path]:
    """A directory that the layers know of."""
    path = Path(os.fsdecode(VICTIM))
    path.mkdir()
    yield path
    assert os.listdir(path) == []
    path.rmdir()


@pytest.fixture
def alone(tmp_path: Path, victim: Path) -> Iterator[Cli]:
    """A store of its own, sound at the end; nothing has appeared beside it."""
    with program(tmp_path / "cli") as made:
        yield made
        assert made("images", "-q") == ""
        assert made("system", "check") == ""
        assert os.listdir(made.root / "tmp") == []
    assert sorted(os.listdir(tmp_path)) == ["cli", "oci"]
    assert not {"evil", "a"} & set(os.listdir(made.folder))


def image_of(layout: Layout, blob: bytes, kind: str, tar: bytes) -> None:
    """An image `x` whose layer is this blob, and whose config says that it is that tar."""
    suffix = "" if kind == "none" else f"+{kind}"
    rootfs = {"type": "layers", "diff_ids": [digest(tar)]}
    config = dump({"architecture": "amd64", "os": "linux", "rootfs": rootfs})
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": layout.blob(config, "application/vnd.oci.image.config.v1+json"),
        "layers": [layout.blob(blob, f"application/vnd.oci.image.layer.v1.tar{suffix}")],
    }
    layout.tag("x", layout.blob(dump(manifest), str(manifest["mediaType"])))


def errors(cli: Cli, layout: Layout) -> Iterator[str]:
    """What is said of the image `x` when it is pulled, copied, and loaded."""
    with hostile() as registry:
        registry.load(layout)
        (entry,) = layout.entries
        registry.tag("x", entry)
        yield cli.error("pull", "-q", f"{registry.host}/app:x")
    yield cli.error("copy", "-q", f"oci:{layout.root}:x", "app:x")
    with tarfile.open(cli.folder / "archive.tar", "w") as tar:
        tar.add(layout.root, arcname=".")
    yield cli.error("load", "-q", "-i", "archive.tar")
    (cli.folder / "archive.tar").unlink()


@pytest.mark.parametrize("case", BAD_TARS)
def test_bad_tars(alone: Cli, tmp_path: Path, case: str) -> None:
    made, words = BAD_TARS[case]
    tar = made if isinstance(made, bytes) else made.bytes()
    layout = Layout(tmp_path / "oci")
    image_of(layout, compress(tar, "gzip"), "gzip", tar)
    for said in errors(alone, layout):
        assert words in said
    (alone.folder / "root.tar").write_bytes(tar)
    assert words in alone.error("import", "root.tar")


@pytest.mark.parametrize("case", BAD_STREAMS)
def test_bad_streams(alone: Cli, tmp_path: Path, case: str) -> None:
    blob, words = BAD_STREAMS[case]
    layout = Layout(tmp_path / "oci")
    image_of(layout, blob, case.split()[0], SOUND)
    for said in errors(alone, layout):
        assert words in said
    (alone.folder / "root.tar").write_bytes(blob)
    assert alone.error("import", "root.tar").startswith(f"Error: root.tar {words}")


def brought_in(cli: Cli, tmp_path: Path, tar: bytes) -> tuple[Path, Path]:
    """The tar as an image: mounted, and unpacked."""
    (cli.folder / "root.tar").write_bytes(tar)
    cli("import", "root.tar", "odd")
    cli("unpack", "odd", "plain")
    return Path(cli("mount", "odd").strip()), cli.folder / "plain"


def test_absolute_names_and_links_stay_inside(cli: Cli, victim: Path, tmp_path: Path) -> None:
    made = TarMaker().add(VICTIM + b"/inside", b"x")
    made.add(b"link", kind=tarfile.SYMTYPE, link=VICTIM).add(b"/top", b"y")
    for place in brought_in(cli, tmp_path, made.bytes()):
        assert (place / os.fsdecode(VICTIM[1:]) / "inside").read_bytes() == b"x"
        assert os.readlink(place / "link") == str(victim)
        assert (place / "top").read_bytes() == b"y"


def test_many_devices_open_nothing(cli: Cli, tmp_path: Path) -> None:
    mounted, plain = brought_in(cli, tmp_path, devices(20_000).bytes())
    assert len(os.listdir(mounted)) == len(os.listdir(plain)) == 20_000
    assert os.stat(mounted / "7").st_rdev == os.makedev(1, 1)
    with pytest.raises(PermissionError):
        os.open(mounted / "7", os.O_RDONLY)


def test_what_stands_behind_the_end_of_a_tar_is_not_looked_at(cli: Cli, tmp_path: Path) -> None:
    """As with tar(1); the diff ID counts it."""
    for place in brought_in(cli, tmp_path, SOUND + b"garbage" * 1000):
        assert os.listdir(place) == ["a"]
    assert cli("system", "check") == ""
