"""Images into archives, out of them, and from place to place; skopeo and podman are the other side."""

from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path

import pytest

from tests.support.imagetool import Cli, program
from tests.support.registry import Server, skopeo

pytestmark = pytest.mark.timeout(180)


def other(cli: Cli, server: Server) -> Cli:
    """Another machine."""
    return Cli(cli.folder / "other", server)


@pytest.mark.parametrize("format", ["docker-archive", "oci-archive"])
def test_save_and_load(cli: Cli, server: Server, format: str) -> None:
    cli("pull", "-q", "ubuntu", "alpine")
    there = other(cli, server)
    archive = cli.raw("save", "--format", format, "ubuntu", "alpine")
    there.raw("load", data=archive)
    fields = "{{.Repository}}:{{.Tag}} {{.ID}} {{.Size}}"
    assert sorted(there("images", "--format", fields).split()) == sorted(
        cli("images", "--format", fields).split()
    )
    assert there("system", "check") == ""
    assert cli.raw("save", "--format", format, "ubuntu", "alpine") == archive  # the same bytes again


def test_load_says_what_it_loaded(cli: Cli, server: Server) -> None:
    cli("pull", "-q", "ubuntu")
    cli("save", "-o", "a.tar", "ubuntu")
    assert other(cli, server)("load", "-i", cli.folder / "a.tar") == "Loaded image: ubuntu:latest\n"
    short = cli("images", "-q").strip()
    cli("save", "-o", "b.tar", short)
    assert other(cli, server)("load", "-i", cli.folder / "b.tar").startswith(
        f"Loaded image ID: sha256:{short}"
    )


def test_skopeo_reads_what_is_saved_and_we_what_it_writes(cli: Cli, server: Server) -> None:
    cli("pull", "-q", "debian")
    cli("save", "-o", "a.tar", "debian")
    found = json.loads(skopeo("inspect", "--config", f"docker-archive:{cli.folder}/a.tar"))
    assert found["config"]["Env"] == ["PATH=/bin"]
    skopeo(
        "copy", "-q", f"docker-archive:{cli.folder}/a.tar", f"oci-archive:{cli.folder}/b.tar:debian:skopeo"
    )
    assert other(cli, server)("load", "-i", cli.folder / "b.tar") == "Loaded image: debian:skopeo\n"


def test_skopeo_reads_the_store(cli: Cli) -> None:
    cli("pull", "-q", "debian")
    found = json.loads(skopeo("inspect", f"oci:{cli.root}:docker.io/library/debian:latest"))
    assert found["Env"] == ["PATH=/bin"]


def test_a_failed_save_leaves_no_file(cli: Cli) -> None:
    cli("pull", "-q", "ubuntu")
    cli.run("save", "-o", "a.tar", "ubuntu", "nix", code=125)
    (cli.folder / "kept.tar").write_text("before")
    for blob in (cli.root / "blobs/sha256").iterdir():
        if blob.stat().st_size > 60:
            blob.unlink()
    cli.run("save", "--format", "oci-archive", "-o", "kept.tar", "ubuntu", code=125)
    assert (cli.folder / "kept.tar").read_text() == "before"
    assert sorted(name for name in os.listdir(cli.folder) if ".tar" in name) == ["kept.tar"]


def test_export_and_import(cli: Cli) -> None:
    cli("pull", "-q", "user/three:1")
    data = cli.raw("export", "user/three:1")
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert {name.removeprefix("./") for name in tar.getnames()} - {"", "."} == set("abcdef")
    changes = [
        'CMD ["/a"]',
        "ENV K=v L=w",
        "EXPOSE 80",
        "WORKDIR /srv",
        "USER me",
        'LABEL note="x y"',
        "VOLUME /data",
    ]
    options = [word for change in changes for word in ("-c", change)]
    made = cli.raw("import", *options, "-m", "from a tar", "-", "me/three", data=data).decode().strip()
    found = json.loads(cli("inspect", "me/three"))[0]
    assert found["Id"] == made
    config = found["Config"]
    assert (config["Cmd"], config["Env"], config["ExposedPorts"]) == (["/a"], ["K=v", "L=w"], {"80/tcp": {}})
    assert (config["WorkingDir"], config["User"], config["Labels"]) == ("/srv", "me", {"note": "x y"})
    assert cli("image", "diff", "user/three:1", "me/three") == ""
    assert "from a tar" in cli("history", "me/three")


@pytest.mark.parametrize(
    "place",
    ["oci:{0}/layout:one", "oci-archive:{0}/a.tar", "docker-archive:{0}/a.tar", "docker://{1}/copied/one:2"],
)
def test_copy_there_and_back(cli: Cli, server: Server, place: str) -> None:
    cli("pull", "-q", "ubuntu")
    where = place.format(cli.folder, server.host)
    cli("copy", "-q", "ubuntu", where)
    there = other(cli, server)
    there("copy", "-q", where, "back:1")
    assert there("images", "-q", "back") == cli("images", "-q", "ubuntu")
    assert json.loads(skopeo("inspect", "--config", *_plain(where), where))["config"]["Cmd"] == ["/bin/bash"]


def _plain(place: str) -> list[str]:
    return ["--tls-verify=false"] if place.startswith("docker:") else []


def test_a_store_is_not_written_behind_its_back(cli: Cli) -> None:
    """A copy into it as into any layout would know nothing of its locks."""
    cli("pull", "-q", "ubuntu")
    assert f"{cli.root} is an image store" in cli.error("copy", "ubuntu", f"oci:{cli.root}:mine")
    cli("copy", "-q", f"oci:{cli.root}:docker.io/library/ubuntu:latest", "oci:there:x")
    assert cli("images", "--format", "{{.Repository}}:{{.Tag}}") == "ubuntu:latest\n"


def test_copy_past_the_store(cli: Cli, server: Server) -> None:
    cli("copy", "-q", "--all-platforms", "docker://golang", f"docker://{server.host}/copied/golang")
    assert cli("images", "-q") == ""
    assert os.listdir(cli.root / "tmp") == []
    raw = skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{server.host}/copied/golang")
    assert len(json.loads(raw)["manifests"]) == 2


def test_an_archive_that_is_none(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(b"no tar at all" * 100)
    for words in (["load", "-i"], ["import"]):
        line = cli.error(*words, tmp_path / "x.tar")
        assert "Error: " in line
    assert cli("images", "-q") == ""
    assert os.listdir(cli.root / "tmp") == []


def test_two_machines(tmp_path: Path, server: Server) -> None:
    """Zstd all the way: compressed at the push, pulled, and read by podman's tools."""
    with program(tmp_path / "one", server) as one, program(tmp_path / "two", server) as two:
        one("pull", "-q", "debian")
        one.raw("import", "-", "me/zst", data=one.raw("export", "debian"))
        one("tag", "me/zst", f"{server.host}/me/zst")
        one("push", "--compression", "zstd:5", f"{server.host}/me/zst")
        raw = json.loads(skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{server.host}/me/zst"))
        assert raw["layers"][0]["mediaType"].endswith("+zstd")
        two("pull", "-q", f"{server.host}/me/zst")
        assert two("images", "-q") == one("images", "-q", f"{server.host}/me/zst")
