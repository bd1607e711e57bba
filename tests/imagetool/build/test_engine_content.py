"""COPY and ADD in images that are built: what buildah does not know, so that the corpus cannot have it."""

from __future__ import annotations

import io
import os
import stat
import subprocess
from pathlib import Path

import pytest

from tests.imagetool.build.kit import NO_NETWORK, Builder
from tests.imagetool.build.test_contexts import git, tar_of
from tests.imagetool.build.web import serving


def test_documents(box: Builder) -> None:
    made = box.image(
        "FROM busybox\nENV NAME=world\n"
        "COPY <<EOF <<-'RAW' /to/\nhello $NAME\nEOF\n\traw $NAME\n\tRAW\n"
        "COPY --chmod=755 --chown=5:6 <<run.sh /bin/run\n#!/bin/sh\necho ran > /ran\nrun.sh\n"
        "RUN /bin/run\n"
    )
    assert box.content(made, "to/EOF") == b"hello world\n"
    assert box.content(made, "to/RAW") == b"raw $NAME\n"
    info = box.files(made)["bin/run"]
    assert (info.mode, info.uid, info.gid) == (0o755, 5, 6)
    assert box.content(made, "ran") == b"ran\n"


def test_parents_and_excludes(box: Builder) -> None:
    box.write({"a/b/c.txt": "c", "a/b/c.md": "m", "a/d/e.txt": "e", "top.txt": "t"})
    made = box.image(
        "FROM scratch\n"
        "COPY --parents **/*.txt /all/\n"
        "COPY --parents a/./b /pivot/\n"
        "COPY --exclude=**/*.md --exclude=d a /some/\n"
        "COPY --chmod=go-r,u+x top.txt /symbolic\n"
    )
    files = {name: info.mode for name, info in box.files(made).items() if info.isfile()}
    assert set(files) == {
        "all/a/b/c.txt", "all/a/d/e.txt", "all/top.txt", "pivot/b/c.txt", "pivot/b/c.md", "some/b/c.txt", "symbolic",
    }  # fmt: skip
    assert files["symbolic"] == 0o700


@pytest.mark.parametrize("top", ["overlay", "fuse"])
def test_link_does_not_look_at_what_is_there(box: Builder, top: str) -> None:
    """--link copies to a layer of its own: a link of the base is not followed, and the layer stands on anything."""
    box.write({"f": "f"})
    made = box.image(
        "FROM busybox\nRUN ln -s /tmp /way\nCOPY f /way/plain\nCOPY --link f /over/there/\n"
        "RUN cat /over/there/f /tmp/plain\n",
        "--top",
        top,
    )
    (linked,) = [names for names in box.layers(made) if "over/there/f" in names]
    assert linked == ["over", "over/there", "over/there/f"]
    assert {"tmp/plain", "over/there/f"} <= set(box.files(made))


def test_urls_and_archives(box: Builder) -> None:
    import hashlib

    tar = tar_of({"in/side": b"s"})
    (box.context / "local.tar").write_bytes(tar)
    with serving({"/file": b"from the web", "/a.tar": tar}) as web:
        digest = hashlib.sha256(b"from the web").hexdigest()
        text = (
            f"FROM scratch\nADD {web.url}/file /web/\nADD --checksum=sha256:{digest} {web.url}/file /checked\n"
            f"ADD {web.url}/a.tar /plain/\nADD --unpack {web.url}/a.tar /un\nADD local.tar /local/\n"
            "ADD --unpack=false local.tar /packed/\n"
        )
        made = box.image(text)
        files = box.files(made)
        assert {
            "web/file",
            "checked",
            "plain/a.tar",
            "un/in/side",
            "local/in/side",
            "packed/local.tar",
        } <= set(files)
        assert (files["web/file"].mode, files["web/file"].mtime) == (0o600, 10**9)
        assert box.image(text) == made, "the same again"
        wrong = box.build(f"FROM scratch\nADD --checksum=sha256:{'0' * 64} {web.url}/file /x\n", code=125)
        assert "digest mismatch" in wrong.stderr


def test_a_url_that_changes_is_another_step(box: Builder) -> None:
    files = {"/file": b"one"}
    with serving(files) as web:
        text = f"FROM scratch\nADD {web.url}/file /f\n"
        first = box.image(text)
        files["/file"] = b"two"
        second = box.image(text)
        assert (box.content(first, "f"), box.content(second, "f")) == (b"one", b"two")


CONTEXT = {"Dockerfile": b"FROM scratch\nCOPY f /\n", "f": b"f"}


def test_contexts_that_are_not_directories(box: Builder, tmp_path: Path) -> None:
    tar = tar_of(CONTEXT)
    (tmp_path / "work").mkdir()
    for name, data in CONTEXT.items():
        (tmp_path / "work" / name).write_bytes(data)
    git(tmp_path / "work", "init", "-q", "-b", "main")
    git(tmp_path / "work", "add", ".")
    git(tmp_path / "work", "commit", "-q", "-m", "one")
    git(tmp_path, "clone", "-q", "--bare", "work", "bare.git")
    images = set()
    with serving({"/context.tar": tar}) as web:
        named = web.url.replace("127.0.0.1", "localhost")
        for place, data in (
            ("-", tar), (f"{tmp_path}/bare.git#main", b""), (f"file://{tmp_path}/bare.git", b""),
            (str(tmp_path / "work"), b""), (f"{web.url}/context.tar", b""), (f"{named}/context.tar", b""),
        ):  # fmt: skip
            out = box.raw("build", "-q", *NO_NETWORK, place, data=data).decode().strip()
            assert box.content(out, "f") == b"f"
            images.add(out)
    assert len(images) == 1, "the same content is the same image, wherever it is from"
    made = box.raw("build", "-q", "-", data=b"FROM scratch\nLABEL a=b\n").decode().strip()
    assert box.config(made)["Config"]["Labels"] == {"a": "b"}
    assert list((box.root / "tmp").iterdir()) == []


def test_a_context_that_runs(box: Builder) -> None:
    """A download leaves threads behind for a while; mounting needs a process without any."""
    tar = tar_of({"Dockerfile": b"FROM busybox\nCOPY f /f\nRUN cat /f > /g\n", "f": b"f"})
    with serving({"/context.tar": tar}) as web:
        named = web.url.replace("127.0.0.1", "localhost")
        made = box.raw("build", "-q", *NO_NETWORK, f"{named}/context.tar").decode().strip()
    assert box.content(made, "g") == b"f"


def test_outputs(box: Builder, tmp_path: Path) -> None:
    import tarfile

    box.write({"f": "f"})
    text = "FROM scratch\nCOPY f /d/f\n"
    box.build(text, "-o", str(tmp_path / "out"))
    assert (tmp_path / "out/d/f").read_text() == "f"
    box.build(text, "--output", f"type=tar,dest={tmp_path}/x.tar")
    with tarfile.open(tmp_path / "x.tar") as tar:
        assert "d/f" in tar.getnames()
    (box.folder / "Dockerfile").write_text(text)
    data = box.raw("build", "-o", "-", "-f", str(box.folder / "Dockerfile"), str(box.context))
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert "d/f" in tar.getnames()
    box.build(text, "--output", f"type=oci,dest={tmp_path}/oci.tar", "-t", "named:1")
    subprocess.run(
        ["skopeo", "inspect", "--raw", f"oci-archive:{tmp_path}/oci.tar"], check=True, capture_output=True
    )
    assert box("images", "-q") == "" or "named" not in box("images")


def test_ignored_files_stay_out_of_everything(box: Builder) -> None:
    box.write({".dockerignore": "secret\n", "secret": "s", "open": "o", "d/secret": "fine"})
    made = box.image("FROM busybox\nCOPY . /c/\nRUN --mount=type=bind,target=/m ls /m > /seen\n")
    assert {"c/open", "c/d/secret"} <= set(box.files(made))
    assert "c/secret" not in box.files(made)
    assert "secret" not in box.content(made, "seen").decode().split()
    failed = box.build("FROM scratch\nCOPY secret /\n", code=125)
    assert "secret" in failed.stderr
    assert ".dockerignore" in failed.stderr


def test_a_stage_leads_nowhere(box: Builder) -> None:
    host = Path("/var/tmp/imagetool-host-secret")
    host.write_text("host")
    try:
        text = (
            f"FROM busybox AS evil\nRUN ln -s {host} /a && ln -s /var/tmp /d && ln -s {'../' * 9}{host} /up\n"
            "FROM busybox\n"
        )
        for source in ("/a", f"/d/{host.name}", "/up"):
            failed = box.build(text + f"COPY --from=evil {source} /x\n", code=125)
            assert "not found" in failed.stderr
        made = box.image(
            text + "RUN ln -s /var/tmp /out\nCOPY --from=evil /bin/busybox /out/imagetool-host-secret\n"
        )
        assert "var/tmp/imagetool-host-secret" in box.files(made)
        assert host.read_text() == "host"
    finally:
        host.unlink()


def test_special_files_are_kept(box: Builder) -> None:
    (box.context / "d").mkdir()
    os.mkfifo(box.context / "d/pipe")
    os.mknod(box.context / "d/null", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    with open(box.context / "d/sparse", "wb") as file:
        file.truncate(5 << 20)
    os.setxattr(box.context / "d/sparse", "user.x", b"1")
    made = box.image("FROM scratch\nCOPY d /d\n")
    files = box.files(made)
    assert files["d/pipe"].isfifo()
    assert files["d/null"].ischr()
    assert files["d/sparse"].size == 5 << 20
    assert files["d/sparse"].pax_headers["SCHILY.xattr.user.x"] == "1"


def test_modes_do_not_depend_on_the_umask(box: Builder) -> None:
    box.write({"f": "f"})
    text = "FROM busybox\nWORKDIR /made/here\nCOPY f /x/y\nADD f /q/\nRUN mkdir /run-made\nCOPY <<EOF /doc\nd\nEOF\n"
    before = os.umask(0o077)
    try:
        made = box.image(text)
    finally:
        os.umask(before)
    files = box.files(made)
    assert {files[name].mode for name in ("made", "made/here", "x", "q", "run-made")} == {0o755}
    assert {files[name].mode for name in ("x/y", "q/f", "doc")} == {0o644}
