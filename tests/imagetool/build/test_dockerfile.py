"""The Dockerfile language: what each line means, and what is said of a mistake."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagetool.build import dockerfile
from imagetool.build.errors import DockerfileError
from imagetool.build.instructions import (
    Arg,
    At,
    Cmd,
    Command,
    Env,
    Expose,
    From,
    Healthcheck,
    Instruction,
    Label,
    Onbuild,
    Run,
    Shell,
    Transfer,
    Volume,
    Workdir,
)
from imagetool.build.lines import Heredoc

NOWHERE = At(0, 0, "")


def second(text: str) -> Instruction:
    """The instruction after a FROM, without its place."""
    item = dockerfile.parse("FROM x\n" + text).instructions[1]
    return item._replace(at=NOWHERE)


def sh(text: str) -> Command:
    return Command((text,), True)


CASES: list[tuple[str, Instruction]] = [
    ("RUN apt-get update", Run(NOWHERE, sh("apt-get update"))),
    ("run echo", Run(NOWHERE, sh("echo"))),
    ('RUN ["a", "b c"]', Run(NOWHERE, Command(("a", "b c"), False))),
    ("RUN ['a', 'b']", Run(NOWHERE, sh("['a', 'b']"))),
    ("RUN a && \\\n    b", Run(NOWHERE, sh("a &&     b"))),
    ("RUN a \\  \n# comment\n\n  # more\n b", Run(NOWHERE, sh("a  b"))),
    ("RUN echo a \\\\\nRUN b", Run(NOWHERE, sh("echo a \\\\"))),
    ("RUN echo \\", Run(NOWHERE, sh("echo"))),
    ("RUN --mount=type=cache,target=/c --mount=type=tmpfs,target=/t --network=none make",
     Run(NOWHERE, sh("make"), (), ("type=cache,target=/c", "type=tmpfs,target=/t"), "none")),
    ("RUN -- --strange", Run(NOWHERE, sh("--strange"))),
    ("RUN <<EOF\na\n  b\nEOF\n", Run(NOWHERE, sh("<<EOF"), (Heredoc("EOF", "a\n  b\n", True, False, 0),))),
    ("RUN <<-'E O' cat\n\ta\n\tE O\n", Run(NOWHERE, sh("<<-'E O' cat"), (Heredoc("E O", "a\n", False, True, 0),))),
    ("RUN cat <<A 3<<B\n1\nA\n2\nB\n",
     Run(NOWHERE, sh("cat <<A 3<<B"), (Heredoc("A", "1\n", True, False, 0), Heredoc("B", "2\n", True, False, 3)))),
    ("RUN cat <<<word", Run(NOWHERE, sh("cat <<<word"))),
    ("RUN echo '<<EOF'", Run(NOWHERE, sh("echo '<<EOF'"))),
    ('CMD ["a"] # why', Cmd(NOWHERE, Command(("a",), False))),
    ("CMD [NaN]", Cmd(NOWHERE, sh("[NaN]"))),
    ("CMD []", Cmd(NOWHERE, Command((), False))),
    ('SHELL ["powershell", "-c"]', Shell(NOWHERE, ("powershell", "-c"))),
    ("COPY a b /c/", Transfer(NOWHERE, False, ("a", "b"), "/c/")),
    ('COPY ["a b", "/c d"]', Transfer(NOWHERE, False, ("a b",), "/c d")),
    ("COPY --from=build --chown=1:2 --chmod=755 --link --parents --exclude=*.o --exclude=x a b",
     Transfer(NOWHERE, False, ("a",), "b", (), "build", "1:2", "755", True, True, ("*.o", "x"))),
    ("COPY --link=false a b", Transfer(NOWHERE, False, ("a",), "b")),
    ("COPY <<f /f\nhi $x\nf\n", Transfer(NOWHERE, False, ("<<f",), "/f", (Heredoc("f", "hi $x\n", True, False, 0),))),
    ("ADD --checksum=sha256:ab http://x/y /y", Transfer(NOWHERE, True, ("http://x/y",), "/y", checksum="sha256:ab")),
    ("ENV a=1 b='2 3' c=\"4\\\" 5\" d=6\\ 7",
     Env(NOWHERE, (("a", "1"), ("b", "'2 3'"), ("c", '"4\\" 5"'), ("d", "6\\ 7")))),
    ("ENV a  b  c = d", Env(NOWHERE, (("a", "b  c = d"),))),
    ("LABEL a.b=\"c d\" \\\n  e=f", Label(NOWHERE, (("a.b", '"c d"'), ("e", "f")))),
    ("ARG a b=1 c=", Arg(NOWHERE, (("a", None), ("b", "1"), ("c", "")))),
    ("EXPOSE 80/tcp $PORT", Expose(NOWHERE, "80/tcp $PORT")),
    ('VOLUME ["/a", "/b"]', Volume(NOWHERE, ("/a", "/b"))),
    ("VOLUME /a /b", Volume(NOWHERE, ("/a", "/b"))),
    ("WORKDIR /a b", Workdir(NOWHERE, "/a b")),
    ("HEALTHCHECK NONE", Healthcheck(NOWHERE, None)),
    ("HEALTHCHECK --interval=1m30s --timeout=1.5s --retries=3 CMD curl x",
     Healthcheck(NOWHERE, sh("curl x"), 90 * 10**9, 1_500_000_000, retries=3)),
    ('HEALTHCHECK CMD ["a"]', Healthcheck(NOWHERE, Command(("a",), False))),
    ("ONBUILD COPY . /src", Onbuild(NOWHERE, "COPY . /src")),
    ("ONBUILD RUN <<E\nx\nE\n", Onbuild(NOWHERE, "RUN <<E\nx\nE")),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), CASES, ids=lambda v: v if isinstance(v, str) else "")
def test_meaning(text: str, expected: Instruction) -> None:
    assert second(text) == expected


def test_from() -> None:
    text = "FROM --platform=linux/arm64 a:1@sha256:ab AS Build-1\nfrom scratch"
    first, last = dockerfile.parse(text).instructions
    assert first == From(At(1, 1, text.split("\n")[0]), "a:1@sha256:ab", "build-1", "linux/arm64")
    assert last == From(At(2, 2, "from scratch"), "scratch")


def test_directives() -> None:
    parsed = dockerfile.parse(
        "# syntax = docker/dockerfile:1\n#ESCAPE=`\n# check=skip=all\nFROM x\nRUN a `\n b\nRUN c:\\"
    )
    assert parsed.source.directives == {"syntax": "docker/dockerfile:1", "escape": "`", "check": "skip=all"}
    assert [i.command.words for i in parsed.instructions[1:] if isinstance(i, Run)] == [("a  b",), ("c:\\",)]


@pytest.mark.parametrize("before", ["# about this file\n", "\n", "FROM a\n", "# unknown=1\n"])
def test_a_directive_after_anything_else_is_a_comment(before: str) -> None:
    assert dockerfile.parse(before + "# escape=`\nFROM b\n").source.escape == "\\"


def test_line_ends_and_marks() -> None:
    parsed = dockerfile.parse("\ufeffFROM a\r\nRUN b \\\r\n c\r\n")
    assert second("RUN b \\\n c") == parsed.instructions[1]._replace(at=NOWHERE)
    assert parsed.instructions[1].at[:2] == (2, 3)


ERRORS = [
    ("FORM x", "Dockerfile:1:1: unknown instruction: FORM", 1),
    ("FROM a b", "FROM requires either one or three arguments", 8),
    ("FROM a AS 1x", "invalid name for build stage: '1x'", 11),
    ("FROM a\nCOPY x", "COPY requires at least two arguments", 6),
    ("FROM a\nCOPY --form=b x y", "unknown flag: --form", 6),
    ("FROM a\nCOPY --from x y", "missing a value on flag: --from", 6),
    ("FROM a\nCOPY --chown=1 --chown=2 x y", "duplicate flag", 16),
    ("FROM a\nENV a=1 b", "can't find = in 'b'", 9),
    ("FROM a\nENV a", "ENV must have two arguments", 5),
    ("FROM a\nENV =1", "names can not be blank", 5),
    ("FROM a\nRUN", "RUN requires at least one argument", 1),
    ("FROM a\nSHELL bash", "SHELL requires the arguments to be in JSON form", 7),
    ('FROM a\nCMD ["a", 1]', "arrays must be comprised of strings only", 5),
    ('FROM a\nRUN [["a"]]', "arrays must be comprised of strings only", 5),
    ('FROM a\nCOPY --from=b ["a", null]', "arrays must be comprised of strings only", 15),
    ("FROM a\nHEALTHCHECK --interval=5 CMD x", "invalid duration '5'", 24),
    ("FROM a\nHEALTHCHECK FOO", "HEALTHCHECK needs NONE", 13),
    ("FROM a\nONBUILD FROM b", "FROM isn't allowed as an ONBUILD trigger", 9),
    ("FROM a\nONBUILD FOO b", "unknown instruction: FOO", 9),
    ("FROM a\nRUN --network=x y", "invalid network mode", 15),
    ("FROM a\nADD --checksum=md5:1 x y", "invalid checksum", 16),
    ("FROM a\nSTOPSIGNAL a b", "exactly one argument", 12),
    ("RUN a\nFROM b", "no build stage in current context", 0),
    ("# escape=x\nFROM b", "invalid escape token", 0),
    ("# escape=`\n# escape=`\nFROM b", "only one escape parser directive", 0),
    ("FROM a\nRUN <<EOF\nx", "unterminated here-document <<EOF", 0),
    ("ARG a", "there is no FROM", 0),
    ("# nothing\n", "Dockerfile: the file has no instructions", 0),
    ("", "Dockerfile: the file has no instructions", 0),
]


@pytest.mark.parametrize(("text", "message", "column"), ERRORS, ids=[e[1] for e in ERRORS])
def test_errors(text: str, message: str, column: int) -> None:
    with pytest.raises(DockerfileError) as caught:
        dockerfile.parse(text)
    assert message in str(caught.value)
    assert caught.value.column == column


def test_the_caret_stands_under_the_mistake() -> None:
    with pytest.raises(DockerfileError) as caught:
        dockerfile.parse("FROM a\n\tCOPY --form=b x y\n", "sub/Dockerfile")
    lines = str(caught.value).split("\n")
    assert lines[0] == "sub/Dockerfile:2:7: unknown flag: --form"
    assert lines[1] == "   2 | \tCOPY --form=b x y"
    assert lines[2] == "     | \t     ^"


def test_the_caret_follows_a_continuation() -> None:
    with pytest.raises(DockerfileError) as caught:
        dockerfile.parse("FROM a\nENV a=1 \\\n  # note\n  bad")
    assert str(caught.value).startswith("Dockerfile:4:3: can't find = in 'bad'")


@given(st.text(alphabet="FROMRUNCPY abx\\\n\"'[]<=#$-{}\t`", max_size=200))
def test_any_text_parses_or_is_a_clear_error(text: str) -> None:
    try:
        parsed = dockerfile.parse("FROM a\n" + text)
    except DockerfileError as caught:
        error = caught
        parsed = None
    if parsed is None:
        assert str(error).startswith("Dockerfile:")
        return
    count = len(parsed.source.lines)
    assert all(1 <= i.at.line <= i.at.end <= count for i in parsed.instructions)


@given(
    st.lists(
        st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\r\n\ufeff"), max_size=20),
        min_size=2,
    )
)
def test_json_words_come_back(words: list[str]) -> None:
    item = second("COPY " + json.dumps(words))
    assert isinstance(item, Transfer)
    assert [*item.sources, item.target] == words


@given(st.lists(st.text("ab\tc $'\"\\<", max_size=12), max_size=5))
def test_heredoc_bodies_come_back(body: list[str]) -> None:
    text = "".join(line + "\n" for line in body)
    item = second(f"COPY <<'THE END' /x\n{text}THE END\n")
    assert isinstance(item, Transfer)
    assert item.heredocs[0].content == text
