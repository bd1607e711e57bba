"""Statuses, redirects and challenges: what is tried again, what is refused, who gets to see the password."""

import socket
import threading
import time
from typing import Any

import pytest

from imagetool.errors import (
    Denied,
    NotFound,
    RateLimited,
    RegistryError,
    Unauthorized,
)
from imagetool.registry.credentials import Credentials, Keyring
from imagetool.registry.errors import TransportError
from tests.imagetool.registry.conftest import BIG, World
from tests.imagetool.registry.hostilekit import (
    MANIFEST,
    SECRET,
    answers,
    big_blob,
    on_big,
    refused,
    with_basic,
)
from tests.support.hostile import Exchange, Hostile
from tests.support.oci import Layout


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_what_passes_is_waited_for(world: World, bad: Hostile, name: str, status: int) -> None:
    answers(bad, (status, {}), (status, {"Retry_After": "0"}))
    assert world.pull(name).changed


def test_retry_after_is_kept_to(world: World, bad: Hostile, name: str) -> None:
    answers(bad, (429, {"Retry_After": "1"}))
    began = time.monotonic()
    world.pull(name)
    assert time.monotonic() - began >= 1


def test_retry_after_beyond_all_patience(world: World, bad: Hostile, name: str) -> None:
    answers(bad, *[(429, {"Retry_After": "3600"})] * 9)
    text = refused(world, name, RateLimited, "You have reached your limit")
    assert "try again after 3600" in text
    assert "\x1b" not in text
    assert len(bad.asked("GET", "manifests")) == 1


def test_retries_end(world: World, bad: Hostile, name: str) -> None:
    answers(bad, *[(503, {})] * 99)
    refused(world, name, RegistryError, "answered 503")
    assert len(bad.asked("GET", "manifests")) == world.policy.attempts


@pytest.mark.parametrize(
    ("status", "headers", "kind"),
    [
        (401, {}, Unauthorized),
        (401, {"WWW_Authenticate": 'Basic realm="x"'}, Unauthorized),
        (401, {"WWW_Authenticate": "Negotiate"}, Unauthorized),
        (401, {"WWW_Authenticate": 'Bearer realm="x'}, RegistryError),
        (401, {"WWW_Authenticate": 'Bearer realm="file:///etc/passwd"'}, RegistryError),
        (401, {"WWW_Authenticate": "Bearer"}, RegistryError),
        (403, {}, Denied),
        (404, {}, NotFound),
        (418, {}, RegistryError),
        (204, {}, RegistryError),
        (304, {}, RegistryError),
    ],
)
def test_statuses(
    world: World, bad: Hostile, name: str, status: int, headers: dict[str, str], kind: Any
) -> None:
    answers(bad, *[(status, headers)] * 9)
    refused(world, name, kind, ".")


def test_a_redirect_to_another_host_takes_no_credentials_along(
    world: World, bad: Hostile, other: Hostile, name: str
) -> None:
    other.blobs = bad.blobs
    target = f"http://{other.host}/v2/cdn/blobs/{big_blob(bad)[0]}"
    on_big(bad, lambda exchange, number: exchange.answer(307, Location=target))
    with_basic(bad)
    Keyring(world.environ).save(bad.host, Credentials("me", SECRET))
    assert world.pull(name).changed
    assert len(other.seen) == 1
    assert "authorization" not in other.seen[0].headers
    assert all("authorization" in seen.headers for seen in bad.asked("GET", "blobs"))


def test_a_redirect_on_the_same_host_keeps_them(world: World, bad: Hostile, name: str) -> None:
    wanted = big_blob(bad)[0]
    on_big(
        bad,
        lambda exchange, number: (
            "moved" not in exchange.path and exchange.answer(302, Location=f"/v2/moved/blobs/{wanted}")
        ),
    )
    with_basic(bad)
    Keyring(world.environ).save(bad.host, Credentials("me", SECRET))
    assert world.pull(name).changed


def test_redirects_end(world: World, bad: Hostile, name: str) -> None:
    on_big(bad, lambda exchange, number: exchange.answer(302, Location=exchange.path))
    refused(world, name, RegistryError, "redirects more than 10 times")
    assert len(bad.asked("GET", big_blob(bad)[0])) == 11


def test_a_realm_elsewhere_gets_the_password_and_no_token(
    world: World, bad: Hostile, other: Hostile, name: str
) -> None:
    """That is what the specification wants; but the tokens that it hands out do not come back to it."""

    def token(exchange: Exchange) -> bool:
        exchange.answer(200, b'{"token": "tok"}')
        return True

    def fault(exchange: Exchange) -> bool:
        if exchange.headers.get("Authorization") == "Bearer tok":
            return False
        exchange.answer(401, WWW_Authenticate=f'Bearer realm="http://{other.host}/token",service="s"')
        return True

    other.fault, bad.fault = token, fault
    Keyring(world.environ).save(bad.host, Credentials("me", SECRET))
    assert world.pull(name).changed
    assert [seen.headers["authorization"][:6] for seen in other.seen] == ["Basic "]
    assert "scope=repository%3Aapp%3Apull" in other.seen[0].path
    assert not any(seen.headers.get("authorization", "").startswith("Basic") for seen in bad.seen)


def test_a_token_that_is_never_good_enough(world: World, bad: Hostile, other: Hostile, name: str) -> None:
    count = [0]

    def token(exchange: Exchange) -> bool:
        count[0] += 1
        exchange.answer(200, b'{"token": "t%d"}' % count[0])
        return True

    def fault(exchange: Exchange) -> bool:
        exchange.answer(401, WWW_Authenticate=f'Bearer realm="http://{other.host}/token",service="s"')
        return True

    other.fault, bad.fault = token, fault
    refused(world, name, Unauthorized, "authentication required")
    assert count[0] < 6


def test_foreign_layers_come_without_credentials(
    world: World, bad: Hostile, other: Hostile, layout: Layout
) -> None:
    image = layout.image([BIG], kind="gzip")
    bad.load(layout)
    wanted, data = big_blob(bad)
    other.blobs[wanted] = data
    del bad.blobs[wanted]
    document = bad.manifests[image["digest"]][1]
    foreign = document.replace(b"layer.v1.tar+gzip", b"layer.nondistributable.v1.tar+gzip").replace(
        b'"digest":"%s"' % wanted.encode(),
        b'"urls":["http://%s/v2/f/blobs/%s"],"digest":"%s"'
        % (other.host.encode(), wanted.encode(), wanted.encode()),
    )
    bad.manifest("x", foreign, MANIFEST)
    with_basic(bad)
    Keyring(world.environ).save(bad.host, Credentials("me", SECRET))
    assert world.pull(f"{bad.host}/app:x").changed
    assert "authorization" not in other.seen[0].headers


def test_pages_on_another_host_are_not_asked_for(world: World, bad: Hostile, other: Hostile) -> None:
    from imagetool.registry.repository import Repository

    def fault(exchange: Exchange) -> bool:
        if "tags/list" not in exchange.path:
            return False
        exchange.answer(
            200, b'{"tags": ["a"]}', Link=f'<http://{other.host}/v2/app/tags/list?last=a>; rel="next"'
        )
        return True

    bad.fault = fault

    async def tags(remote: Any) -> list[str]:
        return await Repository(remote.client.registry(bad.host), "app").tags()

    with pytest.raises(RegistryError, match="another host"):
        world.run(tags)
    assert other.seen == []


def test_what_answers_in_no_known_protocol(world: World) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def talk() -> None:
            for _ in range(2 * world.policy.attempts):  # both schemes, each time
                connection, _ = listener.accept()
                with connection:
                    connection.recv(1000)
                    connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")

        thread = threading.Thread(target=talk, daemon=True)
        thread.start()
        refused(world, f"127.0.0.1:{listener.getsockname()[1]}/app", TransportError, "TLS|broke")
        thread.join(5)


def test_no_secret_in_any_log(world: World, bad: Hostile, other: Hostile, name: str, caplog: Any) -> None:
    caplog.set_level("DEBUG")
    test_a_redirect_to_another_host_takes_no_credentials_along(world, bad, other, name)
    answers(bad, *[(503, {})] * 9)
    refused(world, name, RegistryError, ".")
    assert SECRET not in caplog.text
    assert "Basic bWU6" not in caplog.text
