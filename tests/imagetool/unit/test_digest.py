"""Digests: what is one, and streams that must have one."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagetool import digest
from imagetool.errors import Damaged, Malformed

HEX = "ab" * 32


@pytest.mark.parametrize("text", [f"sha256:{HEX}", "sha512:" + "0f" * 64])
def test_registered_algorithms_are_digests(text: str) -> None:
    assert digest.parse(text) == text


NOT_DIGESTS = [
    "",
    "sha256:",
    HEX,
    f"sha256:{HEX[:-1]}",
    f"sha256:{HEX.upper()}",
    f"sha256:{HEX}0",
    f"md5:{HEX}",
]
NOT_DIGESTS += [f"sha256:../{HEX[3:]}", f"sha512:{HEX}", f"sha256:{HEX}\n"]


@pytest.mark.parametrize("text", [*NOT_DIGESTS, None, 5, ["sha256"]])
def test_anything_else_is_refused(text: object) -> None:
    with pytest.raises(Malformed):
        digest.parse(text)


@given(st.text())
def test_a_digest_is_a_safe_file_name(text: str) -> None:
    try:
        found = digest.parse(text)
    except Malformed:
        return
    assert set(digest.encoded(found)) <= set("0123456789abcdef")


@given(st.binary(max_size=200), st.integers(1, 50))
def test_a_stream_is_verified_in_any_pieces(data: bytes, step: int) -> None:
    verifier = digest.Verifier(digest.of(data), len(data))
    for start in range(0, len(data), step):
        verifier.feed(data[start : start + step])
    assert verifier.finish() == "sha256:" + hashlib.sha256(data).hexdigest()


def test_a_stream_that_is_too_long_is_stopped_at_once() -> None:
    verifier = digest.Verifier(digest.of(b"abc"), 3)
    with pytest.raises(Damaged, match="longer than its 3 bytes"):
        verifier.feed(b"abcd")


@pytest.mark.parametrize(("data", "text"), [(b"ab", "ends after 2 of 3"), (b"abd", "wrong content")])
def test_a_stream_that_is_short_or_wrong_is_damaged(data: bytes, text: str) -> None:
    verifier = digest.Verifier(digest.of(b"abc"), 3)
    verifier.feed(data)
    with pytest.raises(Damaged, match=text):
        verifier.finish()
