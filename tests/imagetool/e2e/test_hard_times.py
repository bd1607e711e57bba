"""What goes wrong around a store: damage, hostile layers, many commands at once. One line, and nothing is lost."""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
import zlib
from pathlib import Path
from typing import Any

import pytest

from tests.support.hostile import Exchange, hostile
from tests.support.imagetool import PROGRAM, Cli
from tests.support.oci import Layout, dump
from tests.support.registry import Server, fill, registry

ZEROS = 10 << 30


def layers_of(cli: Cli) -> list[Path]:
    return sorted((cli.root / "layers/sha256").iterdir())


def test_check_finds_all_damage_and_repairs_what_it_can(cli: Cli) -> None:
    cli("pull", "-q", "ubuntu")
    cli("pull", "-q", "alpine")
    one, two, three = layers_of(cli)
    (one / "layer.idx").unlink()
    data = bytearray((two / "layer.tar").read_bytes())
    data[600] ^= 1
    (two / "layer.tar").write_bytes(data)
    (three / "layer.idx").write_bytes(b"nothing")
    found = cli.run("system", "check", code=125).stdout.splitlines()
    assert len(found) == 3
    assert all("rebuilt from its blob by --repair" in line for line in found)
    assert "3 of 3 problems repaired" in cli.run("system", "check", "--repair").stderr
    assert cli("system", "check") == ""
    mounted = Path(cli("mount", "ubuntu").strip())
    assert (mounted / "data").read_bytes() == b"d" * 70_000


def test_check_names_what_must_be_pulled_again(cli: Cli) -> None:
    cli("pull", "-q", "debian")
    blob = max((cli.root / "blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    blob.write_bytes(b"x" + blob.read_bytes()[1:])
    for words in (["system", "check"], ["system", "check", "--repair"]):
        said = cli.run(*words, code=125).stdout
        assert blob.name in said
        assert "pull the image again [docker.io/library/debian:latest" in said
    cli("pull", "-q", "debian")
    assert cli("system", "check") == ""


def test_eight_pulls_and_removals_at_once(cli: Cli, server: Server, tmp_path: Path) -> None:
    """Images that share layers, pulled by eight commands while two others remove them: the store stays right."""
    layout = Layout(tmp_path / "oci")
    layers = [{f"f{number}": bytes([number]) * 400_000} for number in range(5)]
    names = [f"{server.host}/crowd/{number}:1" for number in range(4)]
    for number in range(4):
        layout.tag(str(number), layout.image(layers[number : number + 2]))
        fill(server, layout.root, str(number), f"crowd/{number}:1")
    words = [["pull", "-q", names[number % 4]] for number in range(8)] + [["rmi", "-f", *names]] * 2
    running = [
        subprocess.Popen(
            [*PROGRAM, *each], env=cli.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for each in words
    ]
    for process, each in zip(running, words, strict=True):
        _, errors = process.communicate(timeout=100)
        assert "Traceback" not in errors
        assert process.returncode == 0 or each[0] == "rmi", errors
    assert cli("system", "check") == ""
    for name in names:
        cli("pull", "-q", name)
    cli("system", "prune", "-f")
    assert cli("system", "check") == ""
    assert len(layers_of(cli)) == 5


def head_of(size: int) -> bytes:
    """The header of a file of so many bytes."""
    entry = tarfile.TarInfo("zeros")
    entry.size = size
    return entry.tobuf(tarfile.GNU_FORMAT)


def squeezed(*pieces: bytes) -> bytes:
    stream = zlib.compressobj(9, wbits=31)
    return b"".join(map(stream.compress, pieces)) + stream.flush()


def put(layout: Layout, blob: bytes) -> dict[str, Any]:
    """An image with this gzip blob as its layer, whose diff ID nobody will come to compare."""
    diff_ids = ["sha256:" + "0" * 64]
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}}
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": layout.blob(dump(config), "application/vnd.oci.image.config.v1+json"),
        "layers": [layout.blob(blob, "application/vnd.oci.image.layer.v1.tar+gzip")],
    }
    return layout.blob(dump(manifest), str(manifest["mediaType"]))


@pytest.fixture(scope="module")
def bomb() -> bytes:
    """A layer with a file of 10 GiB of zeros, in 10 MiB."""
    blob = squeezed(head_of(ZEROS)) + squeezed(*[bytes(1 << 20)] * (ZEROS >> 24)) * 16 + squeezed(bytes(1024))
    assert len(blob) < 11 << 20
    return blob


@pytest.mark.timeout(300)
@pytest.mark.parametrize("limit", [[], ["--max-layer-size", "1GB"]])
def test_ten_gigabytes_of_zeros_in_ten_megabytes(
    cli: Cli, server: Server, tmp_path: Path, bomb: bytes, limit: list[str]
) -> None:
    """Refused as soon as the archive says what is coming: before it is written."""
    layout = Layout(tmp_path / "oci")
    layout.tag("x", put(layout, bomb))
    fill(server, layout.root, "x", "bombs/zeros:1")
    said = cli.error("pull", "-q", *limit, f"{server.host}/bombs/zeros:1")
    assert "decompresses to more than" in said
    assert "raise --max-layer-size" in said
    assert not any((cli.root / "layers").iterdir())
    assert cli("system", "check") == ""


def test_a_file_larger_than_the_disk_is_refused_before_it_is_written(
    cli: Cli, server: Server, tmp_path: Path
) -> None:
    layout = Layout(tmp_path / "oci")
    layout.tag("x", put(layout, squeezed(head_of(1 << 50), bytes(1 << 20))))
    fill(server, layout.root, "x", "bombs/huge:1")
    said = cli.error("pull", "-q", "--max-layer-size", "2000TB", f"{server.host}/bombs/huge:1")
    assert "are free" in said
    assert cli("system", "check") == ""


def test_a_store_that_cannot_be_written_is_looked_at(cli: Cli) -> None:
    cli("pull", "-q", "ubuntu")
    subprocess.run(["mount", "--bind", cli.root, cli.root], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", cli.root], check=True)
        assert cli("images", "--format", "{{.Repository}}") == "ubuntu\n"
        assert json.loads(cli("inspect", "ubuntu"))[0]["RepoTags"] == ["ubuntu:latest"]
        assert cli("system", "df").splitlines()[1].split()[:2] == ["Images", "1"]
        for words in (["tag", "ubuntu", "x"], ["rmi", "ubuntu"], ["pull", "debian"], ["mount", "ubuntu"]):
            assert "Read-only file system" in cli.run(*words, code=125).stderr.splitlines()[-1]
    finally:
        subprocess.run(["umount", cli.root], check=True)
    assert cli("system", "check") == ""


RIVALS = [
    {"name": "library/debian", "description": "Debian", "star_count": 100, "is_official": True},
    {"name": "me/debian", "description": None, "star_count": 7, "is_automated": True},
    {"name": "you/debian", "star_count": 900},
]


def test_search_asks_the_index(cli: Cli) -> None:
    def answer(exchange: Exchange) -> bool:
        body = json.dumps({"results": RIVALS}).encode()
        return exchange.path.startswith("/v1/search") and exchange.answer(200, body)

    with hostile() as index:
        index.fault = answer
        lines = cli("search", f"{index.host}/debian").splitlines()
        assert lines[0].split() == ["NAME", "DESCRIPTION", "STARS", "OFFICIAL"]
        assert [line.split()[0].partition("/")[2] for line in lines[1:]] == [
            "you/debian",
            "debian",
            "me/debian",
        ]
        assert "[OK]" in lines[2]
        one = cli("search", "--limit", "1", f"{index.host}/debian").splitlines()
        assert len(one) == 2
        popular = cli("search", "--filter", "stars=50", "--format", "{{.StarCount}}", f"{index.host}/debian")
        assert popular.split() == ["900", "100"]
        official = cli("search", "-f", "is-official=true", "--format", "{{.Name}}", f"{index.host}/debian")
        assert official.split() == [f"{index.host}/debian"]
    assert "limit 0 is not between 1 and 100" in cli.error("search", "--limit", "0", "debian")


HELPER = """#!/bin/sh
# keeps one login in a file: the protocol of docker-credential-helpers
case $1 in
    store) cat >"$HOME/kept" ;;
    get) cat >/dev/null; if [ -s "$HOME/kept" ]; then cat "$HOME/kept"; else
        echo "credentials not found in native keychain"; exit 1; fi ;;
    erase) cat >/dev/null; rm -f "$HOME/kept" ;;
esac
"""


def test_a_login_is_kept_by_the_helper_that_the_user_has(cli: Cli, tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "docker-credential-mine").write_text(HELPER)
    (programs / "docker-credential-mine").chmod(0o755)
    (cli.home / ".docker").mkdir()
    file = cli.home / ".docker/config.json"
    file.write_text('{"credsStore": "mine", "other": 1}')
    path = {"PATH": f"{programs}:{os.environ['PATH']}"}
    layout = Layout(tmp_path / "oci")
    layout.tag("x", layout.image([{"a": b"1"}]))
    with registry(tmp_path / "closed", login=("me", "s3cret")) as closed:
        fill(closed, layout.root, "x", "mine:1")
        name = f"{closed.host}/mine:1"
        assert "imagetool login" in cli.error("pull", "-q", name, **path)
        said = cli.run("login", "-u", "me", "--password-stdin", closed.host, text="s3cret", **path)
        assert "Login Succeeded" in said.stdout
        assert "s3cret" not in said.stdout + said.stderr + file.read_text()
        assert json.loads((cli.home / "kept").read_text())["Secret"] == "s3cret"
        cli("pull", "-q", name, **path)
        cli("logout", closed.host, **path)
        assert not (cli.home / "kept").exists()
        assert json.loads(file.read_text())["other"] == 1
        cli("rmi", name)
        assert "imagetool login" in cli.error("pull", "-q", name, **path)
