"""PURE: what a server asks for in `WWW-Authenticate` (RFC 9110 §11.6.1), and the scopes of a bearer token.

One header may hold several challenges, and a comma separates challenges as well as parameters. A scheme
is therefore a token that no `=` follows. What is ambiguous (a parameter twice) is refused.
"""

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from imagetool.registry.errors import ChallengeError
from unionfs.namedtuple import NamedTuple

MAX_HEADER = 16 << 10  # servers send some hundred bytes; h11 stops a header block at 100 KiB

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_SPACE = re.compile(r"[ \t]+")
_SEPARATOR = re.compile(r"[ \t]*(?:,[ \t]*)+")
_EQUALS = re.compile(r"[ \t]*=[ \t]*(?=[^\s=,])")
_QUOTED = re.compile(r'"((?:[^"\\\x00-\x08\x0a-\x1f\x7f]|\\[^\x00-\x08\x0a-\x1f\x7f])*)"')
# Some servers leave the quotes of a URL out: taken up to the next comma or blank, as curl does.
_BARE = re.compile(r'[^\s,"]+')
_TOKEN68 = re.compile(r"[A-Za-z0-9\-._~+/]+=*(?=[ \t]*(?:,|$))")


class Challenge(NamedTuple):
    """One way to authenticate: scheme and parameter names in lower case, values without their quotes."""

    scheme: str
    params: Mapping[str, str]
    token68: str = ""


def parse(lines: Iterable[str]) -> tuple[Challenge, ...]:
    """All challenges of the given header values, in order. ChallengeError names the column it fails at."""
    return tuple(challenge for line in lines for challenge in _parse_line(line))


def choose(challenges: Iterable[Challenge]) -> Challenge | None:
    """The challenge to answer: a bearer token rather than the password itself; None if neither is offered."""
    known = {challenge.scheme: challenge for challenge in reversed(tuple(challenges))}
    return known.get("bearer") or known.get("basic")


def repository_scope(repository: str, *actions: str) -> str:
    """The scope of a token for one repository (distribution: token scope documentation)."""
    return f"repository:{repository}:{','.join(actions)}"


CATALOG_SCOPE = "registry:catalog:*"


def _parse_line(line: str) -> list[Challenge]:
    if len(line) > MAX_HEADER:
        raise ChallengeError(line[:80], MAX_HEADER, "the header is too long")
    found: list[Challenge] = []
    at = _skip(_SEPARATOR, line, len(line) - len(line.lstrip(" \t")))
    end = len(line.rstrip(" \t"))
    while at < end:
        challenge, at = _parse_challenge(line, at)
        found.append(challenge)
        after = _skip(_SEPARATOR, line, at)
        if at < end and after == at:
            raise ChallengeError(line, at, "expected a comma")
        at = after
    return found


def _parse_challenge(line: str, at: int) -> tuple[Challenge, int]:
    scheme = _TOKEN.match(line, at)
    if not scheme:
        raise ChallengeError(line, at, "expected the name of a scheme")
    name, at = scheme[0].lower(), scheme.end()
    space = _SPACE.match(line, at)
    if not space:
        return Challenge(name, MappingProxyType({})), at
    if not _at_param(line, space.end()) and (opaque := _TOKEN68.match(line, space.end())):
        return Challenge(name, MappingProxyType({}), opaque[0]), opaque.end()
    params, at = _parse_params(line, space.end(), at)
    return Challenge(name, MappingProxyType(params)), at


def _parse_params(line: str, at: int, end: int) -> tuple[dict[str, str], int]:
    """Parameters from `at` on; `end` is where the challenge ends if there is none."""
    params: dict[str, str] = {}
    while match := _TOKEN.match(line, at):
        equals = _EQUALS.match(line, match.end())
        if not equals:
            break
        name = match[0].lower()
        if name in params:
            raise ChallengeError(line, at, f"{name} is given twice")
        params[name], end = _parse_value(line, equals.end())
        at = _skip(_SEPARATOR, line, end)
        if at == end:
            break
    return params, end


def _parse_value(line: str, at: int) -> tuple[str, int]:
    if line[at] != '"':
        bare = _BARE.match(line, at)
        assert bare  # _EQUALS looked ahead
        return bare[0], bare.end()
    quoted = _QUOTED.match(line, at)
    if not quoted:
        raise ChallengeError(line, at, "the quoted text has no end, or a control character in it")
    return re.sub(r"\\(.)", r"\1", quoted[1]), quoted.end()


def _at_param(line: str, at: int) -> bool:
    name = _TOKEN.match(line, at)
    return bool(name and _EQUALS.match(line, name.end()))


def _skip(pattern: re.Pattern[str], line: str, at: int) -> int:
    match = pattern.match(line, at)
    return match.end() if match else at
