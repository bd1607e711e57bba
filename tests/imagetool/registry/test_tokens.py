"""Token authentication against a real docker-registry and the tests' own token server."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from imagetool.errors import Denied, RegistryError, Unauthorized
from imagetool.registry.auth import parse_token
from imagetool.registry.credentials import Credentials, Keyring
from imagetool.registry.login import login
from tests.imagetool.registry.conftest import World
from tests.support.oci import Layout
from tests.support.registry import Server, fill, registry
from tests.support.tokens import PASSWORD, REFRESH, USER, TokenServer, token_server

ONE = {"etc/one": b"1" * 3000}
ALICE = Credentials(USER, PASSWORD)


class Guarded(NamedTuple):
    server: Server
    tokens: TokenServer


@pytest.fixture
def guarded(tmp_path: Path, layout: Layout) -> Iterator[Guarded]:
    """A registry with token authentication that has `public/app:x` and `private/app:x`."""
    layout.tag("x", layout.image([ONE, {"b": b"2"}, {"c": b"3"}]))
    folder = tmp_path / "guarded"
    with token_server(folder) as tokens, registry(folder, token=tokens.section) as server:
        known = server._replace(user=USER, password=PASSWORD)
        for name in ("public/app:x", "private/app:x"):
            fill(known, layout.root, "x", name)
        tokens.asked.clear()
        yield Guarded(server, tokens)


def test_anonymous_pull(world: World, guarded: Guarded) -> None:
    assert world.pull(f"{guarded.server.host}/public/app:x").changed
    assert guarded.tokens.asked == [("GET", "", ["repository:public/app:pull"])]


def test_private_needs_a_login(world: World, guarded: Guarded) -> None:
    name = f"{guarded.server.host}/private/app:x"
    with pytest.raises(Unauthorized, match=f"imagetool login {guarded.server.host}"):
        world.pull(name)
    Keyring(world.environ).save(guarded.server.host, ALICE)
    assert world.pull(name).changed
    assert guarded.tokens.asked[-1] == ("GET", USER, ["repository:private/app:pull"])


def test_identity_token(world: World, guarded: Guarded) -> None:
    Keyring(world.environ).save(guarded.server.host, Credentials("", "", REFRESH))
    assert world.pull(f"{guarded.server.host}/private/app:x").changed
    assert guarded.tokens.asked[-1].method == "POST"


def test_a_login_that_is_no_longer_good(world: World, guarded: Guarded) -> None:
    Keyring(world.environ).save(guarded.server.host, Credentials(USER, "stale"))
    with pytest.raises(Unauthorized, match="login of alice is not accepted") as error:
        world.pull(f"{guarded.server.host}/private/app:x")
    assert "stale" not in str(error.value)


def test_login_asks_the_token_server(world: World, guarded: Guarded) -> None:
    keyring = Keyring(world.environ)

    def attempt(password: str) -> str:
        who = Credentials(USER, password)
        return world.run(lambda r: login(r.client, keyring, r.registries, guarded.server.host, who))

    with pytest.raises(Unauthorized, match="incorrect username or password"):
        attempt("wrong")
    assert keyring.find(guarded.server.host) is None
    attempt(PASSWORD)
    assert keyring.find(guarded.server.host) == ALICE


def test_push_asks_for_push_and_mounts_with_the_right_to_read(world: World, guarded: Guarded) -> None:
    host = guarded.server.host
    Keyring(world.environ).save(host, ALICE)
    world.pull(f"{host}/private/app:x")
    world.store.tag(f"{host}/private/app:x", f"{host}/mine/app:x")
    world.push(f"{host}/mine/app:x")
    assert [line for line in world.lines if "Mounted from private/app" in line]
    assert ["repository:mine/app:pull,push", "repository:private/app:pull"] in [
        row.scopes for row in guarded.tokens.asked
    ]


def test_push_to_a_foreign_namespace(world: World, guarded: Guarded) -> None:
    host = guarded.server.host
    world.pull(f"{host}/public/app:x")
    world.store.tag(f"{host}/public/app:x", f"{host}/foreign/app:x")
    with pytest.raises(Unauthorized, match="imagetool login"):
        world.push(f"{host}/foreign/app:x")
    Keyring(world.environ).save(host, ALICE)
    with pytest.raises(Denied, match="denied: requested access to the resource is denied"):
        world.push(f"{host}/foreign/app:x")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"token": 1}',
        b'{"token": "a\\r\\nX: y"}',
        b'{"token": "x", "expires_in": "soon"}',
        b"[" * 100_000,
    ],
)
def test_answers_without_a_token(body: bytes) -> None:
    with pytest.raises(RegistryError, match="without a token"):
        parse_token(body, 0.0, "r.example")


def test_a_token_lives_at_least_a_minute_and_does_not_show_itself() -> None:
    token = parse_token(b'{"access_token": "secret", "expires_in": 1}', 100.0, "r.example")
    assert token.until == 154.0
    assert "secret" not in repr(token)
