"""A push that has nothing to send: asked for on one connection, and only believed where it is certain."""

import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from imagetool import reference
from imagetool.progress import Progress
from imagetool.registry import already
from imagetool.registry.config import Registries, Rule
from imagetool.registry.outgoing import Options
from imagetool.spec import Descriptor
from tests.imagetool.registry.conftest import World
from tests.support.oci import Layout
from tests.support.registry import Server, fill
from tests.support.sandbox import CHECKOUT

DEFAULTS = Options()
FILES = [{"etc/one": b"1" * 3000}, {"etc/two": b"2" * 5000}]


@pytest.fixture
def pulled(
    world: World, layout: Layout, empty: Callable[..., Iterator[Server]]
) -> Iterator[tuple[Server, str]]:
    """A registry of its own with one image, which the store has too; and the image's name."""
    layout.tag("x", layout.image(FILES))
    with empty() as server:  # type: ignore[attr-defined]
        fill(server, layout.root, "x", "some/image:1")
        name = f"{server.host}/some/image:1"
        world.pull(name)
        yield server, name


def ask(
    world: World,
    name: str,
    options: Options = DEFAULTS,
    registries: Registries = Registries(),  # noqa: B008
) -> Descriptor | None:
    return already.push(world.store, reference.parse(name), registries, options, Progress())


def test_what_is_there_is_not_sent(world: World, pulled: tuple[Server, str]) -> None:
    found = ask(world, pulled[1])
    assert found is not None
    assert found.digest == world.store.resolve(pulled[1]).digest


def test_it_shows_what_a_push_shows(world: World, pulled: tuple[Server, str]) -> None:
    world.push(pulled[1])
    shown = world.lines
    script = f"""
import sys
from imagetool import cli
status = cli.main(["--root", {world.store.root!r}, "push", {pulled[1]!r}])
assert "trio" not in sys.modules, "a real push was made"
sys.exit(status)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, cwd=CHECKOUT
    )
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == sorted(shown)


@pytest.mark.parametrize("lost", ["_layers/*/*/link", "_manifests/tags/1/current/link"])
def test_what_the_registry_has_lost_is_sent_again(
    world: World, pulled: tuple[Server, str], lost: str
) -> None:
    server, name = pulled
    home = server.folder / "docker/registry/v2/repositories/some/image"
    next(home.glob(lost)).unlink()
    assert ask(world, name) is None


def test_a_tag_that_means_something_else_is_moved(
    world: World, layout: Layout, pulled: tuple[Server, str]
) -> None:
    server, name = pulled
    layout.tag("y", layout.image(FILES[:1]))
    fill(server, layout.root, "y", "some/image:1")
    assert ask(world, name) is None


def test_only_what_was_there_before_is_asked_for(world: World, pulled: tuple[Server, str]) -> None:
    server, name = pulled
    world.store.tag(name, f"{server.host}/other:1")
    assert ask(world, f"{server.host}/other:1") is None


@pytest.mark.parametrize("options", [Options(compression="zstd"), Options(all_platforms=True)])
def test_what_may_change_the_image_is_a_real_push(
    world: World, pulled: tuple[Server, str], options: Options
) -> None:
    assert ask(world, pulled[1], options) is None


def test_a_registry_that_may_speak_tls_is_not_asked(world: World, pulled: tuple[Server, str]) -> None:
    server, name = pulled
    assert ask(world, name, registries=Registries((Rule(server.host, "", insecure=True),))) is None


def test_certificates_for_it_are_respected(
    world: World, pulled: tuple[Server, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server, name = pulled
    (tmp_path / "containers/certs.d" / server.host).mkdir(parents=True)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert ask(world, name) is None


@contextmanager
def saying(answer: bytes) -> Iterator[str]:
    """A server that says this to whatever it is asked, once; its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with listener.accept()[0] as connection:
                connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        thread.join(10)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://elsewhere.example/\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000,
        b"\x15\x03\x01\x00\x02\x02",
    ],
)
def test_any_other_answer_leads_to_a_real_push(
    world: World, pulled: tuple[Server, str], answer: bytes
) -> None:
    target = world.store.resolve(pulled[1])
    with saying(answer) as host:
        world.store.publish([f"{host}/some/image:1", f"{host}/some/image@{target.digest}"], target)
        assert ask(world, f"{host}/some/image:1") is None


def test_a_registry_that_stalls_is_given_up(
    world: World, pulled: tuple[Server, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(already, "LIMIT", 0.2)
    target = world.store.resolve(pulled[1])
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host = f"127.0.0.1:{silent.getsockname()[1]}"
        world.store.publish([f"{host}/some/image:1", f"{host}/some/image@{target.digest}"], target)
        assert ask(world, f"{host}/some/image:1") is None
