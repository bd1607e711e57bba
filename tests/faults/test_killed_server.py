"""A server that is killed takes nobody with it, whatever it was doing."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path

import pytest

from tests.conftest import Mounts
from tests.support import process
from tests.support.fsck import fsck

FILES = 1500
ROUNDS = 8
PATIENCE = 20.0  # seconds for readers to notice; they need milliseconds


def readers(path: Path, n: int) -> list[subprocess.Popen[bytes]]:
    """Processes that read every file, so that the server reads ahead for one what another is at."""
    command = ["sh", "-c", f"tar -C {path} -cf - . | cat"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return [subprocess.Popen(command, **quiet, start_new_session=True) for _ in range(n)]  # type: ignore[call-overload]


@pytest.mark.timeout(200)
@pytest.mark.parametrize("upper", [None, {}], ids=["read-only", "writable"])
def test_readers_end_when_the_server_is_killed(union_mounts: Mounts, upper: dict[str, bytes] | None) -> None:
    tree = {f"d{n % 30}/f{n}": b"x" * (n * 37 % 30_000) for n in range(FILES)}
    seed = random.Random(1)
    for _ in range(ROUNDS):
        mounted = union_mounts.union(union_mounts.stack([tree], upper=upper, kinds="tar"))
        started = readers(mounted.path, 3)
        time.sleep(seed.uniform(0.02, 0.25))
        mounted.kill()
        try:
            for reader in started:
                reader.wait(PATIENCE)
        finally:
            for reader in started:
                with suppress(ProcessLookupError):
                    os.killpg(reader.pid, signal.SIGKILL)


def work(root: Path, done: Path) -> None:
    """Makes, replaces, changes and moves files until the mount is gone, and notes outside of it what is finished."""
    with suppress(OSError), done.open("w", buffering=1) as notes:
        for step in range(FILES):
            folder = root / f"d{step % 30}"
            (root / "temporary").write_text(str(step))
            (root / "temporary").rename(folder / "own")
            with open(folder / f"f{step}", "r+b") as file:
                file.write(b"L")
            (folder / f"f{step}").rename(root / f"f{step}")
            notes.write(f"{step}\n")


@pytest.mark.timeout(200)
@pytest.mark.parametrize("options", ["driver=kernel", "driver=pyfuse3"])
def test_what_was_done_before_the_server_is_killed_is_done(union_mounts: Mounts, options: str) -> None:
    layers = [{f"d{n % 30}/f{n}": b"lower" for n in range(FILES)}]
    seed = random.Random(2)
    for _ in range(3):
        made = union_mounts.stack(layers, kinds="tar")
        done = made.base / "done"
        with union_mounts.opened(made, options) as mounted:
            worker = get_context("fork").Process(target=work, args=(mounted.path, done))
            worker.start()
            process.wait_until(
                lambda done=done: done.exists() and done.stat().st_size > 0, PATIENCE, "a step"
            )  # type: ignore[misc]
            time.sleep(seed.uniform(0.02, 0.4))
            mounted.kill()
            worker.join(PATIENCE)
        last = int(done.read_text().splitlines()[-1])
        with union_mounts.opened(made, options) as mounted:
            mounted.call(lambda root=mounted.path, last=last: check(root, last))  # type: ignore[misc]
        assert made.upper
        assert fsck(made.upper, made.work) == []


def check(root: Path, last: int) -> None:
    """All that is noted has happened; of the step after it, nothing or some."""
    for step in range(last + 1):
        folder = root / f"d{step % 30}"
        assert (root / f"f{step}").read_bytes() == b"Lower"
        assert not (folder / f"f{step}").exists()
        own = int((folder / "own").read_text())
        assert (own % 30, own in range(last - 29, last + 2)) == (step % 30, True)
