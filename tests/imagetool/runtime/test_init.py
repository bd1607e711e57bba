"""--init: process 1 reaps, passes signals on, and ends with the command."""

from __future__ import annotations

import os
import signal

import pytest

from imagetool.runtime.base import Stdio
from imagetool.runtime.errors import CommandNotFound
from tests.imagetool.runtime.kit import Runner

pytestmark = pytest.mark.timeout(60)


def test_the_command_is_not_process_1(runner: Runner) -> None:
    assert runner.run("sh", "-c", "echo $$", init=True).out == "2\n"


@pytest.mark.parametrize("user", ["", "101"])
def test_process_1_shows_nothing_of_the_host(runner: Runner, user: str) -> None:
    script = "tr '\\0' ' ' < /proc/1/cmdline; cat /proc/1/comm; : " + "x" * 10_000
    shown = runner.run("sh", "-c", script, init=True, user=user).out
    assert shown.startswith("init -- sh -c tr ")
    assert shown.endswith("init\n")
    assert "python" not in shown


def test_exit_codes(runner: Runner) -> None:
    assert runner.run("sh", "-c", "exit 5", init=True).code == 5
    assert runner.run("sh", "-c", "kill -9 $$", init=True).code == 137
    with pytest.raises(CommandNotFound):
        runner.run("nothing", init=True)


def test_orphans_are_reaped(runner: Runner) -> None:
    script = "for i in 1 2 3 4 5; do sh -c 'sleep 0.05 & exit' ; done; sleep 0.4; "
    script += "grep -l 'State:.Z' /proc/[0-9]*/status | wc -l"
    assert runner.run("sh", "-c", script, init=True).out == "0\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGINT])
def test_signals_are_passed_on(runner: Runner, number: signal.Signals) -> None:
    name = number.name.removeprefix("SIG")
    runner.prepare("sh", "-c", f"trap 'exit 7' {name}; echo ready; while :; do sleep 0.02; done", init=True)
    reader, writer = os.pipe()
    with os.fdopen(reader) as lines, runner.created(Stdio(-1, writer, writer)) as container:
        os.close(writer)
        container.start()
        assert lines.readline() == "ready\n"
        container.signal(number)
        assert container.wait() == 7


def test_an_untrapped_signal_ends_the_command(runner: Runner) -> None:
    """Process 1 itself would ignore it: that is what --init is for."""
    runner.prepare("sleep", "60", init=True)
    with runner.created() as container:
        container.start()
        container.signal(signal.SIGTERM)
        assert container.wait() == 143


def test_no_signal_is_blocked_or_ignored(runner: Runner) -> None:
    lines = runner.run("grep", "-E", "Sig(Blk|Ign)", "/proc/self/status", init=True).out.split()
    assert lines[1] == "0000000000000000"
    assert int(lines[3], 16) & 0x7FFFFFFF == 0


def test_a_user_and_a_terminal(runner: Runner) -> None:
    runner.prepare(
        "sh",
        "-c",
        "id -u; tty >/dev/null && echo tty; exec 3</dev/tty && echo controlling",
        init=True,
        tty=True,
        user="web",
    )
    with runner.created() as container:
        container.start()
        assert container.console is not None
        assert container.wait() == 0
        assert os.read(container.console, 1000).split() == [b"101", b"tty", b"controlling"]
