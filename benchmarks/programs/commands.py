"""Programs as the commands that a person would type, what they spend, and the daemons that some of them need.

Each program has a store of its own; what it does with it is told by those who measure it.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.inputs import PROJECT
from benchmarks.system import Failed, run

Argv = list[str]


class Program:
    """One program with its store in `home`. `server` is its daemon's process id, if it has one."""

    name = ""
    executable = ""
    server: int | None = None

    def __init__(self, home: Path) -> None:
        self.home = home

    @classmethod
    def installed(cls) -> bool:
        return shutil.which(cls.executable or cls.name) is not None

    def command(self, *words: str) -> Argv:
        """`words` for it; with its own store, if it has stores."""
        return [self.name, *words]

    @contextmanager
    def running(self) -> Iterator[None]:
        """Whatever has to run beside it."""
        yield


class ImageTool(Program):
    name = "imagetool"

    @classmethod
    def installed(cls) -> bool:
        return True

    def command(self, *words: str) -> Argv:
        script = Path(sys.executable).with_name("imagetool")
        program = [str(script)] if script.exists() else [sys.executable, "-m", "imagetool"]
        return [*program, "--root", str(self.home), *words]


class Podman(Program):
    name = "podman"

    def command(self, *words: str) -> Argv:
        return ["podman", *_places(self.home), "--cgroup-manager", "cgroupfs", *words]


class Buildah(Program):
    name = "buildah"
    options: Sequence[str] = ()  # of its storage driver

    def command(self, *words: str) -> Argv:
        options = [word for option in self.options for word in ("--storage-opt", option)]
        return ["buildah", *_places(self.home), *options, *words]


def _places(home: Path) -> Argv:
    return ["--root", str(home / "root"), "--runroot", str(home / "run"), "--storage-driver", "overlay"]


class Ctr(Program):
    """containerd's own client, with the overlayfs snapshotter."""

    name = "ctr"

    @contextmanager
    def running(self) -> Iterator[None]:
        text = f"""version = 2
root = "{self.home}/root"
state = "{self.home}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "{self.home}/socket"
"""
        (self.home / "config.toml").write_text(text)
        command = ["containerd", "-c", f"{self.home}/config.toml", "-l", "error"]
        with daemon(command, self.home / "log") as process:
            self.server = process.pid
            until_it_answers(self.command("version"))
            yield

    def command(self, *words: str) -> Argv:
        return ["ctr", "-a", f"{self.home}/socket", *words]


class Docker(Program):
    """Debian's client where it is installed, which is of the daemon's own version and has BuildKit."""

    name = "docker"
    executable = "dockerd"
    network: Sequence[str] = ("--bridge=none", "--iptables=false", "--ip6tables=false")

    @contextmanager
    def running(self) -> Iterator[None]:
        home = self.home
        places = ["--data-root", f"{home}/data", "--exec-root", f"{home}/exec", "-p", f"{home}/pid"]
        options = [*self.network, "--storage-driver=overlay2", "-l", "error"]
        command = ["dockerd", *places, "-H", f"unix://{home}/socket", *options]
        with daemon(command, home / "log") as process:
            self.server = process.pid
            until_it_answers(self.command("version"))
            yield

    def command(self, *words: str) -> Argv:
        client = "/usr/bin/docker" if Path("/usr/bin/docker").exists() else "docker"
        return [client, "-H", f"unix://{self.home}/socket", *words]


class Used:
    """What commands took: seconds from exec to exit, CPU seconds, MiB at the peak of the largest process."""

    def __init__(self) -> None:
        self.seconds = self.cpu = self.peak = 0.0
        self.said = ""


def spend(commands: Sequence[Argv], *, timeout: float = 300) -> Used:
    """Runs them one after the other. Failed with the words of the first that fails, or takes too long.

    They write to a file: who waits for the end of a pipe waits for what they leave running, too.
    """
    used = Used()
    for argv in commands:
        with tempfile.TemporaryFile() as output:
            begin = time.perf_counter()
            process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=_environ(), cwd="/"
            )  # fmt: skip
            usage = _wait(process, timeout)
            used.seconds += time.perf_counter() - begin
            output.seek(0)
            used.said = output.read().decode(errors="replace")
        used.cpu += usage.ru_utime + usage.ru_stime
        used.peak = max(used.peak, usage.ru_maxrss / 1024)
        if process.returncode:
            raise Failed(f"{' '.join(argv[:8])}: {used.said.strip()[-300:] or process.returncode}")
    return used


def _wait(process: subprocess.Popen[bytes], timeout: float) -> resource.struct_rusage:
    """What it used, once it has ended; it is made to after `timeout` seconds."""
    killer = threading.Timer(timeout, process.kill)
    killer.start()
    try:
        _, status, usage = os.wait4(process.pid, 0)
    finally:
        killer.cancel()
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage


def _environ() -> dict[str, str]:
    """Programs as they are installed: compiled modules may be kept, and no other configuration counts."""
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    return kept | {"PYTHONPATH": str(PROJECT), "DOCKER_BUILDKIT": "1"}


def until_it_answers(command: Argv, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            run(command, timeout=seconds)
            return
        except Failed:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


@contextmanager
def daemon(
    command: list[str], log: Path, environ: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that ends with the block, whatever happens in it."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environ,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
