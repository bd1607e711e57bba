"""What the benchmarks ask of the machine: processes with a limit, mounts that always end, facts."""

from __future__ import annotations

import os
import platform
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


class Failed(Exception):
    """A command, a mount or a check did not do what it should; the text says which and why."""


def run(argv: Sequence[str | Path], *, timeout: float = 120, cwd: Path | None = None) -> str:
    """Run a command to its end and return its output; the whole process group dies with the limit."""
    with subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="surrogateescape",
        cwd=cwd,
        start_new_session=True,
    ) as process:
        try:
            out, err = process.communicate(timeout=timeout)
        except BaseException as stop:
            os.killpg(process.pid, signal.SIGKILL)
            if isinstance(stop, subprocess.TimeoutExpired):
                raise Failed(f"{argv[0]} did not end within {timeout:.0f} s") from stop
            raise
    if process.returncode:
        said = (err.strip() or out.strip() or f"exit status {process.returncode}").splitlines()[-1]
        raise Failed(f"{' '.join(map(str, argv[:6]))}: {said}")
    return out


def mounted(target: Path) -> bool:
    where = str(target).encode()
    return any(line.split()[4] == where for line in Path("/proc/self/mountinfo").read_bytes().splitlines())


def unmount(target: Path) -> None:
    """Unmount, by force if it must be; nothing is mounted there afterwards."""
    for flags in ([], ["-l"], ["-f", "-l"]):
        if not mounted(target):
            return
        subprocess.run(["umount", *flags, target], stderr=subprocess.DEVNULL, timeout=60, check=False)
    raise Failed(f"cannot unmount {target}")


@contextmanager
def watchdog(target: Path, seconds: float) -> Iterator[None]:
    """Break the connection of a FUSE mount that hangs: whoever waits for it gets an error and goes on."""
    argv = ["umount", "-f", "-l", str(target)]
    timer = threading.Timer(seconds, lambda: subprocess.run(argv, stderr=subprocess.DEVNULL, check=False))
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def tmpfs(target: Path) -> Iterator[Path]:
    target.mkdir(parents=True, exist_ok=True)
    run(["mount", "-t", "tmpfs", "-o", "mode=755", "benchmark", target])
    try:
        yield target
    finally:
        unmount(target)


def drop_dentries() -> None:
    """Make the kernel forget the names and inodes that nobody uses; data stay in the page cache."""
    Path("/proc/sys/vm/drop_caches").write_text("2")


def status_field(pid: int, field: str) -> float:
    """A size of /proc/PID/status, in MiB."""
    text = Path(f"/proc/{pid}/status").read_text()
    found = re.search(rf"^{field}:\s+(\d+) kB$", text, re.MULTILINE)
    if found is None:
        raise Failed(f"/proc/{pid}/status has no {field}")
    return int(found[1]) / 1024


def cpu_and_switches(pid: int) -> tuple[float, int]:
    """CPU time in ms (proc(5), schedstat: nanoseconds) and context switches of all threads of a process."""
    spent, switches = 0.0, 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        spent += int((task / "schedstat").read_text().split()[0]) / 1e6
        switches += sum(int(n) for n in re.findall(r"ctxt_switches:\s+(\d+)", (task / "status").read_text()))
    return spent, switches


def wait_until_gone(pid: int, seconds: float = 10) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not Path(f"/proc/{pid}").exists():
            return True
        time.sleep(0.005)
    return False


def machine() -> dict[str, str]:
    """What the figures depend on."""
    cpu = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())
    release = platform.freedesktop_os_release()
    return {
        "cpu": f"{os.cpu_count()} x {cpu[1] if cpu else platform.machine()}",
        "memory": f"{int(memory[1]) // 1048576 if memory else 0} GiB",
        "kernel": platform.release(),
        "system": release.get("PRETTY_NAME", ""),
        "python": platform.python_version(),
        "fuse-overlayfs": version("fuse-overlayfs"),
        "unionfs-fuse": version("unionfs-fuse"),
    }


def version(package: str) -> str:
    try:
        return run(["dpkg-query", "-W", "-f", "${Version}", package])
    except (Failed, OSError):
        return "not installed"
