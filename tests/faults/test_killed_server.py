"""A server that is killed takes nobody with it, whatever it was doing."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.conftest import Mounts

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
