"""Mounts by the command line, for the tests of what it does."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Mounts
from tests.support import process
from tests.support.command import cleanup, run
from tests.support.mounts import Stack
from tests.support.notation import Tree

CAP_SYS_RESOURCE = 24  # some containers' root may not raise its limits

LAYER: Tree = {"a": b"lower", "d/f": b"x"}


@pytest.fixture
def stack(union_mounts: Mounts) -> Iterator[Stack]:
    """A lower, an upper, a work directory and a mount point, with all daemons ended afterwards."""
    made = union_mounts.stack([LAYER])
    with cleanup(made.base):
        yield made


def in_time(look: Callable[[], bool], what: str) -> None:
    process.wait_until(look, 20, what)


def mounted(stack: Stack, *arguments: str | Path, **kwargs: object) -> subprocess.CompletedProcess[str]:
    """Mounts the stack with the daemon; whatever it prints is a failure."""
    done = run("-o", stack.options(), *arguments, stack.mountpoint, **kwargs)  # type: ignore[arg-type]
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return done


def refused(*arguments: str | Path, **kwargs: object) -> str:
    """The one line of a command that fails."""
    done = run(*arguments, **kwargs)  # type: ignore[arg-type]
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("unionfs: ")
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr
    return done.stderr


def has_capability(number: int) -> bool:
    status = Path("/proc/self/status").read_text()
    return bool(int(status.partition("CapEff:")[2].split()[0], 16) >> number & 1)


def umount(target: Path) -> None:
    subprocess.run(["umount", target], check=True, timeout=20)
