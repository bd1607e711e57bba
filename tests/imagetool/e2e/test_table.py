"""One table of what a container does, whoever carries it out and whoever keeps its RW layer."""

from __future__ import annotations

import os
import pty
import re
import shutil
import signal
import struct
import subprocess
import termios
import time
from fcntl import ioctl
from typing import NamedTuple

import pytest

from tests.imagetool.e2e.containers import BOX, FOREVER, column
from tests.support.imagetool import PROGRAM, Cli
from tests.support.process import wait_until

pytestmark = pytest.mark.timeout(180)

WAYS = {
    "builtin": (),
    "chroot": ("--isolation", "chroot"),
    "crun": ("--runtime", "crun"),
    **(
        {"runc": ("--runtime", "runc")}
        if shutil.which("runc", path=os.environ["PATH"] + ":/usr/sbin")
        else {}
    ),
    "fuse": ("--top", "fuse"),
    "overlay": ("--top", "overlay"),
}
ALONE = (
    "builtin",
    "crun",
    "runc",
    "fuse",
    "overlay",
)  # those with a host name, processes and limits of their own


class Case(NamedTuple):
    """`shown` is a pattern for all that it prints; `ways` where it holds, () everywhere."""

    options: tuple[str, ...]
    script: str
    shown: str
    code: int = 0
    ways: tuple[str, ...] = ()


TABLE = (
    Case((), "busybox id -u; pwd; echo $HOME", r"0\n/\n/\n"),
    Case(("-u", "33:44"), "busybox id -u; busybox id -g", r"33\n44\n"),
    Case(("-u", "33"), "echo x > /dev/stdout", r"x\n"),
    Case(("-w", "/new/dir"), "pwd", r"/new/dir\n"),
    Case(("-e", "A=b c"), "echo $A", r"b c\n"),
    Case((), "exit 7", "", 7),
    Case((), "busybox kill -9 $$; busybox sleep 5", "", 137, ("chroot",)),
    Case(("-h", "web"), "busybox hostname; cat /etc/hostname", r"web\nweb\n", 0, ALONE),
    Case((), "echo $$", r"1\n", 0, ("builtin", "crun", "runc", "overlay")),
    Case(("--read-only",), "echo x > /f", "", 1),
    Case(("--read-only", "--tmpfs", "/tmp"), "echo x > /tmp/f; cat /tmp/f", r"x\n"),
    Case(("-v", "/etc:/host:ro",), "test -e /host/passwd && ! busybox touch /host/x", ""),
    Case(("-v", "/data",), "echo x > /data/f; cat /data/f", r"x\n"),
    Case(("--ulimit", "nofile=100:200"), "ulimit -n; ulimit -Hn", r"100\n200\n"),
    Case(("--cap-drop", "ALL"), "busybox grep CapEff /proc/self/status", r"CapEff:\s+0+\n"),
    Case((), "busybox grep CapEff /proc/self/status", r"CapEff:\s+00000000a80425fb\n"),
    Case(("--security-opt", "no-new-privileges"), "busybox grep NoNewPrivs /proc/self/status", r"NoNewPrivs:\s+1\n"),
    Case((), "busybox grep Seccomp: /proc/self/status", r"Seccomp:\s+2\n"),
    Case(("--security-opt", "seccomp=unconfined"), "busybox grep Seccomp: /proc/self/status", r"Seccomp:\s+0\n"),
    Case((), "busybox mount -t tmpfs t /tmp 2>/dev/null || echo refused", r"refused\n"),
    Case((), "echo x > /dev/null; test -c /dev/zero; busybox readlink /dev/fd", r"/proc/self/fd\n"),
    Case((), "busybox ls /sys/class/net", r"lo\n", 0, ALONE),
    Case(("--shm-size", "1m"), "busybox df -k /dev/shm | busybox tail -n 1", r"\S+ +1024 .*\n", 0, ALONE),
    Case(("--pids-limit", "5"), "busybox sleep 1 & busybox sleep 1 & busybox sleep 1 & busybox sleep 1 &"
         " busybox sleep 1 & busybox sleep 1 & busybox sleep 1", "", 2, ALONE),
    Case((), "busybox ln /bin/cat /hard; busybox mkdir -p /a/b; echo x > /a/b/c; busybox mv /a /d; cat /d/b/c", r"x\n"),
    Case((), "echo changed > /tmp/f; busybox rm /bin/ls; busybox test ! -e /bin/ls && cat /tmp/f", r"changed\n"),
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def plain_cgroups() -> None:
    """crun refuses version 1 hierarchies beside a version 2 one that has a controller: that one is hidden."""
    controllers = "/sys/fs/cgroup/unified/cgroup.controllers"
    if os.path.exists(controllers) and os.stat(controllers).st_size >= 0:
        subprocess.run(["mount", "--bind", "/dev/null", controllers], check=True)


@pytest.mark.parametrize("way", WAYS)
def test_table(box: Cli, way: str) -> None:
    for case in TABLE:
        if case.ways and way not in case.ways:
            continue
        run = (
            "run",
            "--rm",
            "--network",
            "none",
            *WAYS[way],
            *case.options,
            "busybox",
            "sh",
            "-c",
            case.script,
        )
        shown = box.run(*run, code=case.code).stdout
        assert re.fullmatch(case.shown, shown), (case, shown)
    assert box("ps", "-aq") == ""


@pytest.mark.parametrize("way", WAYS)
def test_life(box: Cli, way: str) -> None:
    """Signals, exec, changes that stay, commit while it runs, the end."""
    script = f"echo said; echo x > /made; trap 'echo usr1' USR1; {FOREVER[2]}"
    box("run", "-d", "--name", "one", *WAYS[way], "--network", "none", "busybox", "sh", "-c", script)
    wait_until(lambda: "A /made" in box("diff", "one"), 20, "its file")
    assert box("exec", "-u", "33", "one", "busybox", "id", "-u") == "33\n"
    assert box("exec", "-i", "one", "cat", text="typed") == "typed"
    box("exec", "one", "sh", "-c", "exit 9", code=9)
    assert "'nonesuch' not found" in box.run("exec", "one", "nonesuch", code=127).stderr.splitlines()[-1]
    assert (
        box.terminal("exec", "-it", "one", "sh", "-c", "test -t 0 && busybox tty") == "/dev/pts/0\n"
        or way == "chroot"
    )
    box("kill", "-s", "USR1", "one")
    wait_until(lambda: box("logs", "one") == "said\nusr1\n", 10, "the signal")
    box("commit", "one", "committed")
    assert box("run", "--rm", "--network", "none", "committed", "cat", "/made") == "x\n"
    box("stop", "one")
    assert column(box, "Status").startswith("Exited (0)")
    box("start", "one")
    assert box("exec", "one", "cat", "/made") == "x\n"
    box("kill", "one")
    assert box("wait", "one") == "137\n"


class Screen:
    """A command line on a terminal that a person has in front of him."""

    def __init__(self, cli: Cli, *arguments: str) -> None:
        self._master, slave = pty.openpty()
        self.resize(30, 90)
        self.process = subprocess.Popen(
            [*PROGRAM, *arguments], stdin=slave, stdout=slave, stderr=slave, env=cli.env | {"TERM": "xterm"},
            start_new_session=True,
        )  # fmt: skip
        os.close(slave)
        os.set_blocking(self._master, False)
        self.shown = ""

    def resize(self, rows: int, columns: int) -> None:
        ioctl(self._master, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))

    def types(self, text: str) -> None:
        os.write(self._master, text.encode())

    def shows(self, text: str) -> None:
        wait_until(lambda: text in self._read(), 20, f"{text!r} on the screen")

    def is_raw(self) -> bool:
        return not termios.tcgetattr(self._master)[3] & termios.ICANON

    def end(self) -> int:
        deadline = time.monotonic() + 20
        while self.process.poll() is None and time.monotonic() < deadline:
            self._read()
            time.sleep(0.02)
        self.process.kill()
        code = self.process.wait()
        assert not self.is_raw(), "the terminal was left in raw mode"
        os.close(self._master)
        return code

    def _read(self) -> str:
        try:
            self.shown += os.read(self._master, 1 << 16).decode(errors="replace").replace("\r\n", "\n")
        except (BlockingIOError, OSError):
            return self.shown
        return self.shown


@pytest.mark.parametrize("way", ["builtin", "crun"])
def test_a_terminal(box: Cli, way: str) -> None:
    screen = Screen(box, "run", "-it", "--name", "tt", *WAYS[way], "--network", "none", "busybox", "sh")
    screen.types("busybox stty size\n")
    screen.shows("30 90")
    screen.resize(40, 100)
    screen.process.send_signal(signal.SIGWINCH)
    time.sleep(0.5)
    screen.types("busybox stty size; busybox sleep 60\n")
    screen.shows("40 100")
    screen.types("\x03")  # ends the sleep, not the shell
    screen.types("echo still $((40 + 2))\n")
    screen.shows("still 42")
    screen.types("\x10\x11")  # ctrl-p ctrl-q
    assert screen.end() == 0
    assert column(box, "State") == "running"
    again = Screen(box, "attach", "--detach-keys", "ctrl-x", "tt")
    again.types("echo back $((40 + 3))\n")
    again.shows("back 43")
    again.types("\x18")
    assert again.end() == 0
    last = Screen(box, "attach", "tt")
    last.types("exit 5\n")
    assert last.end() == 5
    assert column(box, "Status").startswith("Exited (5)")


def test_a_terminal_is_given_back_when_the_command_is_killed(box: Cli) -> None:
    screen = Screen(box, "run", "-it", "--name", "tt", "--network", "none", "busybox", "sh")
    screen.types("echo $((40 + 1))\n")
    screen.shows("41")
    screen.process.terminate()  # goes to the container, whose shell does not care
    screen.types("exit 3\n")
    assert screen.end() == 3


@pytest.mark.parametrize("words", [("attach", "tt"), ("exec", "-it", "tt", "sh")], ids=lambda words: words[0])
def test_a_terminal_is_given_back_after_a_kill(box: Cli, words: tuple[str, ...]) -> None:
    box("run", "-dit", "--name", "tt", *BOX, "sh")
    screen = Screen(box, *words)
    screen.types("echo $((40 + 1))\n")
    screen.shows("41")
    assert screen.is_raw()
    screen.process.kill()
    wait_until(lambda: not screen.is_raw(), 10, "the terminal as it was")
    screen.end()
    assert column(box, "State") == "running"


def test_exec_is_left_alone_and_goes_on(box: Cli) -> None:
    box("run", "-d", "--name", "tt", *BOX, *FOREVER)
    screen = Screen(box, "exec", "-it", "tt", "sh")
    screen.types(
        "echo $((40 + 1)); until test -e /go; do echo waiting; busybox sleep 0.1; done; echo x > /done\n"
    )
    screen.shows("41")
    screen.types("\x10\x11")
    assert screen.end() == 0
    box("exec", "tt", "busybox", "touch", "/go")
    wait_until(lambda: "A /done" in box("diff", "tt"), 10, "what was left alone goes on")


def test_signals_are_passed_on(box: Cli) -> None:
    script = "trap 'exit 11' TERM; echo ready; while :; do busybox sleep 0.1; done"
    with subprocess.Popen(
        [*PROGRAM, "run", "--rm", *BOX, "sh", "-c", script], stdout=subprocess.PIPE, env=box.env
    ) as front:  # fmt: skip
        assert front.stdout is not None
        assert front.stdout.readline() == b"ready\n"
        front.terminate()
        assert front.wait(20) == 11


def test_restart_policies(box: Cli) -> None:
    count = "echo x >> /n; exit $(busybox wc -l < /n)"
    box(
        "run",
        "-d",
        "--name",
        "always",
        "--restart",
        "always",
        "--network",
        "none",
        "busybox",
        "sh",
        "-c",
        count,
    )
    box("run", "--name", "no", "--network", "none", "busybox", "sh", "-c", "exit 3", code=3)
    box("run", "--name", "well", "--restart", "on-failure", "--network", "none", "busybox", "echo")
    wait_until(lambda: int(box("inspect", "-f", "{{.RestartCount}}", "always")) >= 2, 20, "two restarts")
    box("stop", "-t", "0", "always")
    time.sleep(0.5)
    assert box("inspect", "-f", "{{.State.Running}}", "always") == "false\n"
    assert box("inspect", "-f", "{{.RestartCount}}", "no", "well") == "0\n0\n"
    assert "Conflicting options: --restart and --rm" in box.error(
        "run", "--rm", "--restart", "always", "busybox"
    )
