"""PURE: a Dockerfile's text as logical lines: directives, comments, continuations, here-documents.

Source: the Dockerfile reference ("Format", "Parser directives", "Here-Documents").
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from imagetool.build.errors import DockerfileError
from imagetool.build.words import split_words
from unionfs.namedtuple import NamedTuple

DIRECTIVES = ("syntax", "escape", "check")
_DIRECTIVE = re.compile(r"^#\s*([A-Za-z][A-Za-z0-9]*)\s*=\s*(.+?)\s*$")
_HEREDOC = re.compile(r"^(\d*)<<(-?)([^<]+)$")
_TAKES_HEREDOC = ("RUN", "COPY", "ADD")


class Heredoc(NamedTuple):
    """One here-document: `<<NAME`, `<<-NAME` (leading tabs go), `<<"NAME"` (no variables)."""

    name: str
    content: str
    expand: bool
    chomp: bool
    fd: int  # the number before "<<": 0 without one


class Logical(NamedTuple):
    """One instruction's text with its continuations joined."""

    text: str
    start: int  # the first and last line of it, from 1; here-documents count
    end: int
    heredocs: tuple[Heredoc, ...]


class Source(NamedTuple):
    """A Dockerfile in logical lines."""

    lines: list[str]
    directives: Mapping[str, str]
    logical: list[Logical]

    @property
    def escape(self) -> str:
        return self.directives.get("escape", "\\")


def read(text: str) -> Source:
    """Split; DockerfileError for a bad directive or a here-document without an end."""
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").split("\n")
    if lines and lines[-1] == "":
        lines.pop()
    directives, _ = _directives(lines)
    escape = directives.get("escape", "\\")
    logical: list[Logical] = []
    at = 0
    while at < len(lines):
        if not lines[at].strip() or _is_comment(lines[at]):
            at += 1
            continue
        row, at = _logical(lines, at, escape)
        if row.text.strip():
            logical.append(row)
    return Source(lines, directives, logical)


def _directives(lines: list[str]) -> tuple[dict[str, str], int]:
    """Directives stand at the top; the first line that is none ends them."""
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        match = _DIRECTIVE.match(line)
        if not match or match[1].lower() not in DIRECTIVES:
            return found, number
        name, value = match[1].lower(), match[2]
        if name in found:
            raise DockerfileError(f"only one {name} parser directive can be used", line=number)
        if name == "escape" and value not in ("\\", "`"):
            raise DockerfileError(f"invalid escape token {value!r}: it must be ` or \\", line=number)
        found[name] = value
    return found, len(lines)


def _logical(lines: list[str], at: int, escape: str) -> tuple[Logical, int]:
    start = at + 1
    text, open_end = _trim(lines[at].lstrip(), escape)
    at += 1
    while open_end and at < len(lines):
        line = lines[at]
        at += 1
        if _is_comment(line) or not line.strip():  # both vanish inside a continued instruction
            continue
        part, open_end = _trim(line, escape)
        text += part
    heredocs = []
    for head in _heredoc_heads(text, escape):
        document, at = _heredoc(lines, at, head, start)
        heredocs.append(document)
    return Logical(text, start, at, tuple(heredocs)), at


def _trim(line: str, escape: str) -> tuple[str, bool]:
    """The line without its continuation character, and whether it had one."""
    stripped = line.rstrip(" \t")
    if not stripped.endswith(escape) or stripped.endswith(escape * 2):
        return line, False
    return stripped[:-1], True


def _heredoc_heads(text: str, escape: str) -> list[tuple[int, bool, str]]:
    words = text.split(None, 2)
    if words and words[0].upper() == "ONBUILD":
        text = text.split(None, 1)[1] if len(words) > 1 else ""
        words = text.split(None, 2)
    if not words or words[0].upper() not in _TAKES_HEREDOC or "<<" not in text:
        return []
    found = []
    for word in split_words(text, escape):
        match = _HEREDOC.match(word.text)
        if match and match[3].strip("'\""):
            found.append((int(match[1] or 0), bool(match[2]), match[3]))
    return found


def _heredoc(lines: list[str], at: int, head: tuple[int, bool, str], start: int) -> tuple[Heredoc, int]:
    fd, chomp, raw = head
    name = re.sub(r"['\"\\]", "", raw)
    body: list[str] = []
    while at < len(lines):
        line = lines[at].lstrip("\t") if chomp else lines[at]
        at += 1
        if line == name:
            content = "".join(row + "\n" for row in body)
            return Heredoc(name, content, name == raw, chomp, fd), at
        body.append(line)
    raise DockerfileError(f"unterminated here-document <<{name}", line=start)


def _is_comment(line: str) -> bool:
    return line.lstrip().startswith("#")
