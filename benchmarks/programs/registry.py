"""The registry that programs pull from and push to: Debian's docker-registry on this machine."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from benchmarks.programs.commands import daemon
from benchmarks.system import Failed, run


class Registry:
    """A docker-registry that runs. `host` is its address."""

    def __init__(self, host: str) -> None:
        self.host = host

    def fill(self, source: Path, image: str) -> str:
        """Brings an image of the layout to it; gives its name there."""
        name = f"{self.host}/benchmark/{image}:1"
        command = ["skopeo", "--insecure-policy", "copy", "-q", "--dest-tls-verify=false"]
        run([*command, f"oci:{source}:{image}", f"docker://{name}"], timeout=300)
        return name


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def registry(folder: Path) -> Iterator[Registry]:
    """An empty one, on a free port of 127.0.0.1, for as long as the block lasts."""
    port = free_port()
    folder.mkdir(parents=True)
    config = {
        "version": "0.1",
        "log": {"level": "error"},
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}},
        "http": {"addr": f"127.0.0.1:{port}", "secret": "of a benchmark"},
    }
    (folder / "config.yml").write_text(json.dumps(config))  # JSON is YAML
    with served(folder / "config.yml"), _cleared(folder):
        _wait_for(port)
        yield Registry(f"127.0.0.1:{port}")


def served(config: Path) -> AbstractContextManager[subprocess.Popen[bytes]]:
    """A docker-registry with this configuration; what it says is in the file `log` beside it."""
    environ = {**os.environ, "OTEL_TRACES_EXPORTER": "none"}
    return daemon(["docker-registry", "serve", str(config)], config.with_name("log"), environ)


@contextmanager
def _cleared(folder: Path) -> Iterator[None]:
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait_for(port: int, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.02)
    raise Failed("the registry does not start")
