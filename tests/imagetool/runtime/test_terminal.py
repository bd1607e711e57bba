"""A caller's terminal in front of a container's, with real terminals on both sides."""

from __future__ import annotations

import os
import pty
import signal
import termios
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from imagetool.runtime import cgroups, signals, terminal
from imagetool.runtime.terminal import Ended
from tests.imagetool.runtime.kit import CGROUP, ID, Runner
from tests.support.process import wait_until

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def user() -> Iterator[tuple[int, int]]:
    """(what a person holds, what the program has): the two sides of a terminal."""
    outer, inner = pty.openpty()
    yield outer, inner
    os.close(outer)
    os.close(inner)


def test_raw_mode_is_undone_after_an_error(user: tuple[int, int]) -> None:
    before = termios.tcgetattr(user[1])

    def fail() -> None:
        with terminal.raw_mode(user[1]):
            assert termios.tcgetattr(user[1])[3] & termios.ECHO == 0
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert termios.tcgetattr(user[1]) == before
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_what_is_typed_ahead_is_kept(user: tuple[int, int]) -> None:
    os.write(user[0], b"ahead\r")
    with terminal.raw_mode(user[1]):
        assert os.read(user[1], 100).startswith(b"ahead")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_raw_mode_is_undone_by_a_deadly_signal(user: tuple[int, int], number: signal.Signals) -> None:
    before = termios.tcgetattr(user[1])
    pid = os.fork()
    if pid == 0:
        try:
            with terminal.raw_mode(user[1]):
                os.kill(os.getpid(), number)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -number
    wait_until(lambda: termios.tcgetattr(user[1]) == before, 10, "the terminal as it was")


def test_a_session(runner: Runner, user: tuple[int, int]) -> None:
    """The size is passed on at once and after a change, what is typed arrives, and detaching leaves it running."""
    outer, inner = user
    terminal.set_size(inner, 30, 100)
    runner.prepare("sh", "-c", "read x; stty size; read y; stty size; echo $x $y; sleep 60", tty=True)
    seen: list[bytes] = []

    def person() -> None:
        os.write(outer, b"one\r")
        _until(outer, seen, b"30 100")
        terminal.set_size(inner, 40, 120)
        os.kill(os.getpid(), signal.SIGWINCH)
        os.write(outer, b"two\r")
        _until(outer, seen, b"one two")
        os.write(outer, b"\x10\x11")

    with runner.created() as container:
        assert container.console is not None
        container.start()
        typist = threading.Thread(target=person)
        typist.start()
        assert terminal.interact(container.console, inner, inner) == Ended(detached=True)
        typist.join()
        assert container.poll() is None
    assert b"40 120" in b"".join(seen)


def test_signals_go_to_the_container(runner: Runner) -> None:
    runner.prepare("sh", "-c", "trap 'exit 9' USR1; touch /ready; while :; do sleep 0.02; done")
    with runner.created() as container:
        container.start()
        while not (runner.rootfs / "ready").exists():
            pass
        with signals.passed_on(container):
            os.kill(os.getpid(), signal.SIGUSR1)
            assert container.wait() == 9
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL


def test_a_frozen_container_does_nothing(runner: Runner) -> None:
    runner.prepare("sh", "-c", "while :; do echo x >> /count; sleep 0.01; done")
    count = runner.rootfs / "count"
    with runner.created() as container:
        container.start()
        _grows(count, 0)
        group = cgroups.Cgroup(f"{CGROUP}/{ID}")
        group.freeze(True)
        frozen = count.stat().st_size
        signal.sigtimedwait([], 0.2)
        assert count.stat().st_size == frozen
        group.freeze(False)
        _grows(count, frozen)


def _grows(path: Path, size: int) -> None:
    while not path.exists() or path.stat().st_size <= size:
        signal.sigtimedwait([], 0.01)


def _until(fd: int, seen: list[bytes], text: bytes) -> None:
    while text not in b"".join(seen):
        seen.append(os.read(fd, 1000))
