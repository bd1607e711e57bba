"""Ways out of containers through the commands, each closed: remove the guard and its test fails."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.imagetool.e2e.containers import BOX, FOREVER, column
from tests.support.imagetool import PROGRAM, Cli
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


def test_links_for_the_files_of_etc_lead_nowhere_else(box: Cli, tmp_path: Path) -> None:
    """What is mounted on /etc/hosts and its like is mounted in the container, and written to there."""
    (tmp_path / "outside").write_text("host")
    box("run", "--name", "etc", *BOX, "sh", "-c", "echo")
    (box.folder / "etc").mkdir()
    for name in ("hosts", "hostname", "resolv.conf"):
        (box.folder / "etc" / name).symlink_to(tmp_path / "outside")
    box("cp", "etc", "etc:/")
    box("commit", "etc", "linked")
    script = "for f in hosts hostname resolv.conf; do echo planted > /etc/$f; done; cat /etc/hosts"
    assert box("run", "--rm", "--network", "none", "linked", "sh", "-c", script) == "planted\n"
    assert (tmp_path / "outside").read_text() == "host"


def test_exec_takes_no_account_of_the_host_s(box: Cli, tmp_path: Path) -> None:
    (tmp_path / "passwd").write_text("host:x:0:0::/:\n")
    (tmp_path / "group").write_text("host:x:0:\n")
    swap = "; ".join(f"busybox ln -s {tmp_path}/{name} /etc/{name}" for name in ("passwd", "group"))
    running(box, "hostile", f"busybox mkdir -p /etc; {swap}")
    assert "unable to find user host" in box.error("exec", "-u", "host", "hostile", "sh")
    assert "unable to find group host" in box.error("exec", "-u", "0:host", "hostile", "sh")


@pytest.mark.parametrize("name", ["../../outside", "..", ".", "a/b", "/", "\x01"])
def test_no_name_of_a_volume_leads_elsewhere(box: Cli, name: str) -> None:
    mount = f"type=volume,source={name},target=/v"
    assert "invalid volume name" in box.error("run", "--rm", "--mount", mount, *BOX, "true")


@pytest.mark.parametrize("words", ["run --rm", "mount", "run -d"])
def test_no_module_comes_from_where_the_caller_stands(cli: Cli, tmp_path: Path, words: str) -> None:
    """Not into what is started besides either: the network's helper, monitors and servers after a pull."""
    for name in ("json", "socket", "subprocess", "contextlib", "pyroute2", "trio", "unionfs", "imagetool"):
        (cli.folder / f"{name}.py").write_text(f"open({str(tmp_path / 'taken')!r}, 'a').write('{name} ')\n")
    program = [*PROGRAM, *words.split(), "busybox"]
    asked = [*program, "echo"] * words.startswith("run") or program
    for _ in ("pulled first", "there already"):
        done = subprocess.run(asked, env=cli.env, cwd=cli.folder, capture_output=True, text=True, timeout=60)
        wait_until(lambda: words != "run -d" or column(cli, "State", "-l") == "exited", 20, "the end")
        assert not (tmp_path / "taken").exists(), (tmp_path / "taken").read_text()
        assert done.returncode == 0, done.stderr
