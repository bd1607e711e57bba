"""Ways out of containers through the commands, each closed: remove the guard and its test fails."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from tests.imagetool.e2e.containers import BOX, FOREVER, column
from tests.support.imagetool import Cli
from tests.support.process import wait_until

pytestmark = pytest.mark.timeout(120)


def running(box: Cli, name: str, script: str, *options: str) -> None:
    """A container that goes on when `script` is done."""
    box(
        "run",
        "-d",
        "--name",
        name,
        *options,
        *BOX,
        "sh",
        "-c",
        f"{script}; busybox touch /done; {FOREVER[2]}",
    )
    wait_until(lambda: "A /done" in box("diff", name), 20, "the script")


def test_cp_asks_no_library_of_the_container_for_a_name(box: Cli) -> None:
    """glibc would load what the container's nsswitch.conf names, in a process of the host's root."""
    running(box, "names", "busybox mkdir /etc; echo planted:x:0:0::/: > /etc/passwd; echo x > /f")
    with tarfile.open(fileobj=io.BytesIO(box.raw("cp", "names:/f", "-"))) as tar:
        (entry,) = tar.getmembers()
    assert entry.uname == entry.gname == ""


@pytest.mark.parametrize("options", [("--pid", "host"), ("--isolation", "chroot")])
def test_cp_follows_no_magic_link_where_the_host_s_processes_are_seen(
    box: Cli, tmp_path: Path, options: tuple[str, str]
) -> None:
    """The root of a process of the host's is the host's, which its root may enter and the container may not."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_text("secret")
    running(box, "magic", f"busybox ln -s /proc/{os.getpid()}/root{tmp_path}/outside /d", *options)
    (box.folder / "planted").write_text("planted")
    assert "ermission denied" in box.error("cp", "magic:/d/secret", "stolen")
    assert "no such directory" in box.error("cp", "planted", "magic:/d/")
    assert [path.name for path in (tmp_path / "outside").iterdir()] == ["secret"]


def test_isolation_by_chroot_leaves_the_host_s_network_alone(box: Cli) -> None:
    """There is no network of its own that could be connected: moving a link would be moving it to the host."""
    shown = box("run", "--rm", "--isolation", "chroot", "busybox", "ls", "/sys/class/net").split()
    assert "lo" in shown
    assert box("create", "--isolation", "chroot", "busybox") != ""
    assert column(box, "Networks") == "host"
