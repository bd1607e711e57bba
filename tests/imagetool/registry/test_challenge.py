"""The challenge parser: real headers, the traps of the grammar, and arbitrary text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagetool.registry.challenge import Challenge, choose, parse, repository_scope
from imagetool.registry.errors import ChallengeError

DOCKER_HUB = (
    'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",'
    'scope="repository:samalba/my-app:pull,push",error="invalid_token"'
)


def rows(*lines: str) -> list[tuple[str, dict[str, str]]]:
    return [(challenge.scheme, dict(challenge.params)) for challenge in parse(lines)]


def test_docker_hub() -> None:
    assert rows(DOCKER_HUB) == [
        (
            "bearer",
            {
                "realm": "https://auth.docker.io/token",
                "service": "registry.docker.io",
                "scope": "repository:samalba/my-app:pull,push",
                "error": "invalid_token",
            },
        )
    ]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", []),
        (" , ,", []),
        ("Basic", [("basic", {})]),
        ("Negotiate, Basic realm=x", [("negotiate", {}), ("basic", {"realm": "x"})]),
        ('BASIC realm="a, b=\\"c\\""', [("basic", {"realm": 'a, b="c"'})]),
        ('Basic realm = "x" , Bearer realm="y",a=z', [("basic", {"realm": "x"}), ("bearer", {"realm": "y", "a": "z"})]),
        ("Bearer realm=https://a.example/?x=1,a=s", [("bearer", {"realm": "https://a.example/?x=1", "a": "s"})]),
        ('Digest qop="auth,auth-int", Basic', [("digest", {"qop": "auth,auth-int"}), ("basic", {})]),
        ('Basic realm=""', [("basic", {"realm": ""})]),
    ],
)  # fmt: skip
def test_forms(line: str, expected: list[tuple[str, dict[str, str]]]) -> None:
    assert rows(line) == expected


def test_several_headers_are_one_list() -> None:
    assert [row[0] for row in rows("Negotiate", 'Basic realm="x"')] == ["negotiate", "basic"]


def test_token68() -> None:
    assert parse(["NTLM abc/+==, Basic realm=x"])[0].token68 == "abc/+=="


@pytest.mark.parametrize(
    ("line", "column"),
    [
        ('Bearer realm="x', 13),
        ('Bearer realm="a",realm="b"', 17),
        ('"x"', 0),
        ('Basic realm="a"b', 15),
        ('Basic realm="a\x01"', 12),
        ("Basic realm=a Bearer realm=b", 13),
        ("x" * 20000, 16384),
    ],
)
def test_refused(line: str, column: int) -> None:
    with pytest.raises(ChallengeError) as error:
        parse([line])
    assert error.value.column == column
    assert "\x01" not in str(error.value)


def test_a_token_is_preferred_to_the_password() -> None:
    first = choose(parse(['Basic realm="x"', 'Bearer realm="y"']))
    assert first is not None
    assert first.scheme == "bearer"
    assert choose(parse(["Negotiate"])) is None


def test_scope() -> None:
    assert repository_scope("library/debian", "pull", "push") == "repository:library/debian:pull,push"


TOKENS = st.text("abcXYZ019!#$%&'*+-.^_`|~", min_size=1, max_size=12)
VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30)
CHALLENGES = st.tuples(TOKENS, st.dictionaries(TOKENS.map(str.lower), VALUES, max_size=4))


def written(challenge: tuple[str, dict[str, str]]) -> str:
    scheme, params = challenge
    quoted = [
        f'{k}="{v}"' for k, v in ((k, v.replace("\\", "\\\\").replace('"', '\\"')) for k, v in params.items())
    ]
    return f"{scheme} {', '.join(quoted)}" if quoted else scheme


@given(st.lists(CHALLENGES, max_size=4))
def test_what_was_written_is_read(challenges: list[tuple[str, dict[str, str]]]) -> None:
    line = ", ".join(written(challenge) for challenge in challenges)
    assert rows(line) == [(scheme.lower(), params) for scheme, params in challenges]


@given(st.lists(st.text(st.sampled_from('ab=," \t\\/~\x00é'), max_size=30), max_size=3))
def test_any_text_is_read_or_refused(lines: list[str]) -> None:
    try:
        found = parse(lines)
    except ChallengeError:
        return
    assert all(isinstance(challenge, Challenge) and challenge.scheme for challenge in found)
