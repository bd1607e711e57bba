"""A Docker daemon for tests: Debian's docker.io with nothing of the machine's.

It has its data and socket in a directory of the test's, mounts and a network of its own (a loopback that is down), and
changes no firewall. It is ended by its pid, and by the kernel if the test process is killed.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmarks.programs.commands import daemon

START_SECONDS = 60
CGROUPS = Path("/sys/fs/cgroup")

APART = 'mount -t tmpfs -o mode=755 run /run && mount -t tmpfs -o mode=755 etc /etc/docker && exec "$0" "$@"'
"""It writes to both whatever it is told, a key to the second."""


class Docker:
    def __init__(self, home: Path) -> None:
        self.home = home
        self.env = {
            "PATH": os.environ["PATH"], "HOME": str(home), "DOCKER_HOST": f"unix://{home}/socket",
            "DOCKER_BUILDKIT": "1",
        }  # fmt: skip

    def __call__(self, *words: str, cwd: Path = Path("/")) -> str:
        """What the client prints; AssertionError with its words if it fails."""
        command = [
            "/usr/bin/docker",
            *words,
        ]  # Debian's, which goes with the daemon, whatever else is in PATH
        done = subprocess.run(command, capture_output=True, env=self.env, cwd=cwd, timeout=100)
        assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
        return done.stdout.decode()


@contextmanager
def docker(home: Path) -> Iterator[Docker]:
    """`home` gets a daemon's data; nothing of it is mounted at the end."""
    parent = f"unionfs-test-{os.getpid()}"
    places = [f"--data-root={home}/data", f"--exec-root={home}/exec", f"--pidfile={home}/pid"]
    network = ["--bridge=none", "--iptables=false", "--ip6tables=false"]
    command = [
        *["setpriv", "--pdeathsig", "TERM", "unshare", "--mount", "--net", "sh", "-c", APART],
        *["dockerd", *places, f"--host=unix://{home}/socket", *network, "--log-level=error"],
        *["--storage-driver=overlay2", f"--cgroup-parent=/{parent}"],
    ]
    made = Docker(home)
    try:
        with daemon(command, home / "log") as process:
            _wait_for(made, process)
            yield made
    finally:
        for folder in [*CGROUPS.glob(f"**/{parent}/buildkit"), *CGROUPS.glob(f"**/{parent}")]:
            with suppress(OSError):
                folder.rmdir()


def _wait_for(made: Docker, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(AssertionError):
            made("version")
            return
        time.sleep(0.05)
    raise AssertionError(f"dockerd does not start: {(made.home / 'log').read_text()}")
