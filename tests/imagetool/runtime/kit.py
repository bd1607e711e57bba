"""Plans a container, carries it out, and tells what became of it."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from imagetool.runtime import base, capabilities, cgroups, plan, seccomp_default, users
from imagetool.runtime.base import Container, Stdio
from imagetool.runtime.inroot import read_in_root
from imagetool.runtime.options import ImageDefaults, RunOptions

CGROUP = f"/imagetool-test-{os.getpid()}"  # several runs of the tests may share a machine
LINKS = f"t{os.getpid()}"
NO_STDIO = Stdio()
ID = "c0ffee0123456789"


class Result(NamedTuple):
    code: int
    out: str
    err: str


class Runner:
    """Runs commands in containers on one root directory with one executor."""

    def __init__(self, rootfs: Path, executor: str) -> None:
        self.rootfs, self.bundle = rootfs, rootfs.parent
        self.executor = base.choose(executor)
        self.host = plan.Host(
            ID, cgroup_version=cgroups.version(), cgroup_path=f"{CGROUP}/{ID}", capabilities=_bounding()
        )

    def prepare(
        self,
        *command: str,
        image: ImageDefaults | None = None,
        host: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> plan.Plan:
        """Write the bundle's config.json."""
        asked = RunOptions(command=command, **{"network": "none", "seccomp": "unconfined"} | options)
        default = image or ImageDefaults()
        made = plan.plan(
            asked, default, self.user(asked.user or default.user), self.host._replace(**host or {})
        )
        self.write(made.spec)
        return made

    def write(self, spec: Mapping[str, Any]) -> None:
        (self.bundle / "config.json").write_text(json.dumps(spec))

    def user(self, text: str) -> users.User:
        root = os.open(self.rootfs, os.O_PATH | os.O_DIRECTORY)
        try:
            passwd, group = (read_in_root(root, f"etc/{n}", users.FILE_MAX) for n in ("passwd", "group"))
        finally:
            os.close(root)
        return users.resolve(text, passwd, group)

    def run(self, *command: str, stdin: int = -1, **options: Any) -> Result:
        """Plan, run and remove; the error of a failed start is raised."""
        self.prepare(*command, **options)
        return self.carry_out(stdin)

    def carry_out(self, stdin: int = -1) -> Result:
        """Run what config.json in the bundle says."""
        with (self.bundle / "out").open("w+b") as out, (self.bundle / "err").open("w+b") as err:
            with self.created(Stdio(stdin, out.fileno(), err.fileno())) as container:
                container.start()
                code = container.wait()
            return Result(code, *((self.bundle / n).read_text(errors="replace") for n in ("out", "err")))

    @contextmanager
    def created(self, stdio: Stdio = NO_STDIO) -> Iterator[Container]:
        """A container that is created; it is ended and removed in any case."""
        container = self.executor.create(self.bundle, ID, stdio)
        try:
            yield container
        finally:
            container.abandon()
            self.executor.delete(self.bundle, ID)

    def join(self, container: Container, *command: str, **changes: Any) -> Result:
        """Run another command in the running container."""
        process = json.loads((self.bundle / "config.json").read_text())["process"]
        process |= {"args": list(command), "terminal": False} | changes
        with (self.bundle / "out2").open("w+b") as out, (self.bundle / "err2").open("w+b") as err:
            stdio = Stdio(-1, out.fileno(), err.fileno())
            other = self.executor.join(self.bundle, ID, container.pid, process, stdio)
            other.start()
            code = other.wait()
        return Result(code, *((self.bundle / n).read_text() for n in ("out2", "err2")))


def default_seccomp() -> dict[str, Any]:
    return seccomp_default.profile(capabilities.DEFAULT, platform.machine())


def _bounding() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapBnd:"):
            return int(line.split()[1], 16)
    raise AssertionError("no CapBnd in /proc/self/status")
