"""A command whose options are parsed in a child: nobody sees that there are two processes."""

from __future__ import annotations

import fcntl
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.imagetool.e2e.containers import BOX
from tests.support.imagetool import PROGRAM, Cli
from tests.support.process import wait_until

pytestmark = pytest.mark.timeout(60)

TELLING = """
import os, sys
from imagetool import ahead
from imagetool.__main__ import main
leave, here = os._exit, os.getpid()
def tell(status):
    if os.getpid() == here:
        slow = {"click", "typing", "threading", "_hashlib", "imagetool.containers.commit"}
        print(sorted(slow & set(sys.modules)))
        sys.stdout.flush()
    leave(status)
os._exit = tell
"""


@pytest.fixture
def made(box: Cli) -> Cli:
    """There is a container to commit, with the name cc."""
    box("create", "--name", "cc", *BOX, "true")
    return box


def telling(cli: Cli, code: str, *words: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-c", f"{TELLING}{code}\nmain()", *words]
    return subprocess.run(argv, capture_output=True, text=True, env=cli.env, check=False)


@pytest.mark.parametrize("words", [("commit",), ("container", "commit")])
def test_the_work_is_done_where_nothing_is_parsed(made: Cli, words: tuple[str, ...]) -> None:
    done = telling(made, "", "--root", str(made.root), *words, "-m", "one\udcff", "cc", "new:1")
    image, imported = done.stdout.splitlines()
    assert imported == "['imagetool.containers.commit']"
    assert made("images", "-q", "--no-trunc", "new").strip() == image
    assert "one" in made("history", "new:1")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["commit"], "Missing argument 'CONTAINER' (see: imagetool commit --help)"),
        (["commit", "--nosuch", "cc"], "No such option"),
        (["commit", "nobody"], "No such container: nobody"),
        (["commit", "cc", "UPPER"], "lower case"),
        (["commit", "-c", "RUN x", "cc"], "RUN is not a valid change"),
        (["-l", "debug", "commit", "nobody"], "No such container: nobody"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_every_mistake_is_one_line(made: Cli, words: list[str], said: str) -> None:
    done = made.run(*words, code=125)
    assert said in done.stderr.splitlines()[-1]
    assert done.stderr.count("Error: ") == 1
    assert done.stdout == ""


def test_help_is_the_command_s(made: Cli) -> None:
    assert made("commit", "--help").startswith("Usage: imagetool commit ")
    assert "commit" not in made("--help").partition("Commands")[0]


def test_an_interrupt_ends_both_with_one_status(made: Cli, tmp_path: Path) -> None:
    lock = made.root / "locks" / "index"
    with lock.open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        process = subprocess.Popen(
            [*PROGRAM, "commit", "cc"], env=made.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip
        waits = f"-> FLOCK  ADVISORY  WRITE {process.pid} "
        wait_until(lambda: waits in Path("/proc/locks").read_text(), 20, "the store is waited for")
        os.killpg(process.pid, signal.SIGINT)
        assert process.communicate(timeout=20) == ("", "\n")
    assert process.returncode == 130


def test_a_parser_that_is_killed_is_told_by_the_status(made: Cli) -> None:
    done = telling(made, "ahead._parse = lambda _: os.kill(os.getpid(), 9)", "commit", "cc")
    assert (done.returncode, done.stderr) == (137, "")


def test_a_pipe_that_nobody_reads(made: Cli) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [*PROGRAM, "commit", "cc"], env=made.env, stdout=writer, stderr=subprocess.PIPE, check=False
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def test_closed_streams_do_not_get_mixed_up_with_what_is_handed_over(made: Cli) -> None:
    line = f"exec {shlex.join(PROGRAM)} commit cc new <&- >&- 2>&-"
    assert subprocess.run(["sh", "-c", line], env=made.env, check=False).returncode == 0
    assert made("images", "-q", "new")


def test_completion_is_one_process_s(made: Cli) -> None:
    env = {"_IMAGETOOL_COMPLETE": "bash_complete", "COMP_WORDS": "imagetool commit ", "COMP_CWORD": "2"}
    assert "plain,cc" in made("commit", **env)
