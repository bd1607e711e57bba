"""A push of blobs that the registry has: over one connection, and only where nothing else is to be expected."""

import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from imagetool import reference
from imagetool.errors import Unauthorized
from imagetool.progress import Progress
from imagetool.registry import already, urls
from imagetool.registry.config import Endpoint, Registries, Rule
from imagetool.registry.outgoing import Options
from imagetool.spec import Descriptor
from tests.imagetool.registry.conftest import World
from tests.support.hostile import Exchange, Hostile
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


def test_a_blob_that_the_registry_has_lost_is_sent_again(world: World, pulled: tuple[Server, str]) -> None:
    server, name = pulled
    home = server.folder / "docker/registry/v2/repositories/some/image"
    next(home.glob("_layers/*/*/link")).unlink()
    assert ask(world, name) is None


@pytest.mark.parametrize("tag", ["1", "2"])
def test_the_tag_is_set(world: World, layout: Layout, pulled: tuple[Server, str], tag: str) -> None:
    server, name = pulled
    layout.tag("y", layout.image(FILES[:1]))
    fill(server, layout.root, "y", "some/image:1")
    new = f"{server.host}/some/image:{tag}"
    world.store.tag(name, new)
    found = ask(world, new)
    assert found is not None
    assert manifest(new) == world.store.read_blob(found.digest)


def test_the_digest_is_recorded(world: World, pulled: tuple[Server, str]) -> None:
    """As a real push does: the image may have come here from elsewhere."""
    server, name = pulled
    target = world.store.resolve(name)
    world.store.publish(["docker.io/library/other:1", "docker.io/library/other@" + target.digest], target)
    world.store.untag([known for known in world.names() if known.startswith(server.host)])
    world.store.tag("other:1", name)
    assert ask(world, name) == target
    assert f"{server.host}/some/image@{target.digest}" in world.names()


def test_where_one_may_only_read_it_is_a_real_push(
    world: World, bad: Hostile, layout: Layout, name: str
) -> None:
    """Who may not write gets told so, even if there is nothing to write."""
    world.pull(name)

    def fault(exchange: Exchange) -> bool:
        return exchange.command == "PUT" and exchange.answer(401, WWW_Authenticate='Basic realm="x"')

    bad.fault = fault
    assert ask(world, name) is None
    with pytest.raises(Unauthorized):
        world.push(name)


def test_a_registry_that_stores_something_else_is_not_believed(world: World, bad: Hostile, name: str) -> None:
    world.pull(name)

    def fault(exchange: Exchange) -> bool:
        exchange.rfile.read(int(exchange.headers.get("Content-Length", "0")))
        other = "sha256:" + "0" * 64
        return exchange.command == "PUT" and exchange.answer(201, Docker_Content_Digest=other)

    bad.fault = fault
    assert ask(world, name) is None


def test_layers_that_are_to_be_compressed_are_a_real_push(
    world: World, layout: Layout, pulled: tuple[Server, str]
) -> None:
    server = pulled[0]
    layout.tag("z", layout.image(FILES, kind="none"))
    fill(server, layout.root, "z", "some/plain:1", "--preserve-digests")
    new = f"{server.host}/some/plain:1"
    world.pull(new)
    assert ask(world, new) is not None
    assert ask(world, new, Options(compression="zstd")) is None


def test_all_platforms_are_a_real_push(world: World, layout: Layout, pulled: tuple[Server, str]) -> None:
    server = pulled[0]
    layout.tag("i", layout.index(layout.image(FILES)))
    fill(server, layout.root, "i", "some/index:1")
    new = f"{server.host}/some/index:1"
    world.pull(new)
    assert ask(world, new, Options(all_platforms=True)) is None
    assert ask(world, new) is not None


@pytest.mark.parametrize(
    ("host", "insecure", "expected"),
    [
        ("127.0.0.1:5000", False, True),
        ("localhost", False, True),
        ("registry.example:5000", False, False),
        ("registry.example:5000", True, True),
        ("registry.example", True, False),
    ],
)
def test_where_plain_http_comes_first(host: str, insecure: bool, expected: bool) -> None:
    """Without a port in the name, an insecure registry is asked over https, on another port, first."""
    origin = urls.of("http", host, "/").origin
    assert already._plain(Endpoint(host, "x", insecure), origin) is expected


def test_a_proxy_is_respected(
    world: World, pulled: tuple[Server, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may want credentials, and knows what is behind it. (Loopback has none.)"""
    server, name = pulled
    alias = f"{socket.gethostname()}.invalid:{server.host.partition(':')[2]}"
    registries = Registries((Rule(server.host, alias, insecure=True),))
    monkeypatch.setenv("http_proxy", f"http://{server.host}")
    monkeypatch.setattr(already, "Line", None)
    assert ask(world, name, registries=registries) is None


def test_a_server_of_tls_leads_to_a_real_push(
    world: World, layout: Layout, empty: Callable[..., Iterator[Server]]
) -> None:
    layout.tag("x", layout.image(FILES))
    with empty(tls=True) as server:  # type: ignore[attr-defined]
        name = f"{server.host}/some/image:1"
        world.registries = Registries((Rule(server.host, "", insecure=True),))
        fill(server, layout.root, "x", "some/image:1")
        world.pull(name)
        assert ask(world, name, registries=world.registries) is None
        world.push(name)


def test_certificates_for_it_are_respected(
    world: World, pulled: tuple[Server, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server, name = pulled
    (tmp_path / "containers/certs.d" / server.host).mkdir(parents=True)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert ask(world, name) is None


def manifest(name: str) -> bytes:
    """What a registry has under a name, by skopeo."""
    argv = ["skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{name}"]
    return subprocess.run(argv, capture_output=True, timeout=60, check=True).stdout


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
        b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n",
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
