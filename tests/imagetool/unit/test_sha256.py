"""sha256 by two implementations: which of them it was, nobody can tell."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagetool import sha256
from imagetool.sha256 import Sha256

EDGE = sha256._SMALL


@pytest.mark.parametrize("loaded", [True, False])
@pytest.mark.parametrize(
    "sizes", [[], [0], [5], [EDGE], [EDGE + 1], [EDGE - 1, 1], [EDGE - 1, 2, 3], [9, EDGE, 9]]
)
def test_a_stream_has_the_digest_of_its_bytes(
    sizes: list[int], loaded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if loaded:
        monkeypatch.setitem(sys.modules, "_hashlib", sys)
    else:
        monkeypatch.delitem(sys.modules, "_hashlib")
    found, pieces = Sha256(), [bytes([at]) * size for at, size in enumerate(sizes)]
    for piece in pieces:
        found.update(memoryview(piece))
    expected = hashlib.sha256(b"".join(pieces)).hexdigest()
    assert found.hexdigest() == expected
    assert found.hexdigest() == expected  # asked twice
    assert sha256.of(b"".join(pieces)) == expected


@given(st.lists(st.binary(max_size=50)))
def test_more_may_come_after_a_look(pieces: list[bytes]) -> None:
    found, plain = Sha256(), hashlib.sha256()
    for piece in pieces:
        found.update(piece)
        plain.update(piece)
        assert found.hexdigest() == plain.hexdigest()


def test_a_buffer_may_be_used_again() -> None:
    buffer = bytearray(b"one")
    found = Sha256()
    found.update(memoryview(buffer))
    buffer[:] = b"two"
    found.update(memoryview(buffer))
    assert found.hexdigest() == hashlib.sha256(b"onetwo").hexdigest()


@pytest.mark.parametrize(("size", "loaded"), [(EDGE, False), (EDGE + 1, True)])
def test_openssl_is_loaded_for_what_is_worth_it(size: int, loaded: bool) -> None:
    code = f"import sys; from imagetool import sha256; sha256.of(bytes({size})); sys.exit('_hashlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == loaded


def test_a_python_without_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_sha2", "_sha256"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "_hashlib")
    monkeypatch.setattr(sha256, "_own", sha256._own.__wrapped__)
    assert sha256._own() is None
    assert sha256.of(b"x") == hashlib.sha256(b"x").hexdigest()
