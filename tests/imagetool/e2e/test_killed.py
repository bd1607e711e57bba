"""Whatever of a container's processes is killed, and when: the state is true, and removing leaves nothing.

UNIONFS_KILL_SECONDS says for how long processes are killed at random; 15, and 300 where it has to be believed.
"""

from __future__ import annotations

import fcntl
import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import glob
from pathlib import Path

import pytest

from imagetool.containers.state import State
from tests.imagetool.e2e.containers import BOX, FOREVER, column, monitor_of, processes, traces
from tests.support.imagetool import PROGRAM, Cli
from tests.support.process import wait_until

SECONDS = float(os.environ.get("UNIONFS_KILL_SECONDS", "15"))
pytestmark = pytest.mark.timeout(240 + 2 * int(SECONDS))

LIFE = (
    ("run", "--rm", *BOX, "busybox", "sleep", "0.3"),
    ("run", "-d", *BOX, *FOREVER),
    ("run", "-d", "--rm", "--restart=no", "busybox", *FOREVER),
    ("run", "-d", "--restart", "always", *BOX, "busybox", "sleep", "0.2"),
    ("run", "-d", "-p", "127.0.0.1:0:80", "busybox", "busybox", "httpd", "-f", "-p", "80"),
    ("run", "-d", "--init", *BOX, "sh", "-c", "while :; do echo x > /f; busybox sleep 0.05; done"),
    ("create", *BOX, "echo"),
)  # fmt: skip
CHANGES = (
    "start",
    "stop -t 0",
    "kill",
    "restart -t 0",
    "rm -f",
    "commit",
    "exec {} echo x",
    "pause",
    "cp {}:/bin/busybox copied",
)


def children(cli: Cli) -> list[int]:
    """Everything that was started for this store, and what runs in its containers."""
    names = (f"/sys/fs/cgroup/{each}imagetool/*/cgroup.procs" for each in ("", "*/"))
    inside: set[int] = set()
    for each in (
        Path(name) for pattern in names for name in glob(pattern)
    ):  # Path.glob minds what goes meanwhile
        if (cli.root / "containers" / each.parent.name).exists():
            with suppress(OSError):
                inside.update(int(line) for line in each.read_text().split())
    return sorted({*processes(cli), *inside})


def test_killed_at_random(box: Cli) -> None:
    dice = random.Random(7)
    running: list[subprocess.Popen[bytes]] = []
    made: set[str] = set()
    end, kills = time.monotonic() + SECONDS, 0
    while time.monotonic() < end:
        made.update(os.listdir(box.root / "containers"))
        running = [each for each in running if each.poll() is None]
        if len(running) < 4:
            running.append(command(box, dice))
        time.sleep(dice.uniform(0, 0.2))
        if victims := children(box):
            with suppress(ProcessLookupError):
                os.kill(dice.choice(victims), signal.SIGKILL)
                kills += 1
    for each in running:
        with suppress(subprocess.TimeoutExpired):
            each.wait(30)
        each.kill()
        each.wait()
    assert kills > SECONDS
    true_states(box)
    box("system", "check")
    box("run", "--rm", *BOX, "echo", "still works")
    if left := box("ps", "-aq", "--no-trunc").split():
        box("rm", "-f", *left)
    wait_until(lambda: traces(box, sorted(made)) == [], 20, "the end of all that was ever made")


def command(cli: Cli, dice: random.Random) -> subprocess.Popen[bytes]:
    """A command that makes a container, or changes one."""
    ids = sorted(os.listdir(cli.root / "containers"))
    words: tuple[str, ...] = dice.choice(LIFE)
    if (ids and dice.random() < 0.6) or len(ids) > 12:
        chosen, change = dice.choice(ids), dice.choice(CHANGES) if len(ids) <= 12 else "rm -f"
        words = tuple((change if "{}" in change else f"{change} {{}}").format(chosen).split())
    return subprocess.Popen(
        [*PROGRAM, *words], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env=cli.env, cwd=cli.folder, start_new_session=True,
    )  # fmt: skip


def true_states(cli: Cli) -> None:
    """What is called running has a process of that cgroup; what is not has none."""
    for row in cli("ps", "-a", "--no-trunc", "--format", "{{.ID}} {{.State}}").splitlines():
        made, state = row.split()
        if state in ("exited", "created"):
            pid = int(cli("inspect", "-f", "{{.State.Pid}}", made))
            assert pid == 0, row


def server_of(cli: Cli) -> int:
    """The file system server of the only container: it holds the lock of the RW layer."""
    (directory,) = (cli.root / "containers").iterdir()
    inode = str(os.stat(directory / "top/upper").st_ino)
    rows = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    return next(int(row[4]) for row in rows if row[1] == "FLOCK" and row[5].endswith(f":{inode}"))


def test_a_killed_server(box: Cli) -> None:
    """The container cannot go on, and everything else does."""
    box("run", "-d", "--name", "ss", *BOX, "sh", "-c", "while :; do echo x > /f; busybox sleep 0.1; done")
    os.kill(server_of(box), signal.SIGKILL)
    assert box("stop", "-t", "0", "ss") == "ss\n"
    assert column(box, "State") == "exited"
    box("start", "ss")
    wait_until(lambda: "A /f" in box("diff", "ss"), 10, "its changes")
    assert column(box, "State") == "running"


def test_removed_between_an_end_and_a_restart(box: Cli) -> None:
    """Its monitor has yet to hear of the end: no reason to call it ended, or in use."""
    box("run", "-d", "--restart", "always", *BOX, *FOREVER)
    monitor, pid = monitor_of(box), int(box("inspect", "-f", "{{.State.Pid}}", box("ps", "-q").strip()))
    os.kill(monitor, signal.SIGSTOP)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: is_over(pid), 10, "its end")
    removal = subprocess.Popen([*PROGRAM, "rm", "-f", box("ps", "-aq").strip()], env=box.env)
    with suppress(subprocess.TimeoutExpired):
        removal.wait(0.5)
    os.kill(monitor, signal.SIGCONT)
    assert removal.wait(30) == 0
    assert box("ps", "-aq") == ""


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Somebody has a container's lock, and is no monitor."""
    with open(directory / "running", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def test_the_id_of_a_process_that_is_anothers_by_now(box: Cli) -> None:
    """After a crash, while the container is started: nobody takes the other process for it."""
    made = box("run", "-d", "--name", "old", "busybox", *FOREVER).strip()
    directory, pid = box.root / "containers" / made, int(box("inspect", "-f", "{{.State.Pid}}", "old"))
    os.kill(monitor_of(box), signal.SIGKILL)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: is_over(pid), 10, "its end")
    with subprocess.Popen(["sleep", "60"]) as other, locked(directory):
        state = json.loads((directory / "state.json").read_text()) | {"pid": other.pid}
        (directory / "state.json").write_text(json.dumps(state))
        for words in (
            ["exec", "old", "true"],
            ["top", "old"],
            ["run", "--rm", "--network", "container:old", "busybox", "true"],
        ):
            assert "not run" in box.run(*words, code=125).stderr
        box("stop", "-t", "0", "old")
        box.run("kill", "old", code=125)
        assert other.poll() is None
        other.kill()
    box("start", "old")
    assert box("exec", "old", "busybox", "hostname").strip() == made[:12]


@pytest.mark.parametrize("status", ["restarting", "running"])
def test_what_a_killed_monitor_has_written_while_others_have_the_lock(box: Cli, status: str) -> None:
    made = box("create", "--restart", "always", *BOX, *FOREVER).strip()
    directory = box.root / "containers" / made
    (directory / "state.json").write_text(json.dumps(State(status, pid=1 << 22, started="never")._asdict()))
    with locked(directory):
        box("stop", made)
        removal = subprocess.Popen([*PROGRAM, "rm", "-f", made], env=box.env, stderr=subprocess.DEVNULL)
        with suppress(subprocess.TimeoutExpired):
            removal.wait(1)
    assert removal.wait(30) == 0
    assert box("ps", "-aq") == ""


def test_all_are_stopped_though_one_is_just_starting(box: Cli) -> None:
    first = box("create", "--name", "first", *BOX, *FOREVER).strip()
    box("run", "-d", "--name", "other", *BOX, *FOREVER)
    with locked(box.root / "containers" / first):
        box("stop", "-t", "0", "first", "other")
    assert box("ps", "-q") == ""


def test_many_remove_it_at_once(box: Cli) -> None:
    for _ in range(5):
        made = box("create", *BOX, "true").strip()
        removals = [subprocess.Popen([*PROGRAM, "rm", "-f", made], env=box.env) for _ in range(3)]
        assert [removal.wait(30) for removal in removals] == [0, 0, 0]


@pytest.mark.parametrize("words", ["stop", "kill", "rm -f", "wait", "restart -t 0"])
def test_the_monitor_is_killed_while_it_is_asked(box: Cli, words: str) -> None:
    made = box("run", "-d", *BOX, *FOREVER).strip()
    monitor = monitor_of(box)
    os.kill(monitor, signal.SIGSTOP)
    before = ears()
    asking = subprocess.Popen([*PROGRAM, *words.split(), made], env=box.env)
    wait_until(lambda: ears() > before, 20, "the connection")
    os.kill(monitor, signal.SIGKILL)
    if words == "wait":
        os.kill(int(box("inspect", "-f", "{{.State.Pid}}", made)), signal.SIGKILL)
    assert asking.wait(30) == 0
    assert column(box, "State") == {"rm -f": "", "restart -t 0": "running"}.get(words, "exited")


def is_over(pid: int) -> bool:
    """Whether a process has ended, waited for or not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def ears() -> int:
    """The sockets of monitors: the one that listens, and one for each that is connected."""
    return sum(row.endswith("/attach") for row in Path("/proc/net/unix").read_text().splitlines())


@pytest.mark.parametrize("options", [(), ("--rm",)], ids=" ".join)
def test_a_mount_namespace_of_others_keeps_no_server(box: Cli, options: tuple[str, ...]) -> None:
    """It has copies of all mounts, and makes a private thing of them: no unmount here reaches those."""
    made = box("run", "-d", "--name", "mm", *options, *BOX, *FOREVER).strip()
    other = subprocess.Popen(["unshare", "-m", "sh", "-c", "echo made; read end"], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE)  # fmt: skip
    with other:
        assert other.stdout is not None
        other.stdout.readline()
        assert made[:12] in Path(f"/proc/{other.pid}/mountinfo").read_text()
        box("stop", "-t", "0", "mm")
        if not options:
            assert box("start", "mm") == "mm\n"
            box("rm", "-f", "mm")
        wait_until(lambda: processes(box) == [], 20, "the end of its server")
        other.communicate(b"end\n")


def test_the_exit_code_after_a_killed_monitor(box: Cli) -> None:
    """Its end was seen by nobody, and that is what is said."""
    box("run", "-d", "--name", "kk", *BOX, "busybox", "sleep", "1")
    os.kill(monitor_of(box), signal.SIGKILL)
    assert box("wait", "kk") == "255\n"
    assert column(box, "Status").startswith("Exited (255)")
    assert box("inspect", "-f", "{{.State.Running}} {{.State.ExitCode}}", "kk") == "false 255\n"
    assert "monitor" in box("inspect", "-f", "{{.State.Error}}", "kk")


def test_a_killed_monitor_takes_its_helpers_with_it(box: Cli) -> None:
    box("run", "-d", "--name", "web", "-p", "127.0.0.1:0:80", "busybox", "busybox", "httpd", "-f", "-p", "80")
    monitor = monitor_of(box)
    helpers = [int(pid) for pid in Path(f"/proc/{monitor}/task/{monitor}/children").read_text().split()]
    os.kill(monitor, signal.SIGKILL)
    assert column(box, "State") == "running"
    box("rm", "-f", "web")
    wait_until(lambda: not [pid for pid in helpers if Path(f"/proc/{pid}/exe").exists()], 10, "their end")


def test_a_killed_attached_command_leaves_the_container(box: Cli) -> None:
    front = subprocess.Popen([*PROGRAM, "run", "--name", "ff", *BOX, *FOREVER], env=box.env)
    wait_until(lambda: box("ps", "-q") != "", 20, "the container")
    front.kill()
    front.wait()
    assert column(box, "State") == "running"
    assert box("stop", "ff") == "ff\n"
    assert column(box, "Status").startswith("Exited (0)")
