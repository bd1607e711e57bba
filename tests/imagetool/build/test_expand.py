"""Variable expansion; bash is the oracle where it knows the same syntax."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagetool.build.expand import ExpansionError, expand, expand_words, traced

VALUES = {"a": "one", "e": "", "path": "/usr/lib/x.tar.gz", "s": "p q"}

CASES = [
    ("$a", "one"), ("${a}", "one"), ("x$a-y", "xone-y"), ("$ab", ""), ("${a}b", "oneb"), ("$none", ""),
    ("\\$a", "$a"), ("'$a'", "$a"), ('"$a"', "one"), ('"\\$a"', "$a"), ('"\\a"', "\\a"), ("\\a", "a"), ("\\\\", "\\"),
    ("${a:-x}", "one"), ("${e:-x}", "x"), ("${e-x}", ""), ("${none-x}", "x"), ("${none:-$a}", "one"),
    ("${a:+x}", "x"), ("${e:+x}", ""), ("${e+x}", "x"), ("${none+x}", ""), ("${none:-${none2:-z}}", "z"),
    ("${a:?no}", "one"), ("${e?no}", ""),
    ("${path#*/}", "usr/lib/x.tar.gz"), ("${path##*/}", "x.tar.gz"), ("${path%.*}", "/usr/lib/x.tar"),
    ("${path%%.*}", "/usr/lib/x"), ("${path/lib/LIB}", "/usr/LIB/x.tar.gz"), ("${path//\\//-}", "-usr-lib-x.tar.gz"),
    ("${path/\\/usr*/y}", "y"), ("$", "$"), ("a$", "a$"), ("$ a", "$ a"), ("$1x", "x"), ("a'b'\"c\"", "abc"),
    ("\\", "\\"), ("%PATH%", "%PATH%"), ("${s}", "p q"), ("", ""),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), CASES)
def test_expand(text: str, expected: str) -> None:
    assert expand(text, VALUES) == expected


ERRORS = [
    ("${a", 0), ("x${}", 1), ("${a:", 0), ("${a:x}", 0), ("${a@Q}", 0), ("'a", 0), ('"a', 0), ("${e:?must be set}", 0),
    ("${none?}", 0), ("${a/x", 0), ("${a:-x", 0),
]  # fmt: skip


@pytest.mark.parametrize(("text", "at"), ERRORS)
def test_errors(text: str, at: int) -> None:
    with pytest.raises(ExpansionError) as caught:
        expand(text, VALUES)
    assert caught.value.at == at


def test_the_message_of_a_required_variable() -> None:
    with pytest.raises(ExpansionError, match="none: give it a value"):
        expand("${none:?give it a value}", VALUES)


def test_the_other_escape() -> None:
    assert expand("c:\\x\\$a `$a", VALUES, "`") == "c:\\x\\one $a"


def test_words() -> None:
    assert expand_words("80 $s \"$s\" ${none} 'a b'c", VALUES) == ["80", "p", "q", "p q", "a bc"]


def test_names_are_traced() -> None:
    assert traced("$a${b:-$c}'$d'${e+$f}", {}).used == {"a", "b", "c", "e", "f"}


def test_here_documents_keep_quotes() -> None:
    assert traced("'$a' \"$a\" \\$a \\n", VALUES, quotes=False).text == "'one' \"one\" $a \\n"


_PIECE = st.sampled_from(["a", "b", "/", ".", "*", "?", "ab"])
_OPERATORS = st.sampled_from(["#", "##", "%", "%%"])


@settings(max_examples=60, deadline=None)
@given(st.text("ab/.", max_size=8), _OPERATORS, st.lists(_PIECE, min_size=1, max_size=4).map("".join))
def test_trimming_is_bashs(value: str, operator: str, pattern: str) -> None:
    text = f"${{v{operator}{pattern}}}"
    assert expand(text, {"v": value}) == _bash(text, value)


@settings(max_examples=60, deadline=None)
@given(
    st.one_of(st.none(), st.text("ab", max_size=3)),
    st.sampled_from([":-", "-", ":+", "+"]),
    st.text("xy", max_size=3),
)
def test_conditions_are_bashs(value: str | None, operator: str, word: str) -> None:
    text = f"[${{v{operator}{word}}}]"
    assert expand(text, {} if value is None else {"v": value}) == _bash(text, value)


@given(st.text("a$\\'\"{}:-+?#%/ b", max_size=40))
def test_any_text_expands_or_is_a_clear_error(text: str) -> None:
    try:
        expand(text, VALUES)
        expand_words(text, VALUES)
        at = 0
    except ExpansionError as error:
        at = error.at
    assert 0 <= at <= len(text)


@given(st.text(max_size=40))
def test_single_quotes_protect_everything(text: str) -> None:
    inner = text.replace("'", "")
    assert expand(f"'{inner}'", VALUES) == inner


def _bash(text: str, value: str | None) -> str:
    script = f'printf %s "{text}"'
    env = {} if value is None else {"v": value}
    return subprocess.run(
        ["/bin/bash", "-c", script], env=env, capture_output=True, text=True, check=True
    ).stdout
