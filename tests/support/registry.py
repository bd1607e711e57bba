"""Real registries for tests: Debian's docker-registry on a free port of 127.0.0.1, and skopeo to fill it.

Every process is started, waited for, and ended by its pid by the context manager that started it.
"""

import http.client
import json
import ssl
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import trustme

from benchmarks.programs.registry import free_port, served

START_SECONDS = 20


class Server(NamedTuple):
    """A registry that runs. `folder` is its storage; `ca` the PEM file of its authority, if it has TLS."""

    host: str
    folder: Path
    ca: Path | None = None
    user: str = ""
    password: str = ""


@contextmanager
def registry(
    folder: Path,
    *,
    tls: bool = False,
    login: tuple[str, str] | None = None,
    token: Mapping[str, str] | None = None,
    extra: Mapping[str, Any] | None = None,
    wait_tls: bool = False,
    names: tuple[str, ...] = ("127.0.0.1", "localhost"),
) -> Iterator[Server]:
    """A docker-registry. `login`: basic authentication; `token`: auth.token; `extra`: of `http`."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    config: dict[str, Any] = {
        "version": "0.1",
        "log": {"level": "warn"},
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}, "delete": {"enabled": True}},
        "http": {"addr": f"127.0.0.1:{port}", "secret": "of a test", **(extra or {})},
    }
    ca = None
    if tls:
        ca, certificate, key = make_certificate(folder, names)
        config["http"]["tls"] = {"certificate": str(certificate), "key": str(key)}
    if login:
        config["auth"] = {"htpasswd": {"realm": "test", "path": str(_htpasswd(folder, *login))}}
    if token:
        config["auth"] = {"token": dict(token)}
    path = folder / "config.yml"
    path.write_text(json.dumps(config))  # JSON is YAML
    with served(path) as process:
        wait_for(port, process, tls=tls or wait_tls, log=folder / "log")
        yield Server(f"127.0.0.1:{port}", folder / "data", ca, *(login or ("", "")))


def wait_for(port: int, process: subprocess.Popen[bytes], *, tls: bool, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            _ask(port, tls)
            return
        except ssl.SSLError:
            return  # it is there, and wants a certificate
        except OSError:
            time.sleep(0.02)
    raise AssertionError(f"the registry does not start: {log.read_text()}")


def _ask(port: int, tls: bool) -> None:
    if tls:
        context = ssl._create_unverified_context()
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            "127.0.0.1", port, timeout=5, context=context
        )
    else:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("GET", "/")
    connection.getresponse().read()
    connection.close()


def make_certificate(folder: Path, names: tuple[str, ...] = ("127.0.0.1",)) -> tuple[Path, Path, Path]:
    """A test authority, and a certificate of it for these hosts: (ca, certificate, key)."""
    authority = trustme.CA()
    certificate = authority.issue_cert(*names)
    paths = (folder / "ca.pem", folder / "server.pem", folder / "server.key")
    authority.cert_pem.write_to_path(paths[0])
    certificate.cert_chain_pems[0].write_to_path(paths[1])
    certificate.private_key_pem.write_to_path(paths[2])
    return paths


def _htpasswd(folder: Path, user: str, password: str) -> Path:
    path = folder / "htpasswd"
    command = ["htpasswd", "-i", "-n", "-B", "-C", "4", user]
    done = subprocess.run(command, input=password.encode(), capture_output=True, check=True)
    path.write_bytes(done.stdout)
    return path


def skopeo(*arguments: str, timeout: float = 60) -> str:
    """What skopeo prints; AssertionError with its words if it fails."""
    command = ["skopeo", "--insecure-policy", *arguments]
    done = subprocess.run(command, capture_output=True, timeout=timeout, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def fill(server: Server, layout: Path, tag: str, name: str, *options: str) -> None:
    """Have skopeo copy an image of an OCI layout to the registry under `name`."""
    login = [f"--dest-creds={server.user}:{server.password}"] if server.user else []
    source, target = f"oci:{layout}:{tag}", f"docker://{server.host}/{name}"
    skopeo("copy", "-q", "--all", "--dest-tls-verify=false", *login, *options, source, target)
