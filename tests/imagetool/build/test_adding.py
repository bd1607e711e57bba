"""ADD: archives, URLs, git repositories."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import stat
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from imagetool.build import adding
from imagetool.build.copying import CopyOptions, apply
from imagetool.build.trees import Tree
from imagetool.errors import Damaged, ImageToolError, UsageError
from tests.imagetool.build.test_contexts import COMPRESSIONS, git, tar_of
from tests.imagetool.build.test_copying import listing, tree
from tests.imagetool.build.web import serving


class Add:
    """add(sources, destination) from a context into a root; the digest of the sources."""

    def __init__(self, base: Path) -> None:
        self.base, self.context, self.root = base, base / "context", base / "root"
        self.context.mkdir()
        self.root.mkdir()
        self._count = 0

    def __call__(
        self,
        sources: str | Sequence[str],
        destination: str,
        options: CopyOptions = CopyOptions(),  # noqa: B008
        **more: object,
    ) -> str:
        with Tree(self.context) as source:
            found = self._resolve(source, sources, **more)
            digest = found.digest()
            apply(found, str(self.root), destination, options)
        return digest

    def digest(self, sources: str, **more: object) -> str:
        with Tree(self.context) as source:
            return self._resolve(source, sources, **more).digest()

    def _resolve(self, source: Tree, sources: str | Sequence[str], **more: object) -> adding.Sources:
        self._count += 1
        work = self.base / f"work{self._count}"
        work.mkdir()
        words = sources.split() if isinstance(sources, str) else sources
        return adding.resolve(source, words, work=str(work), **more)  # type: ignore[arg-type]


@pytest.fixture
def add(tmp_path: Path) -> Add:
    return Add(tmp_path)


@pytest.mark.parametrize("kind", COMPRESSIONS)
def test_archives_are_unpacked(add: Add, kind: str) -> None:
    tar = tar_of({"top/f": b"f", "top/link": "f", "g": b"g"})
    (add.context / "any.name").write_bytes(COMPRESSIONS[kind](tar))
    add("any.name", "/to")
    assert listing(add.root) == {"to/g": b"g", "to/top/f": b"f", "to/top/link": "-> f"}


def test_what_is_no_archive_is_copied(add: Add) -> None:
    files: dict[str, bytes | str | int | None] = {
        "plain": b"text", "f.gz": gzip.compress(b"no tar"), "f.tar": b"not really", "zeros": bytes(2048), "empty": b"",
        "cut.gz": gzip.compress(tar_of({"f": b"x" * 5000}))[:20], "dir/in.tar": tar_of({"g": b""}),
    }  # fmt: skip
    tree(add.context, files)
    add("plain f.gz f.tar zeros empty cut.gz dir", "/to/")
    assert listing(add.root) == {f"to/{name.removeprefix('dir/')}": data for name, data in files.items()}


def test_unpack_can_be_switched_off(add: Add) -> None:
    tree(add.context, {"f.tar": tar_of({"g": b"g"})})
    add("f.tar", "/to/", unpack=False)
    assert set(listing(add.root)) == {"to/f.tar"}
    assert add.digest("f.tar") != add.digest("f.tar", unpack=False)


def test_owners_modes_links_and_attributes_of_an_archive(add: Add) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, kind in (("d", tarfile.DIRTYPE), ("d/f", tarfile.REGTYPE), ("d/pipe", tarfile.FIFOTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.uid, member.gid, member.mode, member.mtime = kind, 7, 8, 0o4711, 10**9
            member.pax_headers = {"SCHILY.xattr.user.x": "1"} if name == "d/f" else {}
            tar.addfile(member)
        member = tarfile.TarInfo("twin")
        member.type, member.linkname = tarfile.LNKTYPE, "d/f"
        tar.addfile(member)
    (add.context / "a.tar").write_bytes(out.getvalue())
    add("a.tar", "/")
    info = os.stat(add.root / "d/f")
    assert (info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode), info.st_mtime) == (7, 8, 0o4711, 10**9)
    assert os.getxattr(add.root / "d/f", "user.x") == b"1"
    assert os.stat(add.root / "twin").st_ino == info.st_ino
    assert stat.S_ISFIFO(os.stat(add.root / "d/pipe").st_mode)
    assert os.stat(add.root / "d").st_mtime == 10**9
    add("a.tar", "/given", CopyOptions(uid=1, gid=2, chmod="700"))
    info = os.stat(add.root / "given/d/f")
    assert (info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode)) == (
        1,
        2,
        0o4711,
    )  # --chmod is not for archives


def test_an_archive_replaces_what_is_in_its_way(add: Add) -> None:
    tree(
        add.context,
        {"a.tar": tar_of({"link/f": b"f", "file/g": b"g", "dir": b"now a file", "keep/new": b"n"})},
    )
    tree(
        add.root,
        {"link": "-> elsewhere", "elsewhere/f": b"safe", "file": b"", "dir/sub/x": b"", "keep/old": b"o"},
    )
    add("a.tar", "/")
    assert listing(add.root) == {
        "link/f": b"f", "elsewhere/f": b"safe", "file/g": b"g", "dir": b"now a file", "keep/old": b"o",
        "keep/new": b"n",
    }  # fmt: skip


def test_hostile_archives(add: Add, tmp_path: Path) -> None:
    out = tree(tmp_path / "out", {"f": b"safe"})
    hostile = [
        tar_of({"../out/f": b"evil"}), tar_of({f"/{out}/f": b"evil"}), tar_of({"l": str(out), "l/f": b"evil"}),
        tar_of({"l": "../out", "l/f": b"evil"}), tar_of({"f": b"x" * 2000})[:1024],
    ]  # fmt: skip
    for number, data in enumerate(hostile):
        tree(add.context, {f"{number}.tar": data})
        try:
            add(f"{number}.tar", "/")
        except ImageToolError as error:
            assert "\n" not in str(error)  # noqa: PT017
        assert listing(out) == {"f": b"safe"}


def test_urls(add: Add) -> None:
    data = b"some bytes"
    checksum = "sha256:" + hashlib.sha256(data).hexdigest()
    with serving({"/path/file.bin?x=1": data, "/f": data}, {"/moved": "/f"}) as web:
        add(f"{web.url}/path/file.bin?x=1", "/to/")
        add(f"{web.url}/moved", "/renamed", CopyOptions(chmod="755", uid=4))
        info = os.stat(add.root / "to/file.bin")
        assert (info.st_uid, stat.S_IMODE(info.st_mode), info.st_mtime) == (0, 0o600, 10**9)
        assert (add.root / "renamed").read_bytes() == data
        assert stat.S_IMODE(os.stat(add.root / "renamed").st_mode) == 0o755
        plain = add.digest(f"{web.url}/f")
        before = len(web.asked)
        assert add.digest(f"{web.url}/f", checksum=checksum) == plain
        assert len(web.asked) == before, "a checksum says what comes: it is fetched only to be put somewhere"
        add(f"{web.url}/f", "/checked", checksum=checksum)
        assert (add.root / "checked").read_bytes() == data
        with pytest.raises(Damaged, match="digest mismatch"):
            add(f"{web.url}/f", "/wrong", checksum="sha256:" + "0" * 64)
        with pytest.raises(ImageToolError, match="404"):
            add(f"{web.url}/missing", "/x")
    assert not (add.root / "wrong").exists()


def test_archives_from_urls_stay_as_they_are_unless_asked_for(add: Add) -> None:
    with serving({"/a.tar.gz": gzip.compress(tar_of({"f": b"f"}))}) as web:
        add(f"{web.url}/a.tar.gz", "/to/")
        add(f"{web.url}/a.tar.gz", "/un/", unpack=True)
    assert set(listing(add.root)) == {"to/a.tar.gz", "un/f"}


def test_no_credentials_go_anywhere(add: Add, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import base64
    import json

    with serving({"/f": b""}) as web:
        host = web.url.removeprefix("http://")
        login = {"auths": {host: {"auth": base64.b64encode(b"me:secret").decode()}}}
        (tmp_path / "config.json").write_text(json.dumps(login))
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
        monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "config.json"))
        add(f"{web.url}/f", "/f")
        assert [
            name.lower() for _, headers in web.asked for name in headers if name.lower() == "authorization"
        ] == []
        with pytest.raises(ImageToolError, match="user name"):
            add(f"http://me:secret@{host}/f", "/f")


def test_git(add: Add, tmp_path: Path) -> None:
    """By the dumb HTTP protocol: what `git update-server-info` makes is files."""
    work = tree(tmp_path / "origin", {"f": b"f", "sub/g": b"g"})
    git(work, "init", "-q", "-b", "main")
    git(work, "add", ".")
    git(work, "commit", "-q", "-m", "one")
    git(work, "update-server-info")
    base = work / ".git"
    files = {f"/r.git/{p.relative_to(base)}": p.read_bytes() for p in base.rglob("*") if p.is_file()}
    with serving(files) as web:
        digest = add(f"{web.url}/r.git#main", "/src")
        assert listing(add.root / "src") == {"f": b"f", "sub/g": b"g"}
        assert add(f"{web.url}/r.git", "/kept", keep_git_dir=True) != digest
        assert (add.root / "kept/.git/HEAD").exists()
        add(f"{web.url}/r.git#:sub", "/sub/", excludes=["f"])
        assert listing(add.root / "sub") == {"g": b"g"}
        with pytest.raises(ImageToolError, match="git: "):
            add(f"{web.url}/missing.git", "/x")


def test_git_on_this_machine_is_not_for_a_dockerfile(add: Add, tmp_path: Path) -> None:
    """It could read what its author may not."""
    work = tree(tmp_path / "origin.git", {"f": b"f"})
    git(work, "init", "-q", "-b", "main")
    for source in (f"file://{work}", f"{work}#main", str(work)):
        with pytest.raises(ImageToolError, match="not found"):
            add(source, "/to/")


def test_documents_and_several_kinds_at_once(add: Add) -> None:
    tree(add.context, {"a.tar": tar_of({"in": b"i"}), "f": b"f"})
    with serving({"/url": b"u"}) as web:
        add(["<<EOF", "a.tar", "f", f"{web.url}/url"], "/to/", documents={"EOF": "doc"})
    assert listing(add.root) == {"to/EOF": b"doc", "to/in": b"i", "to/f": b"f", "to/url": b"u"}


def test_a_checksum_needs_something_to_check(add: Add) -> None:
    tree(add.context, {"f": b"f"})
    with pytest.raises(UsageError, match="--checksum is for URLs"):
        add("f", "/f", checksum="sha256:" + "0" * 64)
