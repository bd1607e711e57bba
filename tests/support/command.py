"""Runs the command line as mount(8), podman or a person does, and ends every daemon that it leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support import process
from tests.support.sandbox import CHECKOUT, ROOT, Sandbox

PROGRAM = [sys.executable, "-m", "unionfs"]
TIMEOUT = 30.0


def run(
    *arguments: str | Path, cwd: Path = Path("/"), box: Sandbox = ROOT, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs `unionfs ARGUMENTS…` to its end, which includes that of everybody who holds its output open."""
    return subprocess.run(
        [*PROGRAM, *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="surrogateescape",
        timeout=TIMEOUT,
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(CHECKOUT)} | dict(env or {}),
        preexec_fn=box.enter,
    )


def daemons(base: Path) -> list[int]:
    """The pids of the servers whose command lines name something below `base`."""
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            words = (entry / "cmdline").read_bytes() if entry.name.isdigit() else b""
            if b"unionfs" in words and os.fsencode(base) in words:
                found.append(int(entry.name))
    return found


def has_ended(pid: int) -> bool:
    """Whether a process is gone, or is a zombie that only waits to be buried."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def mounts_below(base: Path, pid: int | str = "self") -> dict[str, list[str]]:
    """The rows of a process's mountinfo at and below a directory, by mount point."""
    rows = [line.split() for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines()]
    return {row[4]: row for row in rows if row[4].startswith(str(base))}


@contextmanager
def root_beside(box: Sandbox) -> Iterator[Sandbox]:
    """Root in the mount namespace of another sandbox, who sees its mounts."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            process.die_with_parent()
            box.enter()
            os.write(writer, b"+")
            signal.pause()
        finally:
            os._exit(1)
    assert os.read(reader, 1) == b"+"
    namespace = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    try:
        yield Sandbox(
            "beside", lambda: process.setns(namespace, process.CLONE_NEWNS), 0, ("umount",), "trusted"
        )
    finally:
        for fd in (reader, writer, namespace):
            os.close(fd)


@contextmanager
def cleanup(base: Path, box: Sandbox = ROOT) -> Iterator[None]:
    """At the end nothing is mounted below `base` any more, and none of its servers is left."""
    try:
        yield
    finally:
        for pid in daemons(base):
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)  # first: whoever waits for it is freed
        process.in_child(lambda: _detach_all(base, box))


def _detach_all(base: Path, box: Sandbox) -> None:
    box.enter()
    for target in sorted(mounts_below(base), reverse=True):
        subprocess.run(
            [*box.umount, *(["-z"] if "fusermount3" in box.umount else ["-l"]), target], check=False
        )
