"""Images for other machines, and images without any files."""

from __future__ import annotations

import os
from pathlib import Path

from tests.support.imagetool import Cli
from tests.support.oci import Layout
from tests.support.registry import Server, fill


def put(server: Server, folder: Path, name: str, *platforms: str) -> str:
    """An image in the registry for each of these architectures; without any: one without layers."""
    layout = Layout(folder / "made")
    made = [layout.image([{"arch": each.encode()}], architecture=each) for each in platforms]
    layout.tag("x", layout.index(*made) if made else layout.image([], Cmd=["/hello"]))
    fill(server, layout.root, "x", name)
    return f"{server.host}/{name}"


def test_what_was_pulled_for_another_machine_can_be_looked_at(
    cli: Cli, server: Server, tmp_path: Path
) -> None:
    name = put(server, tmp_path, "platforms/other:1", "s390x", "riscv64")
    assert "there are: linux/riscv64, linux/s390x" in cli.error("pull", name)
    cli("pull", "-q", "--platform", "linux/riscv64", name)
    assert cli("inspect", "--format", "{{.Architecture}}", name) == "riscv64\n"
    assert name.partition(":")[0] in cli("images")
    assert cli("history", "-q", name)
    cli("save", "-o", "saved.tar", name)
    cli("rmi", name)
    assert "Loaded image" in cli("load", "-i", "saved.tar")
    assert "no image for platform" in cli.run("mount", "--pull", "always", name, code=125).stderr


def test_a_machine_takes_what_it_can_run(cli: Cli, server: Server, tmp_path: Path) -> None:
    beside = {"x86_64": "386", "aarch64": "arm"}[os.uname().machine]
    name = put(server, tmp_path, "platforms/old:1", "s390x", beside)
    cli("pull", "-q", name)
    assert cli("inspect", "--format", "{{.Architecture}}", name) == f"{beside}\n"
    mounted = Path(cli("mount", name).strip())
    assert (mounted / "arch").read_text() == beside


def test_an_image_without_layers(cli: Cli, server: Server, tmp_path: Path) -> None:
    """FROM scratch, and nothing else: all that works with files works with none."""
    name = put(server, tmp_path, "platforms/scratch:1")
    mounted = Path(cli("mount", name).strip())
    assert list(mounted.iterdir()) == []
    cli("umount", str(mounted))
    writable = Path(cli("mount", "--rw", name).strip())
    (writable / "new").write_text("x")
    cli("umount", str(writable))
    cli("unpack", name, "plain")
    assert list((cli.folder / "plain").iterdir()) == []
    cli("export", "-o", "root.tar", name)
    cli("import", "root.tar", "again:1")
    assert cli("image", "diff", name, "again:1") == ""
    cli("save", "-o", "saved.tar", name)
    cli("load", "-i", "saved.tar")
    assert "0 layers" in cli("image", "explore", name)
    assert cli("system", "check") == ""


def test_an_image_for_another_platform_than_asked_for_is_told(
    cli: Cli, server: Server, tmp_path: Path
) -> None:
    layout = Layout(tmp_path / "made")
    layout.tag("x", layout.image([{"arch": b"s390x"}], architecture="s390x"))
    fill(server, layout.root, "x", "platforms/one:1")
    name = f"{server.host}/platforms/one:1"
    cli("pull", "-q", "--platform", "linux/s390x", name)
    said = f"WARNING: image {name} is for linux/s390x, not for linux/riscv64\n"
    for command in (["mount"], ["unpack", "--rootless"], ["image", "explore"]):
        more = ["files"] if "unpack" in command else []
        assert cli.run(*command, "--platform", "linux/riscv64", name, *more).stderr == said
    assert cli.run("mount", name).stderr == ""
