"""The programs that are compared, as the commands that a person would type, each with a store of its own.

`pull` ends when the image can be mounted: for skopeo, which cannot mount, when it is copied; for umoci, when
skopeo has copied it and umoci has unpacked it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.images.inputs import daemon
from benchmarks.inputs import PROJECT
from benchmarks.system import Failed, run

Argv = list[str]
SKOPEO = ["skopeo", "--insecure-policy", "copy", "-q", "--src-tls-verify=false", "--dest-tls-verify=false"]


class Program:
    """One program with its store in `home`. `server` is its daemon's process id, if it has one.

    Every method gives the commands to run, in order; an empty list where the program cannot do it.
    """

    name = ""
    server: int | None = None

    def __init__(self, home: Path) -> None:
        self.home = home

    @contextmanager
    def running(self) -> Iterator[None]:
        """Whatever has to run beside it."""
        yield

    def pull(self, name: str) -> list[Argv]:
        return []

    def rename(self, name: str, new: str) -> list[Argv]:
        """Before a push to another registry."""
        return []

    def push(self, name: str, new: str) -> list[Argv]:
        return []

    def mount(self, name: str, target: Path) -> list[Argv]:
        return []

    def mounted_at(self, said: str, target: Path) -> Path:
        """Where it is now, by what the command printed."""
        return target

    def unmount(self, name: str, target: Path) -> list[Argv]:
        return []

    def images(self) -> list[Argv]:
        return []

    def load(self, archive: Path) -> list[Argv]:
        return []


class ImageTool(Program):
    name = "imagetool"

    def _command(self, *words: str) -> Argv:
        script = Path(sys.executable).with_name("imagetool")
        program = [str(script)] if script.exists() else [sys.executable, "-m", "imagetool"]
        return [*program, "--root", str(self.home), *words]

    def pull(self, name: str) -> list[Argv]:
        return [self._command("pull", "-q", name)]

    def rename(self, name: str, new: str) -> list[Argv]:
        return [self._command("tag", name, new)]

    def push(self, name: str, new: str) -> list[Argv]:
        return [self._command("push", "-q", new)]

    def mount(self, name: str, target: Path) -> list[Argv]:
        return [self._command("mount", name, str(target))]

    def unmount(self, name: str, target: Path) -> list[Argv]:
        return [self._command("umount", str(target))]

    def images(self) -> list[Argv]:
        return [self._command("images")]

    def load(self, archive: Path) -> list[Argv]:
        return [self._command("load", "-q", "-i", str(archive))]


class Podman(Program):
    name = "podman"

    def _command(self, *words: str) -> Argv:
        places = ["--root", str(self.home / "root"), "--runroot", str(self.home / "run")]
        return ["podman", *places, "--storage-driver", "overlay", "--cgroup-manager", "cgroupfs", *words]

    def pull(self, name: str) -> list[Argv]:
        return [self._command("pull", "-q", "--tls-verify=false", name)]

    def push(self, name: str, new: str) -> list[Argv]:
        return [self._command("push", "-q", "--tls-verify=false", name, new)]

    def mount(self, name: str, target: Path) -> list[Argv]:
        return [self._command("image", "mount", name)]

    def mounted_at(self, said: str, target: Path) -> Path:
        return Path(said.strip())

    def unmount(self, name: str, target: Path) -> list[Argv]:
        return [self._command("image", "unmount", name)]

    def images(self) -> list[Argv]:
        return [self._command("images")]

    def load(self, archive: Path) -> list[Argv]:
        return [self._command("load", "-q", "-i", str(archive))]


class Skopeo(Program):
    name = "skopeo"

    @property
    def _image(self) -> str:
        return f"oci:{self.home}/oci:image"

    def pull(self, name: str) -> list[Argv]:
        return [[*SKOPEO, f"docker://{name}", self._image]]

    def push(self, name: str, new: str) -> list[Argv]:
        return [[*SKOPEO, self._image, f"docker://{new}"]]


class Umoci(Program):
    name = "umoci"

    def pull(self, name: str) -> list[Argv]:
        unpack = ["umoci", "unpack", "--image", f"{self.home}/oci:image", str(self.home / "bundle")]
        return [[*SKOPEO, f"docker://{name}", f"oci:{self.home}/oci:image"], unpack]


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
        with daemon(command, self.home / "log") as self.server:
            _until_it_answers(self._command("version"))
            yield

    def _command(self, *words: str) -> Argv:
        return ["ctr", "-a", f"{self.home}/socket", *words]

    def pull(self, name: str) -> list[Argv]:
        return [self._command("images", "pull", "--plain-http", name)]

    def rename(self, name: str, new: str) -> list[Argv]:
        return [self._command("images", "tag", name, new)]

    def push(self, name: str, new: str) -> list[Argv]:
        return [self._command("images", "push", "--plain-http", new)]

    def mount(self, name: str, target: Path) -> list[Argv]:
        target.mkdir()
        return [self._command("images", "mount", name, str(target))]

    def unmount(self, name: str, target: Path) -> list[Argv]:
        return [self._command("images", "unmount", "--rm", str(target))]

    def images(self) -> list[Argv]:
        return [self._command("images", "ls")]


class Docker(Program):
    name = "docker"

    @contextmanager
    def running(self) -> Iterator[None]:
        places = [
            "--data-root",
            f"{self.home}/data",
            "--exec-root",
            f"{self.home}/exec",
            "-p",
            f"{self.home}/pid",
        ]
        alone = ["--bridge=none", "--iptables=false", "--ip6tables=false", "--storage-driver=overlay2"]
        command = ["dockerd", *places, "-H", f"unix://{self.home}/socket", *alone, "-l", "error"]
        with daemon(command, self.home / "log") as self.server:
            _until_it_answers(self._command("version"))
            yield

    def _command(self, *words: str) -> Argv:
        return ["docker", "-H", f"unix://{self.home}/socket", *words]

    def pull(self, name: str) -> list[Argv]:
        return [self._command("pull", "-q", name)]

    def rename(self, name: str, new: str) -> list[Argv]:
        return [self._command("tag", name, new)]

    def push(self, name: str, new: str) -> list[Argv]:
        return [self._command("push", "-q", new)]

    def images(self) -> list[Argv]:
        return [self._command("images")]

    def load(self, archive: Path) -> list[Argv]:
        return [self._command("load", "-q", "-i", str(archive))]


PROGRAMS: dict[str, type[Program]] = {
    made.name: made for made in (ImageTool, Podman, Skopeo, Umoci, Ctr, Docker)
}


class Used:
    """What commands took: seconds from exec to exit, CPU seconds, MiB at the peak of the largest process."""

    def __init__(self) -> None:
        self.seconds = self.cpu = self.peak = 0.0
        self.said = ""


def spend(commands: Sequence[Argv], *, timeout: float = 300) -> Used:
    """Runs them one after the other. Failed with the words of the first that fails."""
    used = Used()
    for argv in commands:
        begin = time.perf_counter()
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=_environ(), cwd="/"
        )  # fmt: skip
        assert process.stdout is not None
        with process.stdout as output:
            used.said = output.read().decode(errors="replace")
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        used.seconds += time.perf_counter() - begin
        used.cpu += usage.ru_utime + usage.ru_stime
        used.peak = max(used.peak, usage.ru_maxrss / 1024)
        if process.returncode:
            raise Failed(f"{' '.join(argv[:8])}: {used.said.strip()[-300:]}")
    return used


def _environ() -> dict[str, str]:
    """Programs as they are installed: compiled modules may be kept, and no other configuration counts."""
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    return kept | {"PYTHONPATH": str(PROJECT)}


def _until_it_answers(command: Argv, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            run(command, timeout=seconds)
            return
        except Failed:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)
