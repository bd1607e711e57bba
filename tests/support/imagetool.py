"""Runs the command line `imagetool` as a person does, with a home, a store and registries of a test's own."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support import command
from tests.support.process import readable
from tests.support.registry import Server
from tests.support.sandbox import CHECKOUT, ROOT, Sandbox

PROGRAM = [sys.executable, "-P", "-m", "imagetool"]
TIMEOUT = 60.0

Done = subprocess.CompletedProcess[str]


class Cli:
    """`docker.io` and `quay.io` are in the registry at `server`, below library/…, and quay/."""

    def __init__(self, folder: Path, server: Server | None = None, box: Sandbox = ROOT) -> None:
        self.folder, self.box = folder, box
        self.root = folder / "store"
        self.home = folder / "home"
        self.home.mkdir(parents=True, exist_ok=True)
        (folder / "registries.conf").write_text(_redirected(server.host) if server else "")
        for path in (folder, self.home):
            os.chown(path, box.owner, box.owner)
        self.env = {
            "HOME": str(self.home),
            "IMAGETOOL_ROOT": str(self.root),
            "CONTAINERS_REGISTRIES_CONF": str(folder / "registries.conf"),
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(CHECKOUT),
            "LANG": "C.UTF-8",
            "TZ": "UTC",
        }

    def __call__(self, *arguments: str | Path, code: int = 0, text: str = "", **env: str) -> str:
        """What it prints; AssertionError unless it ends with status `code`. `text` is its input."""
        return self.run(*arguments, code=code, text=text, **env).stdout

    def error(self, *arguments: str | Path, code: int = 125, text: str = "", **env: str) -> str:
        """The one line that it says on standard error when it fails with `code`."""
        lines = self.run(*arguments, code=code, text=text, **env).stderr.splitlines()
        assert lines, "no error is shown"
        assert len(lines) == 1, lines
        assert lines[0].startswith("Error: "), lines
        return lines[0]

    def run(self, *arguments: str | Path, code: int = 0, text: str = "", **env: str) -> Done:
        done = subprocess.run(
            [*PROGRAM, *map(str, arguments)],
            input=text,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=TIMEOUT,
            cwd=self.folder,
            env=self.env | env,
            preexec_fn=self.box.enter,
        )
        assert "Traceback" not in done.stderr, done.stderr
        assert done.returncode == code, f"{arguments}: {done.returncode}: {done.stdout}{done.stderr}"
        return done

    def raw(self, *arguments: str | Path, data: bytes = b"") -> bytes:
        """Bytes in, bytes out."""
        done = subprocess.run(
            [*PROGRAM, *map(str, arguments)], input=data, capture_output=True, timeout=TIMEOUT, env=self.env,
            preexec_fn=self.box.enter,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def imports(self, *arguments: str | Path) -> set[str]:
        """The modules that a command brings in."""
        argv = [sys.executable, "-X", "importtime", *PROGRAM[1:], *map(str, arguments)]
        told = subprocess.run(argv, capture_output=True, text=True, timeout=TIMEOUT, env=self.env, check=True)
        return {line.rpartition("|")[2].strip() for line in told.stderr.splitlines()}

    def terminal(self, *arguments: str | Path, typed: str = "") -> str:
        """What a terminal shows; `typed` is given a line at a time, whenever it waits after a `: `."""
        master, slave = pty.openpty()
        with subprocess.Popen(
            [*PROGRAM, *map(str, arguments)], stdin=slave, stdout=slave, stderr=slave, env=self.env | {"TERM": "xterm"},
            start_new_session=True,
        ) as process:  # fmt: skip
            os.close(slave)
            try:
                return _conversation(master, typed.splitlines())
            finally:
                os.close(master)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(10)
                process.kill()


def _conversation(master: int, lines: list[str]) -> str:
    shown, deadline = b"", time.monotonic() + TIMEOUT
    asked = 0
    while time.monotonic() < deadline:
        if readable(master, 0.1):
            try:
                part = os.read(master, 4096)
            except OSError:  # the other side is closed
                break
            if not part:
                break
            shown += part
        if lines and shown[asked:].endswith(b": "):
            asked = len(shown)
            os.write(master, lines.pop(0).encode() + b"\n")
    return shown.decode(errors="replace").replace("\r\n", "\n")


def _redirected(host: str) -> str:
    places = {"docker.io": host, "quay.io": f"{host}/quay"}
    return "\n".join(
        f'[[registry]]\nprefix = "{name}"\nlocation = "{place}"\ninsecure = true\n'
        for name, place in places.items()
    )


@contextmanager
def program(folder: Path, server: Server | None = None, box: Sandbox = ROOT) -> Iterator[Cli]:
    """A Cli; at the end none of its mounts and servers is left."""
    with command.cleanup(folder, box):
        yield Cli(folder, server, box)
