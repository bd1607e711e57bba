"""`--size`: a container's own files take no more than that; nobody else notices, and nothing is left of it."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.imagetool.e2e.containers import BOX, FOREVER, column, monitor_of
from tests.support.imagetool import PROGRAM, Cli, program
from tests.support.process import wait_until
from tests.support.registry import Server
from tests.support.sandbox import user

pytestmark = pytest.mark.timeout(120)
FILL = "busybox dd if=/dev/zero of=/big bs=1M count=40"


def loops(cli: Cli) -> list[str]:
    """Loop devices of this store."""
    found = []
    for path in Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            found += [path.parts[3]] if str(cli.root) in path.read_text() else []
        except OSError:  # it has just gone
            continue
    return found


def only(cli: Cli) -> Path:
    (directory,) = (cli.root / "containers").iterdir()
    return directory


@pytest.mark.parametrize("top", ["fuse", "overlay"])
def test_more_is_refused_inside(box: Cli, top: str) -> None:
    done = box.run("run", "--name", "ss", "--top", top, "--size", "16m", *BOX, "sh", "-c", FILL, code=1)
    assert "No space left on device" in done.stderr
    assert (only(box) / "top.ext4").stat().st_blocks * 512 <= 17 << 20
    size = int(box("inspect", "-s", "-f", "{{.SizeRw}}", "ss"))
    assert 8 << 20 < size < 16 << 20
    box("run", "--rm", "--top", top, *BOX, "sh", "-c", FILL)  # others have what there is
    assert box("inspect", "-f", "{{.HostConfig.StorageOpt.size}}", "ss") == f"{16 << 20}\n"
    box("rm", "ss")
    wait_until(lambda: loops(box) == [], 10, "the end of the loop device")


def test_a_copy_up_that_does_not_fit_changes_nothing(box: Cli) -> None:
    box("run", "--name", "big", *BOX, "sh", "-c", "busybox dd if=/dev/urandom of=/data bs=1M count=20")
    box("commit", "big", "large")
    look = "busybox wc -c < /data"
    run = ("run", "--size", "8m", "--rm", "--network", "none", "large", "sh", "-c")
    out = box(*run, f"(echo x >> /data) 2>/dev/null || {look}; echo small > /small; cat /small")
    assert out == f"{20 << 20}\nsmall\n"


@pytest.mark.parametrize("top", ["fuse", "overlay"])
def test_files_stay_through_stops_and_reboots(box: Cli, top: str) -> None:
    script = f"echo one >> /f; busybox rm -f /bin/ls; cat /f; {FOREVER[2]}"
    box("run", "-d", "--name", "ss", "--top", top, "--size", "16m", *BOX, "sh", "-c", script)
    wait_until(lambda: box("logs", "ss") == "one\n", 20, "the first line")
    box("stop", "-t", "1", "ss")

    def reboot() -> None:
        subprocess.run(["umount", only(box) / "top"], check=True)
        assert loops(box) == []

    reboot()
    assert set(box("diff", "ss").splitlines()) >= {"A /f", "D /bin/ls", "C /bin"}
    reboot()
    assert column(box, "Size", "-s").startswith("4B ")
    reboot()
    box("cp", "ss:/f", "f")
    assert (box.folder / "f").read_text() == "one\n"
    reboot()
    box("commit", "ss", "changed")
    assert box("run", "--rm", "--network", "none", "changed", "cat", "/f") == "one\n"
    reboot()
    assert b"one\n" in box.raw("export", "ss")
    reboot()
    box("start", "ss")
    wait_until(lambda: box("logs", "ss") == "one\none\none\n", 20, "the second start")
    box("rm", "-f", "ss")
    wait_until(lambda: loops(box) == [], 10, "the end of the loop device")


def test_created_ones_can_be_looked_at(box: Cli) -> None:
    box("create", "--name", "cc", "--size", "8m", *BOX, "cat", "/f")
    assert box("diff", "cc") == ""
    assert b"busybox" in box.raw("export", "cc")
    (box.folder / "f").write_text("given\n")
    box("cp", "f", "cc:/f")
    assert box("start", "-a", "cc") == "given\n"
    assert column(box, "Size", "-s").startswith("6B ")
    box("rm", "cc")
    assert loops(box) == []


@pytest.mark.parametrize("whom", ["monitor", "all"])
def test_rm_clears_up_after_any_kill(box: Cli, whom: str) -> None:
    box("run", "-d", "--name", "kk", "--top", "fuse", "--size", "8m", *BOX, *FOREVER)
    pids = [monitor_of(box)]
    if whom == "all":
        pids += [int(box("inspect", "-f", "{{.State.Pid}}", "kk")), *_servers(box)]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    box("rm", "-f", "kk")
    wait_until(lambda: loops(box) == [], 10, "the end of the loop device")


def _servers(cli: Cli) -> list[int]:
    """Who has the RW layer open."""
    inode = f":{os.stat(only(cli) / 'top/upper').st_ino} "
    rows = [line for line in Path("/proc/locks").read_text().splitlines() if inode in line]
    return [int(row.split()[4]) for row in rows]


def test_two_mount_namespaces_see_one_file_system(box: Cli) -> None:
    """Mounted twice as two it would be destroyed."""
    box("create", "--name", "cc", "--size", "8m", *BOX, "cat", "/f")
    (box.folder / "f").write_text("given\n")
    box("cp", "f", "cc:/f")
    subprocess.run(["umount", only(box) / "top"], check=True)
    with subprocess.Popen(
        ["unshare", "-m", "--propagation", "private", "sh", "-c",
         'mount -o loop "$1" "$2" && echo mounted && read _', "sh", only(box) / "top.ext4", only(box) / "top"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as other:  # fmt: skip
        assert other.stdout is not None
        assert other.stdout.readline() == "mounted\n"
        assert box("start", "-a", "cc") == "given\n"
        assert len(loops(box)) == 1
        other.communicate("\n")
    box("rm", "cc")
    wait_until(lambda: loops(box) == [], 10, "the end of the loop device")


def test_sizes_that_cannot_be(box: Cli) -> None:
    assert "at least 4m" in box.error("run", "--size", "1m", *BOX, "echo")
    assert "invalid size" in box.error("create", "--size", "much", *BOX, "echo")
    assert os.listdir(box.root / "containers") == []


def test_a_mkfs_that_fails_leaves_nothing(box: Cli, tmp_path: Path) -> None:
    (tmp_path / "mkfs.ext4").symlink_to("/bin/false")  # is found first, as PATH says
    error = box.error("run", "--size", "8m", *BOX, "echo", PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert error == "Error: cannot make the container's file system: mkfs.ext4 ended with 1"
    assert os.listdir(box.root / "containers") == []


def test_without_mkfs(box: Cli) -> None:
    hide = 'mount --bind /dev/null "$(readlink -f /usr/sbin/mkfs.ext4)" && exec "$@"'
    command = ["unshare", "-m", "sh", "-c", hide, "sh", *PROGRAM, "run", "--size", "8m", *BOX, "echo"]
    done = subprocess.run(command, env=box.env, capture_output=True, text=True)
    assert done.stderr == ("Error: --size needs mkfs.ext4, which is not installed (install e2fsprogs)\n")
    assert os.listdir(box.root / "containers") == []


def test_an_ordinary_user_cannot(server: Server) -> None:
    with (
        tempfile.TemporaryDirectory(prefix="unionfs-test-", dir="/var/tmp") as folder,
        user() as who,
        program(Path(folder), server, who) as cli,
    ):
        os.chmod(folder, 0o755)
        cli("pull", "-q", "busybox")
        assert "--size is for root only" in cli.error("run", "--rm", "--size", "8m", *BOX, "echo")
