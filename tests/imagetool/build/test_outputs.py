"""--output: what it may say, and what is then there."""

from __future__ import annotations

import io
import json
import os
import stat
import tarfile
from pathlib import Path

import pytest

from imagetool.archive.rootimport import import_root, publish_draft
from imagetool.archive.save import Wanted
from imagetool.build import outputs
from imagetool.build.outputs import IMAGE, Output, parse
from imagetool.errors import ImageToolError, UsageError
from imagetool.spec import History, Platform
from imagetool.store.store import Store
from tests.imagetool.build.test_copying import listing, tree

NAME = "docker.io/library/made:1"


@pytest.mark.parametrize(
    ("text", "output"),
    [
        ("out", Output("local", "out")),
        ("./a,b", None),
        ("-", Output("tar", "-")),
        ("type=image", IMAGE),
        ("type=image,name=a:1,push=true", Output("image", names=("a:1",), push=True)),
        ('type=image,"name=a:1,b"', Output("image", names=("a:1", "b"))),
        ("type=registry,name=a", Output("image", names=("a",), push=True)),
        ("type=local,dest=out", Output("local", "out")),
        ("type=tar", Output("tar", "-")),
        ("type=tar,dest=x.tar", Output("tar", "x.tar")),
        ("type=oci,dest=x.tar", Output("oci", "x.tar")),
        ("type=oci,dest=dir,tar=false", Output("oci", "dir", directory=True)),
        ("type=docker", Output("docker", "-")),
        ("TYPE=tar,Dest=-", Output("tar", "-")),
        ("", None),
        ("type=", None),
        ("type=zip,dest=x", None),
        ("dest=x", None),
        ("type=local", None),
        ("type=local,dest=-", None),
        ("type=image,dest=x", None),
        ("type=tar,color=red", None),
        ("type=tar,push=true", None),
        ("type=image,push=perhaps", None),
        ("type=oci,tar=false", None),
        ("type=image,name=Bad:", None),
    ],
)
def test_parse(text: str, output: Output | None) -> None:
    if output is not None:
        assert parse(text) == output
        return
    with pytest.raises(UsageError) as error:
        parse(text)
    assert "\n" not in str(error.value)


class Made:
    """A store with one image; write(output) gives what came out on standard output."""

    def __init__(self, base: Path) -> None:
        self.store = Store.open(str(base / "store"))
        root = tree(base / "root", {"d": 0o711, "d/f": b"f", "run": b"r", "link": "-> d/f"})
        (root / "run").chmod(0o755)
        os.chown(root / "run", 7, 8)
        os.utime(root / "run", (10**9, 10**9))
        os.link(root / "d/f", root / "twin")
        os.mknod(root / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as tar:
            tar.add(root, arcname=".")
        out.seek(0)
        with self.store.lease() as lease:
            draft = import_root(lease, out.read, "it", Platform.host(), History("2020-01-01T00:00:00Z"))
            self.target = publish_draft(lease, draft).target
            self.store.publish([NAME], self.target)

    def write(self, text: str) -> bytes:
        out = io.BytesIO()
        outputs.write(self.store, Wanted(self.target, (NAME,)), parse(text), out)
        return out.getvalue()


FILES = {"d/f": b"f", "link": "-> d/f", "run": b"r", "twin": b"f"}


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(tmp_path)


def names(data: bytes) -> set[str]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {member.name.removeprefix("./") for member in tar}


def test_files_in_a_directory(made: Made, tmp_path: Path) -> None:
    out = tmp_path / "new/out"
    made.write(f"type=local,dest={out}")
    assert listing(out) == FILES
    assert stat.S_IMODE(os.stat(out / "d").st_mode) == 0o711
    info = os.stat(out / "run")
    assert (info.st_uid, stat.S_IMODE(info.st_mode), info.st_mtime) == (os.geteuid(), 0o755, 10**9)
    assert os.stat(out / "twin").st_nlink == 2


def test_files_over_those_that_are_there(made: Made, tmp_path: Path) -> None:
    out = tree(tmp_path / "out", {"d": 0o700, "d/mine": b"m", "run": b"old", "link": "-> /etc/passwd"})
    made.write(str(out))
    assert listing(out) == {**FILES, "d/mine": b"m"}
    assert stat.S_IMODE(os.stat(out / "d").st_mode) == 0o700


@pytest.mark.parametrize("there", [{"run/mine": b"m"}, {"d": b"mine"}, {"d": "-> {}"}])
def test_nothing_of_the_users_is_removed_for_it(
    made: Made, tmp_path: Path, there: dict[str, bytes | str]
) -> None:
    away = tree(tmp_path / "away", {"mine": b"m"})
    nodes = {k: v.format(away) if isinstance(v, str) else v for k, v in there.items()}
    out = tree(tmp_path / "out", {**nodes})
    with pytest.raises(ImageToolError) as error:
        made.write(str(out))
    assert "\n" not in str(error.value)
    assert nodes.items() <= listing(out).items()
    assert listing(away) == {"mine": b"m"}


def test_a_tar_of_the_files(made: Made, tmp_path: Path) -> None:
    data = made.write("-")
    assert names(data) >= {"d", "d/f", "run", "link", "twin", "null"}
    assert made.write(f"type=tar,dest={tmp_path}/x.tar") == b""
    assert (tmp_path / "x.tar").read_bytes() == data


def test_archives_of_the_image(made: Made, tmp_path: Path) -> None:
    assert {"oci-layout", "index.json"} <= names(made.write("type=oci"))
    with tarfile.open(fileobj=io.BytesIO(made.write("type=docker,name=other:2"))) as tar:
        manifest = tar.extractfile("manifest.json")
        assert manifest is not None
        assert json.load(manifest)[0]["RepoTags"] == ["made:1", "other:2"]
    made.write(f"type=oci,tar=false,dest={tmp_path}/layout")
    index = json.loads((tmp_path / "layout/index.json").read_text())
    assert index["manifests"][0]["digest"] == made.target.digest


def test_a_file_that_cannot_be_written(made: Made, tmp_path: Path) -> None:
    for text in (f"type=tar,dest={tmp_path}/missing/x.tar", "type=local,dest=/proc/none"):
        with pytest.raises(ImageToolError) as error:
            made.write(text)
        assert "cannot write" in str(error.value)
