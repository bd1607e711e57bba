"""PURE: a Dockerfile's text -> instructions, every one checked; mistakes have file, line and a caret.

Source: the Dockerfile reference. Nothing is expanded here: values are not known before a stage is built.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from imagetool.build import flags
from imagetool.build.errors import DockerfileError, StepError
from imagetool.build.instructions import (
    Arg,
    At,
    Cmd,
    Command,
    Entrypoint,
    Env,
    Expose,
    From,
    Healthcheck,
    Instruction,
    Label,
    Maintainer,
    Onbuild,
    Run,
    Shell,
    StopSignal,
    Transfer,
    User,
    Volume,
    Workdir,
)  # fmt: skip
from imagetool.build.lines import Heredoc, Logical, Source, read
from imagetool.build.words import json_strings, split_flags, split_words, unquote
from imagetool.errors import ImageToolError, NotFound, UsageError
from unionfs.namedtuple import NamedTuple

_STAGE_NAME = re.compile(r"[a-z][a-z0-9-_.]*")
_QUOTED = re.compile(r"""['"]/?([^'"]+)['"]""")
_RESERVED = ("context", "scratch")
_NOT_TRIGGERS = ("FROM", "ONBUILD", "MAINTAINER")


class Dockerfile(NamedTuple):
    source: Source
    instructions: tuple[Instruction, ...]
    file: str = "Dockerfile"

    def error(self, at: At, text: str, word: str = "", offset: int = 0) -> DockerfileError:
        """A mistake in `word` that shows only later, at an instruction of this file."""
        error = DockerfileError(text, line=at.line, last=at.end, word=word, offset=offset)
        return error.within(self.file, self.source.lines)

    def mistake(self, at: At, error: ImageToolError) -> DockerfileError:
        """The same error as one of the instruction at `at`, and of a word that it quotes, if it quotes one."""
        quoted = [word for word in _QUOTED.findall(error.text) if word in at.text]
        found = DockerfileError(
            error.text, line=at.line, last=at.end, word=quoted[0] if quoted else "", hint=error.hint
        )
        found.exit_code = error.exit_code
        return found.within(self.file, self.source.lines)

    @contextmanager
    def located(self, at: At) -> Iterator[None]:
        """What goes wrong within gets the place of the instruction at `at`: DockerfileError, StepError."""
        try:
            yield
        except (DockerfileError, StepError):
            raise
        except (UsageError, NotFound) as error:
            raise self.mistake(at, error) from error
        except ImageToolError as error:
            raise StepError(self.file, at.line, error) from error


class Line(NamedTuple):
    """One logical line under parsing: the keyword, what follows, and how to fail."""

    keyword: str
    rest: str
    row: Logical
    escape: str
    given: dict[str, list[str]]  # flags

    @property
    def at(self) -> At:
        return At(self.row.start, self.row.end, self.row.text.strip())

    def fail(self, text: str, word: str = "") -> DockerfileError:
        return _error(self.row, text, word)

    def listed(self) -> list[str] | None:
        """The words of the JSON form; None for the shell form."""
        try:
            return json_strings(self.rest)
        except UsageError as error:
            raise self.fail(error.text, self.rest) from None


def parse(text: str, file: str = "Dockerfile") -> Dockerfile:
    """Parse; DockerfileError at the first mistake. A file without instructions is one."""
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").split("\n")
    try:
        source = read(text)
        instructions = tuple(_instruction(row, source.escape) for row in source.logical)
        _check(instructions)
    except DockerfileError as error:
        raise error.within(file, lines) from None
    return Dockerfile(source, instructions, file)


def parse_trigger(text: str, escape: str = "\\") -> Instruction:
    """An ONBUILD trigger, from a Dockerfile or from the config of a base image."""
    source = read(text if text.endswith("\n") else text + "\n")
    if len(source.logical) != 1:
        raise DockerfileError("ONBUILD needs one instruction", line=1)
    return _instruction(source.logical[0], escape)


def _instruction(row: Logical, escape: str) -> Instruction:
    keyword, _, rest = _partition(row.text.strip())
    name = keyword.upper()
    reader = _READERS.get(name)
    if reader is None:
        raise _error(row, f"unknown instruction: {keyword}", keyword)
    found, start = split_flags(rest, escape) if name in flags.KNOWN else ([], 0)
    given: dict[str, list[str]] = {}
    for word in found:
        flag, equals, value = word.text[2:].partition("=")
        if flag not in flags.KNOWN[name]:
            raise _error(row, f"unknown flag: --{flag}", word.text)
        if not equals and not flags.KNOWN[name][flag].switch:
            raise _error(row, f"missing a value on flag: --{flag}", word.text)
        if flag in given and not flags.KNOWN[name][flag].many:
            raise _error(row, f"duplicate flag specified: --{flag}", word.text)
        given.setdefault(flag, []).append(unquote(value, escape) if equals else "true")
    line = Line(name, rest[start:].strip(), row, escape, given)
    if not line.rest:
        raise line.fail(f"{name} requires at least one argument", keyword)
    return reader(line)


def _partition(text: str) -> tuple[str, str, str]:
    match = re.match(r"\S+", text)
    keyword = match[0] if match else ""
    return keyword, " ", text[len(keyword) :].strip()


def _error(row: Logical, text: str, word: str = "") -> DockerfileError:
    return DockerfileError(text, line=row.start, last=row.end, word=word)


def _from(line: Line) -> From:
    words = [w.text for w in split_words(line.rest, line.escape)]
    if len(words) not in (1, 3) or (len(words) == 3 and words[1].upper() != "AS"):
        raise line.fail("FROM requires either one or three arguments: FROM image [AS name]", words[-1])
    name = words[2].lower() if len(words) == 3 else ""
    if name and (not _STAGE_NAME.fullmatch(name) or name in _RESERVED):
        raise line.fail(f"invalid name for build stage: {words[2]!r}", words[2])
    return From(line.at, words[0], name, flags.one(line.given, "platform"))


def _command(line: Line) -> Command:
    words = line.listed()
    if words is not None:
        if not words and line.keyword == "RUN":
            raise line.fail("RUN requires at least one argument", line.rest)
        return Command(tuple(words), False)
    return Command((line.rest,), True)


def _run(line: Line) -> Run:
    network, security = (flags.one(line.given, n) for n in ("network", "security"))
    if network not in ("", "default", "none", "host"):
        raise line.fail(f"invalid network mode {network!r}: default, none or host", network)
    if security not in ("", "sandbox", "insecure"):
        raise line.fail(f"invalid security mode {security!r}: sandbox or insecure", security)
    return Run(
        line.at, _command(line), line.row.heredocs, tuple(line.given.get("mount", ())), network or "default",
        security or "sandbox",
    )  # fmt: skip


def _shell(line: Line) -> Shell:
    words = line.listed()
    if not words:
        raise line.fail('SHELL requires the arguments to be in JSON form: SHELL ["program", "-c"]', line.rest)
    return Shell(line.at, tuple(words))


def _transfer(line: Line) -> Transfer:
    listed = line.listed()
    words = listed if listed is not None else [w.text for w in split_words(line.rest, line.escape)]
    if len(words) < 2:
        raise line.fail(
            f"{line.keyword} requires at least two arguments, a source and a destination", line.rest
        )
    given = line.given
    checksum = flags.one(given, "checksum")
    if (
        checksum
        and not checksum.startswith("$")
        and not re.fullmatch(r"sha(256|384|512):[0-9a-f]+", checksum)
    ):
        raise line.fail(f"invalid checksum {checksum!r}: sha256:<hex>", checksum)
    unpack = flags.switch(given, "unpack")
    return Transfer(
        line.at, line.keyword == "ADD", tuple(words[:-1]), words[-1], line.row.heredocs, flags.one(given, "from"),
        flags.one(given, "chown"), flags.one(given, "chmod"), bool(flags.switch(given, "link")),
        bool(flags.switch(given, "parents")), tuple(given.get("exclude", ())), checksum,
        bool(flags.switch(given, "keep-git-dir")), unpack,
    )  # fmt: skip


def _pairs(line: Line) -> tuple[tuple[str, str], ...]:
    words = split_words(line.rest, line.escape)
    if "=" not in words[0].text:  # the old form: one name, the rest of the line its value
        name, _, value = _partition(line.rest)
        if not value:
            raise line.fail(f"{line.keyword} must have two arguments", name)
        return ((name, value),)
    pairs = []
    for word in words:
        name, equals, value = word.text.partition("=")
        if not equals:
            raise line.fail(f"can't find = in {word.text!r}: it must be of the form name=value", word.text)
        if not name:
            raise line.fail(f"{line.keyword} names can not be blank", word.text)
        pairs.append((name, value))
    return tuple(pairs)


def _arg(line: Line) -> Arg:
    rows: list[tuple[str, str | None]] = []
    for word in split_words(line.rest, line.escape):
        name, equals, value = word.text.partition("=")
        if not name:
            raise line.fail("ARG names can not be blank", word.text)
        rows.append((name, value if equals else None))
    return Arg(line.at, tuple(rows))


def _volume(line: Line) -> Volume:
    listed = line.listed()
    words = listed if listed is not None else [w.text for w in split_words(line.rest, line.escape)]
    if not words or not all(w.strip() for w in words):
        raise line.fail("VOLUME specified can not be an empty string", line.rest)
    return Volume(line.at, tuple(words))


def _single(line: Line) -> str:
    if line.keyword == "STOPSIGNAL" and len(split_words(line.rest, line.escape)) != 1:
        raise line.fail("STOPSIGNAL requires exactly one argument", line.rest)
    return line.rest


def _healthcheck(line: Line) -> Healthcheck:
    kind, _, rest = _partition(line.rest)
    if kind.upper() == "NONE":
        if rest or line.given:
            raise line.fail("HEALTHCHECK NONE takes no arguments", rest or kind)
        return Healthcheck(line.at, None)
    if kind.upper() != "CMD" or not rest:
        raise line.fail("HEALTHCHECK needs NONE, or CMD and a command", kind)
    interval, timeout, start, again = (
        flags.duration(flags.one(line.given, n), line.fail) for n in flags.DURATIONS
    )
    retries = flags.one(line.given, "retries") or "0"
    if not retries.isdecimal():
        raise line.fail(f"--retries must be a number, not {retries!r}", retries)
    return Healthcheck(
        line.at, _command(line._replace(rest=rest)), interval, timeout, start, again, int(retries)
    )


def _onbuild(line: Line) -> Onbuild:
    keyword = _partition(line.rest)[0].upper()
    if keyword in _NOT_TRIGGERS:
        raise line.fail(f"{keyword} isn't allowed as an ONBUILD trigger", line.rest.split()[0])
    row = line.row._replace(text=line.rest)
    _instruction(row, line.escape)  # a mistake shows here, not in the image that builds on this one
    return Onbuild(line.at, line.rest + _heredoc_text(line.row.heredocs))


def _heredoc_text(heredocs: tuple[Heredoc, ...]) -> str:
    return "".join(f"\n{h.content}{h.name}" for h in heredocs)


def _check(instructions: tuple[Instruction, ...]) -> None:
    if not instructions:
        raise DockerfileError("the file has no instructions", line=0)
    for item in instructions:
        if isinstance(item, From):
            return
        if not isinstance(item, Arg):
            raise DockerfileError("no build stage in current context: FROM comes first", line=item.at.line)
    raise DockerfileError("there is no FROM", line=instructions[-1].at.line)


_READERS: dict[str, Callable[[Line], Instruction]] = {
    "FROM": _from,
    "RUN": _run,
    "CMD": lambda line: Cmd(line.at, _command(line)),
    "ENTRYPOINT": lambda line: Entrypoint(line.at, _command(line)),
    "SHELL": _shell,
    "COPY": _transfer,
    "ADD": _transfer,
    "ENV": lambda line: Env(line.at, _pairs(line)),
    "LABEL": lambda line: Label(line.at, _pairs(line)),
    "ARG": _arg,
    "EXPOSE": lambda line: Expose(line.at, line.rest),
    "VOLUME": _volume,
    "USER": lambda line: User(line.at, _single(line)),
    "WORKDIR": lambda line: Workdir(line.at, _single(line)),
    "STOPSIGNAL": lambda line: StopSignal(line.at, _single(line)),
    "MAINTAINER": lambda line: Maintainer(line.at, _single(line)),
    "HEALTHCHECK": _healthcheck,
    "ONBUILD": _onbuild,
}
