"""Containers of a user who is not root, with ranges of ids of his own and without."""

from __future__ import annotations

import os
import re
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.imagetool.e2e.containers import BOX, FOREVER, fetched, monitor_of, processes
from tests.support.imagetool import Cli, program
from tests.support.process import wait_until
from tests.support.registry import Server
from tests.support.sandbox import SUB_ID, USER, user

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(params=["one-id", "ranges"])
def mine(request: pytest.FixtureRequest, server: Server) -> Iterator[Cli]:
    """The command line of an ordinary user, with busybox; at the end nothing of his is left."""
    with (
        tempfile.TemporaryDirectory(prefix="unionfs-test-", dir="/var/tmp") as folder,
        user(sub_ids=request.param == "ranges") as box,
        program(Path(folder), server, box) as cli,
    ):
        os.chmod(folder, 0o755)
        cli("pull", "-q", "busybox")
        yield cli
        ids = cli("ps", "-aq", "--no-trunc").split()
        if ids:
            cli("rm", "-f", *ids)
        assert os.listdir(cli.root / "containers") == []
        wait_until(lambda: processes(cli) == [], 15, "the end of all processes")


def ranges(cli: Cli) -> bool:
    return len(cli("run", "--rm", *BOX, "cat", "/proc/self/uid_map").splitlines()) > 1


def test_run(mine: Cli) -> None:
    script = "id -u; echo made > /made; busybox hostname; busybox mount | busybox head -n 1; exit 7"
    done = mine.run(
        "run", "--name", "one", *BOX, "sh", "-c", script.replace("id -u", "busybox id -u"), code=7
    )
    uid, hostname, root = done.stdout.splitlines()
    assert (uid, re.fullmatch("[0-9a-f]{12}", hostname) is not None) == ("0", True)
    assert " on / type fuse.unionfs " in root
    upper = Path(mine("inspect", "-f", "{{.GraphDriver.Data.UpperDir}}", "one").strip())
    assert (upper / "made").stat().st_uid == USER.pw_uid
    assert mine("diff", "one") == "A /made\n"
    assert "(virtual" in mine("ps", "-a", "-s")
    assert mine("start", "-a", "one", code=7).splitlines()[0] == "0"


def test_users_inside(mine: Cli) -> None:
    script = "busybox id -u; echo x > /tmp/f; busybox stat -c %u /tmp/f"
    done = mine.run("run", "--rm", "-u", "33:33", *BOX, "sh", "-c", script)
    if ranges(mine):
        assert (done.stdout, done.stderr) == ("33\n33\n", "")
    else:
        assert done.stdout == "0\n0\n"
        assert done.stderr == (
            "WARNING: only one user id is available: running as root of the namespace, not as 33:33\n"
        )


def test_owners_are_kept_in_the_image_of_a_commit(mine: Cli) -> None:
    if not ranges(mine):
        return
    script = "echo x > /theirs; busybox chown 33:44 /theirs; busybox chmod 4750 /theirs; busybox mknod /p p"
    mine("run", "--name", "cc", *BOX, "sh", "-c", script)
    mine("commit", "cc", "changed")
    look = "busybox stat -c '%u %g %a %F' /theirs /p"
    out = mine("run", "--rm", "--network", "none", "changed", "sh", "-c", look)
    assert out.splitlines() == ["33 44 4750 regular file", "0 0 644 fifo"]
    upper = Path(mine("inspect", "-f", "{{.GraphDriver.Data.UpperDir}}", "cc").strip())
    assert {path.lstat().st_uid for path in upper.iterdir()} == {USER.pw_uid}


def test_exec_cp_logs_and_stop(mine: Cli) -> None:
    mine("run", "-d", "--name", "xx", *BOX, "sh", "-c", f"echo said; {FOREVER[2]}")
    assert mine("exec", "xx", "busybox", "id", "-u") == "0\n"
    assert mine("exec", "-u", "0", "-e", "A=1", "-w", "/tmp", "xx", "sh", "-c", "echo $A; pwd") == "1\n/tmp\n"
    assert mine("exec", "-i", "xx", "cat", text="typed") == "typed"
    (mine.folder / "file").write_text("text")
    os.chown(mine.folder / "file", USER.pw_uid, USER.pw_gid)
    mine("cp", mine.folder / "file", "xx:/tmp/in")
    assert mine("exec", "xx", "cat", "/tmp/in") == "text"
    mine("cp", "xx:/tmp/in", mine.folder / "out")
    assert ((mine.folder / "out").read_text(), (mine.folder / "out").stat().st_uid) == ("text", USER.pw_uid)
    assert mine("logs", "xx") == "said\n"
    assert "xx" in mine("ps")
    memory, processes = mine("stats", "--no-stream", "--format", "{{.MemUsage}},{{.PIDs}}", "xx").split(",")
    assert not memory.startswith("0B"), memory
    assert int(processes) > 0
    mine("exec", "-d", "xx", "busybox", "sleep", "60")
    wait_until(lambda: "busybox sleep 60" in mine("top", "xx"), 10, "both processes")
    assert "sh -c echo said" in mine("top", "xx")
    mine("stop", "-t", "5", "xx")
    mine("cp", mine.folder / "file", "xx:/tmp/later")
    mine("cp", "xx:/tmp/later", mine.folder / "back")
    assert (mine.folder / "back").read_text() == "text"
    assert mine("export", "xx") != ""


def test_what_is_not_isolated_is_said(mine: Cli) -> None:
    done = mine.run("run", "--rm", "--memory", "64m", *BOX, "echo", "runs")
    assert done.stdout == "runs\n"
    assert done.stderr == "WARNING: resource limits do not apply: no cgroup may be made here\n"
    assert "--top overlay is for root only" in mine.error("run", "--rm", "--top", "overlay", *BOX, "echo")


def test_volumes_and_binds(mine: Cli) -> None:
    write = "echo v > /v/f; busybox chown 33 /v/f 2>&1; echo b > /b/f"
    (mine.folder / "bind").mkdir()
    os.chown(mine.folder / "bind", USER.pw_uid, USER.pw_gid)
    mine("run", "--name", "vv", "-v", "/v", "-v", f"{mine.folder}/bind:/b", *BOX, "sh", "-c", write)
    assert (mine.folder / "bind/f").stat().st_uid == USER.pw_uid
    (volume,) = os.listdir(mine.root / "volumes")
    owner = (mine.root / "volumes" / volume / "f").stat().st_uid
    assert owner == (SUB_ID + 32 if ranges(mine) else USER.pw_uid)
    mine("rm", "-v", "vv")
    assert os.listdir(mine.root / "volumes") == []


NETWORKS = ("pasta", "slirp4netns")


def only(cli: Cli, *wanted: str) -> str:
    """A PATH on which of the programs for networks there are just these."""
    folder = Path(tempfile.mkdtemp(dir=cli.folder))
    for place in ("/usr/bin", "/usr/sbin"):
        for name in os.listdir(place):
            if name not in (*NETWORKS, "pasta.avx2") or name in wanted:
                with suppress(FileExistsError):
                    (folder / name).symlink_to(f"{place}/{name}")
    folder.chmod(0o755)
    return str(folder)


@pytest.mark.parametrize("program", NETWORKS)
def test_a_network_in_user_space(mine: Cli, program: str) -> None:
    serve = "busybox mkdir /w; echo served > /w/index.html; exec busybox httpd -f -p 80 -h /w"
    path = only(mine, program)
    mine("run", "-d", "--name", "web", "-p", "127.0.0.1:0:80", "busybox", "sh", "-c", serve, PATH=path)
    assert fetched(int(mine("port", "web", "80").rpartition(":")[2])) == "served\n"
    assert "nameserver 10.0.2.3" in mine("exec", "web", "cat", "/etc/resolv.conf")
    assert "default via 10.0.2.2" in mine("exec", "web", "busybox", "ip", "route")
    assert [name for name in NETWORKS if _runs(mine, name)] == [program]
    os.kill(monitor_of(mine), signal.SIGKILL)
    wait_until(lambda: not _runs(mine, program), 10, "the end of the network's program")
    mine("rm", "-f", "web")


def _runs(cli: Cli, program: str) -> bool:
    commands = [Path(f"/proc/{pid}/cmdline") for pid in processes(cli)]
    return any(path.exists() and path.read_bytes().startswith(program.encode() + b"\0") for path in commands)


@contextmanager
def said(address: str, word: str) -> Iterator[int]:
    """A port of this machine where everybody hears a word, and good-bye."""
    with socket.create_server((address, 0)) as server:

        def serve() -> None:
            with suppress(OSError):  # it is over
                while True:
                    client, _ = server.accept()
                    with client:
                        client.sendall(word.encode() + b"\n")

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.mark.parametrize("program", NETWORKS)
def test_the_way_out_of_a_network_in_user_space(mine: Cli, program: str) -> None:
    """To an address of this machine's that is no loopback; what listens on the loopback is out of reach."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        address = probe.getsockname()[0]
    with said("0.0.0.0", "out") as way_out, said("127.0.0.1", "in") as private:
        places = [(address, way_out), ("10.0.2.2", private), ("127.0.0.1", private)]
        script = "".join(f"busybox timeout 5 busybox nc {ip} {port} < /dev/null;" for ip, port in places)
        run = ("run", "--rm", "busybox", "sh", "-c", f"{script} true")
        assert mine(*run, PATH=only(mine, program)) == "out\n"


def test_without_a_program_for_it_the_network_is_a_loopback(mine: Cli) -> None:
    done = mine.run("run", "--rm", "busybox", "echo", "runs", PATH=only(mine))
    assert done.stdout == "runs\n"
    assert done.stderr == (
        "WARNING: no network but the container's own loopback: neither pasta nor slirp4netns is installed "
        "(or use --network none or host)\n"
    )
    shown = mine.error("run", "--rm", "-p", "127.0.0.1:0:80", "busybox", "echo", PATH=only(mine))
    assert "neither pasta nor slirp4netns is installed" in shown


def test_a_port_that_is_root_s(mine: Cli) -> None:
    shown = mine.error("run", "--rm", "-p", "80:80", "busybox", "echo")
    assert "0.0.0.0:80/tcp" in shown


def test_the_state_is_true_after_a_killed_monitor(mine: Cli) -> None:
    mine("run", "-d", "--name", "kk", *BOX, *FOREVER)
    os.kill(monitor_of(mine), signal.SIGKILL)
    assert "Up" in mine("ps")
    assert mine("exec", "kk", "echo", "lives") == "lives\n"
    mine("stop", "-t", "0", "kk")
    assert "Exited" in mine("ps", "-a")
    mine("start", "kk")
    os.kill(monitor_of(mine), signal.SIGKILL)
    mine("rm", "-f", "kk")


def test_chroot_only(mine: Cli) -> None:
    done = mine.run("run", "--rm", "--isolation", "chroot", *BOX, "sh", "-c", "busybox id -u; echo /bin/sh")
    assert done.stdout.splitlines()[0] == "0"
    assert "isolation is chroot" in done.stderr
