"""Options that no other test needs: what each of them changes."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.imagetool import Cli, program
from tests.support.oci import layer_tar
from tests.support.registry import Server, registry, skopeo

pytestmark = pytest.mark.timeout(120)


def test_tree_shows_platforms_and_layers(cli: Cli) -> None:
    cli("pull", "-q", "--all-platforms", "golang")
    cli("tag", "golang", "other:1")
    lines = cli("images", "--tree").splitlines()
    assert lines[0] == "golang:latest, other:1"
    assert [re.sub(r"[0-9a-f]{12} +", "ID  ", line) for line in lines[1:]] == [
        "├─ ID  linux/arm64  70kB",
        "│  ├─ ID  70kB",
        "│  └─ ID  5B",
        "└─ ID  linux/amd64  70kB",
        "   ├─ ID  70kB",
        "   └─ ID  5B",
    ]


def test_history_in_numbers(cli: Cli) -> None:
    (cli.folder / "root.tar").write_bytes(layer_tar({"f": bytes(1000)}))
    cli("import", "root.tar", "made")
    row = cli("history", "--human=false", "made").splitlines()[1].split()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", row[1])
    assert row[2] == "1000"
    assert "1kB" in cli("history", "-H", "made")


def test_diff_of_times(cli: Cli, tmp_path: Path) -> None:
    for name, mtime in (("one", 1), ("two", 2)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "f").write_text("same")
        os.utime(tmp_path / name / "f", (mtime, mtime))
        os.utime(tmp_path / name, (1, 1))
        done = os.system(f"tar c -C {tmp_path / name} . >{tmp_path / name}.tar")
        assert done == 0
        cli("import", tmp_path / f"{name}.tar", name)
    assert cli("image", "diff", "one", "two") == ""
    assert cli("image", "diff", "--times", "one", "two").splitlines()[0].split()[:2] == ["C", "/f"]


def test_an_image_that_is_removed_without_its_files(cli: Cli) -> None:
    cli("pull", "-q", "ubuntu")
    before = sorted(os.listdir(cli.root / "blobs/sha256"))
    out = cli("rmi", "--no-prune", "ubuntu")
    assert out.count("Deleted: ") == 1
    assert cli("images", "-q") == ""
    assert sorted(os.listdir(cli.root / "blobs/sha256")) == before
    assert "Total reclaimed space: 0B" not in cli("image", "prune", "-f")
    assert os.listdir(cli.root / "blobs/sha256") == []


def test_unpack_as_a_user_would(cli: Cli, tmp_path: Path) -> None:
    cli("pull", "-q", "busybox")
    cli("unpack", "--rootless", "busybox", tmp_path / "plain")
    assert os.getxattr(tmp_path / "plain/tmp", "user.containers.override_stat") == b"0:0:1777:dir"
    cli("unpack", "busybox", tmp_path / "real")
    assert os.listxattr(tmp_path / "real/tmp") == []
    assert (tmp_path / "real/tmp").stat().st_mode & 0o7777 == 0o1777


@pytest.fixture
def closed(tmp_path: Path) -> Iterator[Server]:
    """TLS by an authority that nobody knows, and a login."""
    with registry(tmp_path / "closed", tls=True, login=("me", "s3cret")) as made:
        yield made


def test_a_registry_that_nobody_vouches_for(cli: Cli, closed: Server, tmp_path: Path) -> None:
    name = f"{closed.host}/me/app"
    cli("pull", "-q", "ubuntu")
    cli("tag", "ubuntu", name)
    login = ("login", "-u", "me", "--password-stdin")
    for words in ([*login, closed.host], ["push", name], ["search", f"{closed.host}/app"], ["pull", name]):
        said = cli.run(*words, code=125, text="s3cret").stderr.splitlines()[-1]
        assert f"certificate of {closed.host} is not trusted" in said
        assert f"/etc/containers/certs.d/{closed.host}/ca.crt" in said
    assert "Login Succeeded" in cli(*login, "--insecure", closed.host, text="s3cret")
    digest = cli("push", "--insecure", name).split("digest: ")[1].split()[0]
    assert closed.host in cli("search", "--insecure", f"{closed.host}/app")
    assert f"Digest: {digest}" in cli("pull", "--insecure", name)
    cli("copy", "-q", "--insecure", f"docker://{name}", "oci:there:x")
    assert f'"Digest": "{digest}"' in skopeo("inspect", f"oci:{cli.folder}/there:x")
    with program(tmp_path / "other") as other:  # and with its authority known
        trusting = {"SSL_CERT_FILE": str(closed.ca)}
        other(*login, closed.host, text="s3cret", **trusting)
        assert f"Digest: {digest}" in other("pull", name, **trusting)
