"""URLs, proxies, retries and the texts of errors: the pure parts, as tables."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagetool.errors import Denied, NotFound, RateLimited, RegistryError, Unauthorized, UsageError
from imagetool.registry import proxies, retry, urls
from imagetool.registry.errors import clean, for_status, words
from imagetool.registry.retry import Policy
from imagetool.registry.transport import Request, redirected

HERE = urls.parse("https://r.example/v2/a/blobs/x")


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("/v2/b?x=1", "https://r.example/v2/b?x=1"),
        ("y", "https://r.example/v2/a/blobs/y"),
        ("?digest=z", "https://r.example/v2/a/blobs/x?digest=z"),
        ("//cdn.example/z", "https://cdn.example/z"),
        ("HTTP://CDN.example:80/z", "http://cdn.example/z"),
        ("https://[::1]:5000/z#part", "https://[::1]:5000/z"),
    ],
)
def test_join(location: str, expected: str) -> None:
    assert str(HERE.join(location)) == expected


@pytest.mark.parametrize(
    "location",
    [
        "ftp://x/y",
        "file:///etc/passwd",
        "https://user:pw@x/y",
        "https://x:99999/",
        "http://x/\x01",
    ],
)
def test_what_is_not_followed(location: str) -> None:
    with pytest.raises(RegistryError) as error:
        HERE.join(location)
    assert "pw" not in str(error.value)


@given(st.text(st.sampled_from("htps:/[]@?#%.0a:\\ \t\n\x00é"), max_size=40))
def test_any_location_is_a_url_or_refused(location: str) -> None:
    try:
        target = HERE.join(location)
    except RegistryError:
        return
    assert target.origin.scheme in ("http", "https")
    assert target.target.isascii()
    assert target.target.isprintable()


@given(st.text(st.sampled_from('<>;,= relnxt"/'), max_size=40))
def test_any_link_header_is_read(links: str) -> None:
    assert isinstance(urls.next_page(links), str)


def test_credentials_stay_with_their_origin() -> None:
    request = Request("GET", HERE, authorization="Bearer x", verify=False)
    assert redirected(request, urls.parse("https://r.example/y")).authorization == "Bearer x"
    for other in ("https://cdn.example/y", "https://r.example:8443/y"):
        moved = redirected(request, urls.parse(other))
        assert moved.authorization == ""
        assert moved.verify
    with pytest.raises(RegistryError, match="plain http"):
        redirected(request, urls.parse("http://r.example/y"))


@pytest.mark.parametrize(
    ("host", "expected"),
    [("localhost", True), ("127.0.0.1", True), ("127.9.8.7", True), ("::1", True), ("a.localhost", True),
     ("127.example.com", False), ("localhost.example.com", False), ("10.0.0.1", False)],
)  # fmt: skip
def test_loopback(host: str, expected: bool) -> None:
    assert urls.is_loopback(host) is expected


def test_next_page() -> None:
    assert urls.next_page('</v2/_catalog?last=b&n=2>; rel="next"') == "/v2/_catalog?last=b&n=2"
    assert urls.next_page('</a>; rel="prev", </b>; title="x"; rel=next') == "/b"
    assert urls.next_page('</a>; rel="prev"') == ""
    assert urls.next_page("") == ""


def proxy(url: str, **environ: str) -> str:
    found = proxies.choose(environ, urls.parse(url).origin)
    return found.url if found else ""


def test_proxies() -> None:
    both = {"HTTPS_PROXY": "http://p:3128", "http_proxy": "q"}
    assert proxy("https://r.example/", **both) == "http://p:3128"
    assert proxy("http://r.example/", **both) == "http://q:80"
    assert proxy("http://127.0.0.1:5000/", **both) == ""
    assert proxy("https://localhost/", **both) == ""
    assert proxy("http://r.example/", HTTP_PROXY="http://p:1", REQUEST_METHOD="GET") == ""
    assert proxy("https://r.example/", ALL_PROXY="http://p:1") == "http://p:1"


@pytest.mark.parametrize(
    ("no_proxy", "expected"),
    [("r.example", True), (".example", True), ("example", True), ("*", True), ("ample", False),
     ("x, r.example:443", True), ("r.example:80", False), ("*.example", True), ("", False), ("10.0.0.0/8", False)],
)  # fmt: skip
def test_no_proxy(no_proxy: str, expected: bool) -> None:
    assert (proxy("https://r.example/", HTTPS_PROXY="http://p:1", NO_PROXY=no_proxy) == "") is expected


def test_no_proxy_ranges() -> None:
    assert proxy("http://10.1.2.3/", http_proxy="http://p:1", no_proxy="10.0.0.0/8") == ""
    assert proxy("http://11.1.2.3/", http_proxy="http://p:1", no_proxy="10.0.0.0/8") == "http://p:1"


def test_a_proxy_s_password_is_not_shown() -> None:
    found = proxies.choose({"https_proxy": "http://me:p%40ss@p:1"}, HERE.origin)
    assert found is not None
    assert found.auth == ("me", "p@ss")
    assert "p@ss" not in repr(found)
    with pytest.raises(UsageError) as error:
        proxies.choose({"https_proxy": "socks5://me:pass@p:1"}, HERE.origin)
    assert "pass" not in str(error.value).replace("password", "")


def test_retry_after() -> None:
    assert retry.parse_retry_after("120", 0) == 120
    assert retry.parse_retry_after("Fri, 31 Dec 1999 23:59:59 GMT", 946684799 - 5) == 5
    assert retry.parse_retry_after("Fri, 31 Dec 1999 23:59:59 GMT", 2_000_000_000) == 0
    assert retry.parse_retry_after("soon", 0) is None
    assert retry.parse_retry_after("", 0) is None


@given(st.integers(1, 40), st.floats(0, 0.999), st.text(max_size=80))
def test_waiting_is_bounded(attempt: int, jitter: float, header: str) -> None:
    policy = Policy()
    seconds = retry.delay(policy, attempt, header, 0.0, jitter)
    assert (seconds is None) if attempt >= policy.attempts else True
    assert seconds is None or 0 <= seconds <= policy.patience


def test_a_longer_wait_than_the_patience_is_refused() -> None:
    assert retry.delay(Policy(patience=10), 1, "11", 0, 0) is None
    assert retry.delay(Policy(patience=10), 1, "10", 0, 0) == 10


def test_a_server_s_words_are_shown_without_its_control_characters() -> None:
    body = b'{"errors":[{"code":"DENIED","message":"requested access\\u001b[31m to the resource is denied"}]}'
    assert words(body) == "denied: requested access [31m to the resource is denied"
    assert len(clean("x" * 10000)) == 300


@given(st.binary(max_size=60))
def test_any_body_has_words_or_none(body: bytes) -> None:
    assert words(body).isprintable()


@pytest.mark.parametrize(
    "body", [b'{"errors": 1}', b'{"errors": [1]}', b"[]", b"[" * 100000, b'{"errors": null}']
)
def test_bodies_that_are_no_errors(body: bytes) -> None:
    assert words(body) == ""


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, Unauthorized), (403, Denied), (404, NotFound), (429, RateLimited), (500, RegistryError)],
)
def test_each_status_has_its_error(status: int, kind: type[RegistryError]) -> None:
    error = for_status(status, "manifest of a", "r.example")
    assert isinstance(error, kind)
    assert isinstance(error, RegistryError)
    assert error.status == status
    assert "\n" not in str(error)
