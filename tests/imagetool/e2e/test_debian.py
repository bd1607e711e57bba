"""A whole Debian: from a root file system to a registry, from there to a mount, and on for skopeo to read."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support import process
from tests.support.imagetool import Cli
from tests.support.registry import Server, skopeo
from tests.support.sandbox import CHECKOUT
from tests.support.snapshot import differences, snapshot


@pytest.mark.timeout(900)
def test_a_debian_from_the_registry(cli: Cli, server: Server, tmp_path: Path) -> None:
    made = subprocess.run([CHECKOUT / "scripts/make-debian-root"], capture_output=True, text=True, check=True)
    base = Path(made.stdout.strip())
    name = f"{server.host}/debian:12"
    cli("import", "-c", 'CMD ["/bin/bash"]', base / "root.tar", name)
    cli("push", name)
    cli("rmi", name)
    mounted = Path(cli("mount", name).strip())

    def compare() -> None:
        one, other = snapshot(mounted, times=True), snapshot(base / "root", times=True)
        assert differences(one, other) == []

    process.in_child(compare, timeout=300)
    shell = [
        "chroot",
        mounted,
        "/bin/sh",
        "-c",
        "dpkg-query -W -f '${Status} ' bash && bash -c 'echo $((6*7))'",
    ]
    assert (
        subprocess.run(shell, capture_output=True, text=True, timeout=60).stdout
        == "install ok installed 42\n"
    )
    cli("umount", name)
    cli("tag", name, f"{server.host}/second:12")
    cli("push", f"{server.host}/second:12")
    skopeo(
        "copy", "-q", "--src-tls-verify=false", f"docker://{server.host}/second:12", f"oci:{tmp_path}/oci:12"
    )
    assert "[/bin/bash]" in skopeo(
        "inspect", "--format", "{{.Config.Cmd}}", "--config", f"oci:{tmp_path}/oci:12"
    )
