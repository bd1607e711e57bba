"""What a process has from whoever started it, and a container must not have from its caller."""

from __future__ import annotations

import ctypes
import fcntl
import os
import pty
import signal
import termios
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from imagetool.runtime import capabilities, linux
from imagetool.runtime.base import Stdio
from tests.imagetool.runtime.kit import Runner, default_seccomp

pytestmark = pytest.mark.timeout(60)

_KEYCTL, _ADD_KEY = {"x86_64": (250, 248), "aarch64": (219, 217)}.get(os.uname().machine, (0, 0))
_JOIN, _SETPERM, _SESSION, _POSSESSOR_ONLY = 1, 5, -3, 0x3F000000  # keyctl(2), include/uapi/linux/keyctl.h
_INHERITABLE = ("CAP_NET_RAW", "CAP_CHOWN")


def output(runner: Runner, prepare: Callable[[], object], *command: str) -> str:
    """What the container of `runner` prints, started by a process that has done `prepare`; it is created here."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            prepare()
            with runner.created(Stdio(-1, writer, writer)) as container:
                container.start()
                if command:
                    os.write(writer, runner.join(container, *command).out.encode())
                else:
                    container.wait()
        except BaseException as error:
            os.write(writer, repr(error).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as said:
        text = said.read()
    os.waitpid(pid, 0)
    return text


@pytest.fixture(params=["create", "join"])
def said(either: Runner, request: pytest.FixtureRequest) -> Iterator[Callable[..., str]]:
    """What a command in a container prints, as its first process and as one that joins."""

    def run(prepare: Callable[[], object], *command: str, **options: object) -> str:
        if request.param == "create":
            either.prepare(*command, **options)
            return output(either, prepare)
        either.prepare("sleep", "60", **options)
        return output(either, prepare, *command)

    yield run  # noqa: PT022 -- a generator as the other fixtures


def test_capabilities_that_the_caller_passes_on(said: Callable[..., str]) -> None:
    """An inheritable capability is given to whoever executes a file that has it (and once was, by Docker)."""

    def prepare() -> None:
        mask, own = capabilities.mask(_INHERITABLE), linux.permitted_set()
        linux.capset(own, own, mask)
        linux.prctl(linux.PR_CAP_AMBIENT, linux.PR_CAP_AMBIENT_RAISE, 0)

    for user in ("0:0", "12345"):
        text = said(prepare, "grep", "-E", "Cap(Inh|Amb)", "/proc/self/status", user=user)
        assert text.split()[1::2] == ["0000000000000000"] * 2, text


def test_the_caller_s_umask(said: Callable[..., str]) -> None:
    assert said(lambda: os.umask(0), "sh", "-c", "umask") == "0022\n"


def test_the_caller_s_signals(said: Callable[..., str]) -> None:
    def prepare() -> None:
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGQUIT})

    words = said(prepare, "grep", "-E", "Sig(Blk|Ign)", "/proc/self/status").split()
    assert [int(word, 16) & 0x7FFFFFFF for word in words[1::2]] == [0, 0], words


def test_the_caller_s_terminal(said: Callable[..., str]) -> None:
    """A process in the caller's session could type for him (TIOCSTI), by /dev/tty too."""

    def prepare() -> None:
        os.setsid()
        fcntl.ioctl(pty.openpty()[1], termios.TIOCSCTTY, 0)
        assert Path("/proc/self/stat").read_text().rpartition(")")[2].split()[4] != "0"

    assert said(prepare, "cut", "-d ", "-f7", "/proc/self/stat") == "0\n"


def test_the_caller_s_keys(said: Callable[..., str]) -> None:
    """The session's keyring: whoever has it may read what is in it."""

    def prepare() -> None:
        call = ctypes.CDLL(None, use_errno=True).syscall
        assert call(_KEYCTL, _JOIN, None) >= 0
        key = call(_ADD_KEY, b"user", b"secret-of-the-host", b"1234", 4, _SESSION)
        assert key > 0
        assert call(_KEYCTL, _SETPERM, key, _POSSESSOR_ONLY) == 0
        assert "secret-of-the-host" in Path("/proc/keys").read_text()

    text = said(prepare, "cat", "/proc/keys", privileged=True)
    assert "keyring" in text
    assert "secret-of-the-host" not in text


@pytest.mark.parametrize("name", ["LISTEN_FDS", "NOTIFY_SOCKET", "LD_PRELOAD", "LD_LIBRARY_PATH", "BASH_ENV"])
def test_variables_that_mean_something_to_a_runtime(
    said: Callable[..., str], tmp_path: Path, name: str
) -> None:
    """systemd's are passed on by OCI runtimes that find them in their own environment."""
    socket = tmp_path / "notify"
    socket.touch()

    def prepare() -> None:
        os.environ[name] = {"LISTEN_FDS": "0", "NOTIFY_SOCKET": str(socket)}.get(name, str(tmp_path))

    text = said(prepare, "sh", "-c", "env; tr '\\0' '\\n' < /proc/1/environ; cat /proc/self/mountinfo")
    assert "PATH=" in text
    assert f"{name}=" not in text
    assert "notify" not in text


def test_calls_are_filtered_without_new_privileges_too(said: Callable[..., str]) -> None:
    """The filter is loaded at another moment then: when nothing is left that would need a right."""
    options = {"no_new_privileges": True, "seccomp": default_seccomp()}
    text = said(lambda: None, "grep", "-E", "Seccomp:|NoNewPrivs", "/proc/self/status", **options)
    assert text.split() == ["NoNewPrivs:", "1", "Seccomp:", "2"]


def test_calls_are_filtered_for_who_joins(said: Callable[..., str]) -> None:
    text = said(lambda: None, "grep", "Seccomp:", "/proc/self/status", seccomp=default_seccomp())
    assert text.split() == ["Seccomp:", "2"]


def test_a_joining_process_is_in_the_container_s_cgroup(said: Callable[..., str]) -> None:
    """Where its limits are, and the devices that it may open."""
    text = said(lambda: None, "cat", "/proc/self/cgroup")
    assert {line.rsplit(":", 1)[1] for line in text.splitlines() if "devices" in line or "0::/" in line} <= {
        "/"
    }
