"""The behaviours that the course notes on Docker's images show, row by row, with imagetool in Docker's place."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from imagetool import digest as digests
from imagetool.store.lock import try_lock
from tests.support.imagetool import Cli
from tests.support.oci import Layout, layer_tar
from tests.support.registry import Server, fill, registry, skopeo
from tests.support.tokens import PASSWORD, USER, token_server

TAR = layer_tar({"f": b"12345"})

pytestmark = pytest.mark.timeout(180)


def image_id(cli: Cli, name: str) -> str:
    return cli("images", "-q", "--no-trunc", name).split()[0]


def make_container(cli: Cli, image: str, container: str, *, running: bool = False) -> int | None:
    """What a container leaves in the store; the lock of one that runs."""
    manifest = json.loads(cli("image", "inspect", image))[0]["Descriptor"]["digest"]
    place = cli.root / "containers" / container
    place.mkdir()
    (place / "roots").write_text(f"{manifest}\n")
    return try_lock(str(place / "running")) if running else None


def test_row_01_images(cli: Cli) -> None:
    cli("pull", "-q", "ubuntu")
    for command in (["images"], ["image", "ls"], ["image", "list"]):
        head, row = cli(*command).splitlines()
        assert head.startswith("REPOSITORY   TAG       IMAGE ID       CREATED")
        assert head.split() == ["REPOSITORY", "TAG", "IMAGE", "ID", "CREATED", "SIZE"]
        assert re.fullmatch(r"ubuntu       latest    [0-9a-f]{12}   \d+ \w+ ago +71kB", row)


def test_row_02_an_untagged_image_in_the_list(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "root.tar").write_bytes(TAR)
    made = cli("import", tmp_path / "root.tar").strip()
    row = cli("images").splitlines()[1]
    assert re.fullmatch(rf"<none>       <none>    {digests.short(digests.parse(made))}   .* ago +5B", row)


def test_row_03_two_tags_are_one_image(cli: Cli) -> None:
    cli("pull", "-q", "ubuntu")
    before = sorted(os.listdir(cli.root / "blobs/sha256"))
    cli("tag", "ubuntu", "ubuntu:dev")
    rows = cli("images").splitlines()[1:]
    assert {row.split()[1] for row in rows} == {"latest", "dev"}
    assert len({row.split()[2] for row in rows}) == 1
    assert sorted(os.listdir(cli.root / "blobs/sha256")) == before


@pytest.mark.parametrize("flag", ["--digests", "--digest"])
def test_row_04_digests(cli: Cli, flag: str) -> None:
    cli("pull", "-q", "alpine")
    head, row = cli("image", "ls", flag, "alpine").splitlines()
    assert head.split() == ["REPOSITORY", "TAG", "DIGEST", "IMAGE", "ID", "CREATED", "SIZE"]
    assert re.fullmatch(r"alpine +latest +sha256:[0-9a-f]{64} +[0-9a-f]{12} .*", row)


def test_row_05_filters(cli: Cli) -> None:
    for name in ("ubuntu", "debian", "alpine"):
        cli("pull", "-q", name)
    (cli.folder / "root.tar").write_bytes(TAR)
    cli("import", cli.folder / "root.tar", "made:1")  # made now: after all that was pulled

    def names(*filters: str) -> set[str]:
        options = [word for text in filters for word in ("--filter", text)]
        return set(cli("image", "ls", *options, "--format", "{{.Repository}}").split())

    assert names("label=os") == {"ubuntu", "debian"}
    assert names("label=os=ubuntu") == {"ubuntu"}
    assert names("label=os=ubuntu", "label=none") == set()
    assert names("since=ubuntu") == {"made"}
    assert names("before=made:1") == {"ubuntu", "debian", "alpine"}
    assert names("dangling=true") == set()
    cli("untag", "made:1")
    assert names("dangling=true") == {"<none>"}
    assert names("dangling=false") == {"ubuntu", "debian", "alpine"}
    assert names("reference=*u*") == {"ubuntu"}
    assert "invalid filter 'colour=red'" in cli.error("images", "--filter", "colour=red")
    assert "No such image: nix" in cli.error("images", "--filter", "before=nix")


def test_row_06_formats(cli: Cli) -> None:
    cli("pull", "-q", "ubuntu")
    assert cli("image", "ls", "--format", "{{.Size}}") == "71kB\n"
    assert cli("image", "ls", "--format", "{{.Repository}}: {{.Tag}}: {{.Size}}") == "ubuntu: latest: 71kB\n"
    assert cli("images", "--format", "table {{.ID}}\\t{{.Tag}}").split()[:3] == ["IMAGE", "ID", "TAG"]
    row = json.loads(cli("images", "--format", "json"))
    assert (row["Repository"], row["Tag"], row["Size"], row["Digest"]) == (
        "ubuntu",
        "latest",
        "71kB",
        "<none>",
    )
    assert "no field 'Nix'" in cli.run("images", "--format", "{{.Nix}}", code=125).stderr


def test_row_07_pull(cli: Cli) -> None:
    out = cli("pull", "ubuntu").splitlines()
    assert out[:2] == ["Using default tag: latest", "latest: Pulling from library/ubuntu"]
    assert re.fullmatch(r"[0-9a-f]{12}: Pull complete", out[-4])
    assert re.fullmatch(r"Digest: sha256:[0-9a-f]{64}", out[-3])
    assert out[-2:] == ["Status: Downloaded newer image for ubuntu:latest", "docker.io/library/ubuntu:latest"]
    assert (
        cli("image", "pull", "ubuntu:latest").splitlines()[-2]
        == "Status: Image is up to date for ubuntu:latest"
    )
    assert cli("pull", "-q", "ubuntu") == "docker.io/library/ubuntu:latest\n"
    assert (
        "manifest for ubuntu:lastest not found (did you mean ubuntu:latest?)"
        in cli.run("pull", "ubuntu:lastest", code=125).stderr
    )
    assert "no such repository" in cli.run("pull", "ubunto", code=125).stderr


def test_row_08_pull_from_another_registry(cli: Cli) -> None:
    out = cli("pull", "quay.io/pqsdev/mssql-tools:master")
    assert out.splitlines()[0] == "master: Pulling from pqsdev/mssql-tools"
    assert "Using default tag" not in out
    digest = re.search(r"sha256:[0-9a-f]{64}", out)
    assert digest
    cli("rmi", "quay.io/pqsdev/mssql-tools:master")
    out = cli("pull", f"quay.io/pqsdev/mssql-tools@{digest[0]}")
    assert f"Digest: {digest[0]}" in out
    row = cli("images").splitlines()[1]
    assert row.split()[:2] == ["quay.io/pqsdev/mssql-tools", "<none>"]


def test_row_09_what_is_missing_is_pulled(cli: Cli) -> None:
    done = cli.run("mount", "debian")
    lines = done.stderr.splitlines()
    assert lines[:2] == [
        "Unable to find image 'debian:latest' locally",
        "latest: Pulling from library/debian",
    ]
    assert lines[-1] == "Status: Downloaded newer image for debian:latest"
    assert (Path(done.stdout.strip()) / "etc/debian_version").read_text() == "12\n"


def test_row_10_shared_layers_are_fetched_once(cli: Cli) -> None:
    cli("pull", "ubuntu")
    out = cli("pull", "debian")
    assert out.count("Already exists") == 1
    assert out.count("Pull complete") == 1
    assert len(os.listdir(cli.root / "layers/sha256")) == 3
    assert cli.run("mount", "debian").stderr == ""
    assert "Pull complete" not in cli("pull", "debian")


def test_row_11_the_platform_comes_from_the_index(cli: Cli) -> None:
    cli("pull", "-q", "golang")
    here = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
    other = {"amd64": "arm64", "arm64": "amd64"}[here]
    assert cli("inspect", "-f", "{{.Architecture}}", "golang") == f"{here}\n"
    assert (Path(cli("mount", "golang").strip()) / "go").read_text() == here
    cli("pull", "-q", "--platform", f"linux/{other}", "golang")
    assert cli("inspect", "--platform", f"linux/{other}", "-f", "{{.Architecture}}", "golang") == f"{other}\n"
    assert (
        "no image for platform linux/riscv64"
        in cli.run("pull", "--platform", "riscv64", "golang", code=125).stderr
    )


def test_row_12_inspect(cli: Cli) -> None:
    cli("pull", "-q", "alpine")
    shown = json.loads(cli("image", "inspect", "alpine:latest"))
    assert shown[0]["Id"] == image_id(cli, "alpine")
    assert shown[0]["RepoTags"] == ["alpine:latest"]
    assert shown[0]["RootFS"]["Type"] == "layers"
    assert [digests.parse(layer) for layer in shown[0]["RootFS"]["Layers"]]
    assert shown[0]["Config"]["Entrypoint"] == ["/bin/sh", "-c"]
    assert cli("inspect", "--format", "{{.Config.Entrypoint}}", "alpine") == "[/bin/sh -c]\n"
    done = cli.run("inspect", "alpine", "nix", code=125)
    assert len(json.loads(done.stdout)) == 1
    assert done.stderr == "Error: No such image: nix\n"


def test_row_13_tag(cli: Cli) -> None:
    cli("pull", "-q", "ubuntu")
    cli("pull", "-q", "debian")
    short = cli("images", "-q", "ubuntu").strip()
    cli("tag", short, "demo:1.0")
    assert cli("images", "-q", "demo:1.0").strip() == short
    cli("tag", "debian", "demo:1.0")  # the tag moves
    assert cli("images", "-q", "demo") == cli("images", "-q", "debian")
    cli("tag", short[:4], "demo")
    assert cli("images", "-q", "demo:latest").strip() == short
    assert cli.error("image", "tag", "tomcato:latest", "tomcat:dev") == "Error: No such image: tomcato:latest"
    assert "invalid reference format" in cli.error("tag", "ubuntu", "Demo")


def test_row_14_an_image_in_use_is_not_removed(cli: Cli) -> None:
    cli("pull", "-q", "ubuntu")
    short = cli("images", "-q").strip()
    make_container(cli, "ubuntu", "de812a3f6b9b")
    assert cli.error("rmi", "ubuntu") == (
        'Error: conflict: unable to remove repository reference "ubuntu" (must force) - container de812a3f6b9b '
        f"is using its referenced image {short}"
    )
    lock = make_container(cli, "ubuntu", "f1f1f1f1f1f1", running=True)
    assert cli.error("image", "rm", "-f", short) == (
        f"Error: conflict: unable to delete {short} (cannot be forced) - image is being used by running container "
        "f1f1f1f1f1f1"
    )
    assert lock is not None
    os.close(lock)
    assert "(must be forced) - image is being used by stopped container" in cli.error("rmi", short)
    assert cli("images", "-q").strip() == short


def test_row_15_of_several_tags_one_is_untagged(cli: Cli) -> None:
    cli("pull", "-q", "ubuntu")
    cli("tag", "ubuntu", "me/ubuntu:dev")
    assert cli("rmi", "me/ubuntu:dev") == "Untagged: me/ubuntu:dev\n"
    assert cli("images", "--format", "{{.Repository}}:{{.Tag}}") == "ubuntu:latest\n"
    full = image_id(cli, "ubuntu")
    out = cli("rmi", "ubuntu").splitlines()
    assert out[0] == "Untagged: ubuntu:latest"
    assert re.fullmatch(r"Untagged: ubuntu@sha256:[0-9a-f]{64}", out[1])
    assert out[2] == f"Deleted: {full}"
    assert len(out) == 5  # and two layers
    assert os.listdir(cli.root / "blobs/sha256") == []


def test_row_16_prune(cli: Cli) -> None:
    for name in ("ubuntu", "debian", "alpine"):
        cli("pull", "-q", name)
    gone = image_id(cli, "alpine")
    cli("untag", "alpine")
    make_container(cli, "debian", "c0c0c0c0c0c0")
    asked = cli("image", "prune", text="n\n")
    assert asked.startswith(
        "WARNING! This will remove all dangling images.\nAre you sure you want to continue? [y/N] "
    )
    assert len(cli("images", "-q").split()) == 3
    out = cli("image", "prune", text="y\n")
    assert "Deleted Images:\nuntagged: alpine@sha256:" in out
    assert f"deleted: {gone}\n" in out
    assert re.search(r"Total reclaimed space: [\d.]+k?B\n$", out)
    cli("image", "prune", "-a", "-f")
    assert cli("images", "--format", "{{.Repository}}") == "debian\n"


def test_row_17_search(cli: Cli, server: Server) -> None:
    found = cli("search", f"{server.host}/alpine")
    head, row = found.splitlines()
    assert head.split() == ["NAME", "DESCRIPTION", "STARS", "OFFICIAL"]
    assert row.split()[0] == f"{server.host}/library/alpine"
    assert len(cli("search", f"{server.host}/a", "--limit", "2").splitlines()) == 3
    official = cli("search", f"{server.host}/alpine", "--filter", "is-official=true")
    assert official.split() == head.split()  # a registry without /v1/search knows of none
    assert "invalid filter 'is-good=true'" in cli.error("search", "alpine", "--filter", "is-good=true")


def test_row_18_push(cli: Cli, server: Server) -> None:
    (cli.folder / "root.tar").write_bytes(TAR)
    cli("import", cli.folder / "root.tar", f"{server.host}/row18/app")
    out = cli("push", f"{server.host}/row18/app").splitlines()
    assert out[0] == "Using default tag: latest"
    assert out[1] == f"The push refers to repository [{server.host}/row18/app]"
    layer = digests.short(json.loads(cli("inspect", f"{server.host}/row18/app"))[0]["RootFS"]["Layers"][0])
    assert f"{layer}: Pushed" in out
    last = re.fullmatch(r"latest: digest: (sha256:[0-9a-f]{64}) size: (\d+)", out[-1])
    assert last
    manifest = skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{server.host}/row18/app")
    assert digests.of(manifest.encode()) == last[1]
    assert len(manifest) == int(last[2])


def test_row_19_push_of_a_second_tag(cli: Cli, server: Server) -> None:
    (cli.folder / "root.tar").write_bytes(TAR)
    name = f"{server.host}/row19/app"
    cli("import", cli.folder / "root.tar", name)
    first = cli("push", name).splitlines()[-1]
    cli("tag", name, f"{name}:v1.0")
    out = cli("push", f"{name}:v1.0").splitlines()
    assert "Using default tag: latest" not in out
    assert any(line.endswith(": Layer already exists") for line in out)
    assert out[-1] == first.replace("latest:", "v1.0:")


def test_row_20_push_without_login(cli: Cli, tmp_path: Path) -> None:
    (cli.folder / "root.tar").write_bytes(TAR)
    with registry(tmp_path / "closed", login=("me", "secret")) as closed:
        name = f"{closed.host}/me/app"
        cli("import", cli.folder / "root.tar", name)
        said = cli.run("push", name, code=125).stderr
        assert "unauthorized" in said or "authentication required" in said
        assert f"imagetool login {closed.host}" in said
        assert "secret" not in said


def test_row_20_push_to_a_foreign_namespace(cli: Cli, tmp_path: Path) -> None:
    """Refused without a login, then denied with one; the tag in one's own namespace is taken."""
    (cli.folder / "root.tar").write_bytes(TAR)
    with token_server(tmp_path / "tokens") as tokens, registry(tmp_path / "hub", token=tokens.section) as hub:
        foreign, own = f"{hub.host}/foreign/tomcat:dev", f"{hub.host}/{USER}/tomcat:dev"
        cli("import", cli.folder / "root.tar", foreign)
        assert "authentication required" in cli.run("push", foreign, code=125).stderr
        cli("login", "-u", USER, "--password-stdin", hub.host, text=PASSWORD)
        said = cli.run("push", foreign, code=125).stderr
        assert "denied: requested access to the resource is denied" in said
        assert PASSWORD not in said
        cli("image", "tag", foreign, own)
        assert "dev: digest: sha256:" in cli("image", "push", own)
        assert cli("search", f"{hub.host}/tomcat").splitlines()[1].split()[0] == own.removesuffix(":dev")
        assert cli("rmi", foreign).startswith(f"Untagged: {foreign}\n")
        assert cli("images", "-q", own) != ""


def test_row_21_login(cli: Cli, tmp_path: Path) -> None:
    (cli.folder / "root.tar").write_bytes(TAR)
    with registry(tmp_path / "closed", login=("me", "se cret")) as closed:
        name = f"{closed.host}/me/app"
        cli("import", cli.folder / "root.tar", name)
        shown = cli.terminal("login", closed.host, typed="me\nse cret\n")
        assert shown.startswith("Username: me\nPassword: \n")
        assert "se cret" not in shown
        assert shown.endswith("Login Succeeded\n")
        kept = cli.home / ".docker/config.json"
        assert kept.stat().st_mode & 0o777 == 0o600
        cli("push", name)
        cli("pull", name)
        assert cli("logout", closed.host) == f"Removing login credentials for {closed.host}\n"
        assert cli("logout", closed.host) == f"Not logged in to {closed.host}\n"
        cli.run("pull", name, code=125)
        said = cli.error("login", "-u", "me", "--password-stdin", closed.host, text="wrong\n")
        assert "incorrect username or password" in said
        assert "wrong" not in said
        out = cli("login", "-u", "me", "--password-stdin", closed.host, text="se cret\n")
        assert out == "Login Succeeded\n"


def test_row_42_layers_are_read_only_and_one_takes_the_changes(cli: Cli) -> None:
    cli("pull", "-q", "user/three:1")
    mounted = Path(cli("mount", "user/three:1").strip())
    assert sorted(os.listdir(mounted)) == ["a", "b", "c", "d", "e", "f"]
    with pytest.raises(OSError, match="Read-only"):
        (mounted / "a").write_text("x")
    changed = Path(cli("mount", "--top", cli.folder / "top", "user/three:1").strip())
    (changed / "a").write_text("changed")
    (changed / "b").unlink()
    (changed / "new").write_text("n")
    assert sorted(os.listdir(changed)) == ["a", "c", "d", "e", "f", "new"]
    assert (mounted / "a").read_text() == "1"
    assert (mounted / "b").read_text() == "2"
    cli("umount", changed)
    again = Path(cli("mount", "--top", cli.folder / "top", "user/three:1").strip())  # the changes outlive it
    assert (again / "a").read_text() == "changed"
    cli("umount", "--all")
    gone = Path(cli("mount", "--rw", "user/three:1").strip())
    (gone / "a").write_text("for now")
    cli("umount", gone)
    fresh = Path(cli("mount", "--rw", "user/three:1").strip())
    assert (fresh / "a").read_text() == "1"
    cli("umount", "-a")
    assert cli("system", "check") == ""


def test_row_42_a_third_layer_with_a_newer_file_leaves_six(cli: Cli, server: Server, tmp_path: Path) -> None:
    layout = Layout(tmp_path / "oci")
    layers = [{"1": b"1", "2": b"2", "3": b"3"}, {"4": b"4", "5": b"5", "6": b"6"}, {"5": b"newer"}]
    layout.tag("x", layout.image(layers))
    fill(server, layout.root, "x", "user/newer:1")
    mounted = Path(cli("mount", "user/newer:1").strip())
    assert sorted(os.listdir(mounted)) == list("123456")
    assert (mounted / "5").read_text() == "newer"


def test_row_43_names(cli: Cli, server: Server) -> None:
    cli("pull", "-q", "user/three:1")
    cli("pull", "-q", "ubuntu")
    rows = cli("images", "--format", "{{.Repository}} {{.Tag}}").splitlines()
    assert set(rows) == {"user/three 1", "ubuntu latest"}
    assert cli("images", "-q", "docker.io/library/ubuntu") == cli("images", "-q", "ubuntu")
    full = cli("pull", "-q", "library/ubuntu").strip()
    assert full == "docker.io/library/ubuntu:latest"
