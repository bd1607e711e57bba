"""PURE: .dockerignore: which files of a context do not take part in a build.

Later lines win; "!" brings back; a pattern that matches a directory covers all that is in it.
Source: Docker's documentation of .dockerignore ("Syntax"), whose patterns are Go's plus "**".
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable

from imagetool.build.glob import BadPattern, compiled
from imagetool.errors import UsageError
from unionfs.namedtuple import NamedTuple


class Rule(NamedTuple):
    pattern: str
    exception: bool
    regex: re.Pattern[str]


Matches = tuple[bool, ...]
"""Which of the rules match a path or a directory above it."""


class Ignore:
    """The rules of one .dockerignore file; without any, nothing is excluded."""

    def __init__(self, rules: tuple[Rule, ...] = ()) -> None:
        self.rules = rules
        plain = not any(rule.exception for rule in rules)
        self._any = re.compile("|".join(rule.regex.pattern for rule in rules), re.S) if plain else None

    def __bool__(self) -> bool:
        return bool(self.rules)

    @classmethod
    def of(cls, patterns: Iterable[str], what: str) -> Ignore:
        """The rules of patterns that are not in a file. UsageError, saying `what` they are, for a bad one."""
        try:
            return cls(tuple(rule for pattern in patterns if (rule := _rule(pattern))))
        except BadPattern as error:
            raise UsageError(f"{what}: {error.text}") from error

    @classmethod
    def parse(cls, text: str, file: str = ".dockerignore") -> Ignore:
        """UsageError names the file and line of a bad pattern."""
        rules = []
        for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
            try:
                rule = _rule(line)
            except BadPattern as error:
                raise UsageError(f"{file}:{number}: {error.text}") from error
            if rule:
                rules.append(rule)
        return cls(tuple(rules))

    def excludes(self, path: str) -> bool:
        """Whether the path, relative to the context and without a leading "/", is left out."""
        chain = _with_parents(path)
        excluded = False
        for rule in self.rules:
            if rule.exception == excluded and any(rule.regex.fullmatch(p) for p in chain):
                excluded = not rule.exception
        return excluded

    def below(self, path: str, parent: Matches) -> tuple[bool, Matches]:
        """`excludes`, for whoever walks: given what matched the directory that `path` is in, () at the top."""
        if self._any is not None:  # a directory that is left out is not walked
            return self._any.fullmatch(path) is not None, ()
        inherited = parent or (False,) * len(self.rules)
        matches = tuple(
            matched or rule.regex.fullmatch(path) is not None
            for rule, matched in zip(self.rules, inherited, strict=True)
        )
        excluded = False
        for rule, matched in zip(self.rules, matches, strict=True):
            if matched:
                excluded = not rule.exception
        return excluded, matches

    def prunes(self, directory: str) -> bool:
        """Whether nothing in the directory can take part, so that it need not be walked."""
        return self.excludes(directory) and not any(
            rule.exception and _may_reach(rule.pattern, directory) for rule in self.rules
        )


def _rule(line: str) -> Rule | None:
    if line.startswith("#"):
        return None
    pattern = line.strip()
    exception = pattern.startswith("!")
    if exception:
        pattern = pattern[1:].strip()
        if not pattern:
            raise BadPattern('illegal exclusion pattern: "!"')
    if not pattern:
        return None
    pattern = posixpath.normpath(pattern).replace("//", "/")
    if len(pattern) > 1:
        pattern = pattern.removeprefix("/")
    return Rule(pattern, exception, compiled(pattern))


def _with_parents(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[: n + 1]) for n in range(len(parts))]


def _may_reach(pattern: str, directory: str) -> bool:
    """Whether a pattern could match something below the directory: compare the parts before any "**"."""
    wanted, given = pattern.split("/"), directory.split("/")
    for part, name in zip(wanted, given, strict=False):
        if "**" in part:
            return True
        if not compiled(part).fullmatch(name):
            return False
    return True
