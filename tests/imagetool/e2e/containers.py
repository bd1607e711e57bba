"""What tests of containers through the commands share: images, and what must be gone at their end."""

from __future__ import annotations

import os
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

from tests.support.imagetool import Cli

BOX = ("--network", "none", "busybox")
FOREVER = ("sh", "-c", "trap 'exit 0' TERM; while :; do busybox sleep 0.1; done")


def traces(cli: Cli, ids: list[str]) -> list[str]:
    """Mounts, processes, cgroups, links and leases of these containers, or of this store."""
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    found = [path for path in mounts if path.startswith(str(cli.root))]
    for pattern in ("imagetool", "*/imagetool"):  # no "**": cgroups of others come and go
        found += [str(path) for each in ids for path in Path("/sys/fs/cgroup").glob(f"{pattern}/{each}")]
    found += [name for name in os.listdir("/sys/class/net") for each in ids if name == f"it-{each[:11]}"]
    leases = Path("/run/imagetool/network/leases.json")
    table = leases.read_text() if leases.exists() else ""
    return found + [each for each in ids if each in table] + [str(pid) for pid in processes(cli)]


def processes(cli: Cli) -> list[int]:
    """Monitors, file system servers and commands that were started for this store."""
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if (
                entry.name.isdigit()
                and f"IMAGETOOL_ROOT={cli.root}\0".encode() in (entry / "environ").read_bytes()
            ):
                found.append(int(entry.name))
    return found


def column(cli: Cli, name: str, *options: str) -> str:
    """One field of the only container in the list."""
    return cli("ps", "-a", *options, "--format", f"{{{{.{name}}}}}").strip()


def monitor_of(cli: Cli) -> int:
    """Who holds the lock of the only container."""
    (directory,) = (cli.root / "containers").iterdir()
    inode = str(os.stat(directory / "running").st_ino)
    rows = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    return next(int(row[4]) for row in rows if row[1] == "FLOCK" and row[5].endswith(f":{inode}"))


def fetched(port: int) -> str:
    """What the server says, as soon as it does."""
    deadline = time.monotonic() + 20
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
                text: str = answer.read().decode()
                return text
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
