"""Go's patterns, and .dockerignore; the tables are the examples of Go's and Docker's documentation."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagetool.build import glob
from imagetool.build.ignore import Ignore
from imagetool.errors import UsageError

MATCHES = [
    ("abc", "abc", True), ("*", "abc", True), ("*c", "abc", True), ("a*", "a", True), ("a*", "ab/c", False),
    ("a*/b", "abc/b", True), ("a*/b", "a/c/b", False), ("a*b*c*d*e*/f", "axbxcxdxe/f", True),
    ("a*b?c*x", "abxbbxdbxebxczzx", True), ("a*b?c*x", "abxbbxdbxebxczzy", False), ("ab[c]", "abc", True),
    ("ab[b-d]", "abc", True), ("ab[e-g]", "abc", False), ("ab[^c]", "abc", False), ("ab[^b-d]", "abc", False),
    ("ab[^e-g]", "abc", True), ("a\\*b", "a*b", True), ("a\\*b", "ab", False), ("a?b", "a☺b", True),
    ("a[^a]b", "a☺b", True), ("a???b", "a☺b", False), ("[a-ζ]*", "\u03b1", True), ("*[a-ζ]", "A", False),
    ("a?b", "a/b", False), ("a*b", "a/b", False), ("[\\]a]", "]", True), ("[\\-]", "-", True), ("[x\\-]", "x", True),
    ("[x\\-]", "z", False), ("[\\-x]", "a", False), ("*x", "xxx", True), ("a.b", "axb", False), ("[c-a]", "b", False),
    ("**", "a/b", True), ("**/x", "x", True), ("**/x", "a/b/x", True), ("a/**/x", "a/x", True),
    ("a/**/x", "a/b/c/x", True), ("a/**", "a/b/c", True), ("**/*.go", "a/b.go", True), ("**/*.go", "b.go", True),
    ("a/**/x", "b/x", False), ("**foo", "xfoo", False), ("**foo", "x/foo", True),
]  # fmt: skip


@pytest.mark.parametrize(("pattern", "name", "expected"), MATCHES)
def test_match(pattern: str, name: str, expected: bool) -> None:
    assert glob.match(pattern, name) is expected


@pytest.mark.parametrize(
    "pattern", ["[]a]", "[-]", "[x-]", "[-x]", "[a-b-c]", "[", "[^", "[^bc", "a[", "a\\", "[a-]"]
)
def test_bad_patterns(pattern: str) -> None:
    with pytest.raises(glob.BadPattern):
        glob.match(pattern, "a")


@given(st.text("ab/.", min_size=1, max_size=10))
def test_a_name_matches_itself_escaped(name: str) -> None:
    assert glob.match("".join("\\" + c for c in name), name)
    assert glob.match("**", name)


@given(st.text("a*?[]^-\\/", max_size=10), st.text("a/-", max_size=6))
def test_any_pattern_answers(pattern: str, name: str) -> None:
    try:
        glob.match(pattern, name)
    except glob.BadPattern as error:
        said = error.text
    else:
        said = repr(pattern)
    assert repr(pattern) in said


IGNORED = [
    ("*/temp*", "somedir/temporary.txt", True), ("*/temp*", "somedir/temp", True), ("*/temp*", "temp", False),
    ("*/*/temp*", "somedir/subdir/temporary.txt", True), ("temp?", "tempa", True), ("temp?", "temp", False),
    ("**/*.go", "a/b/c.go", True), ("*.md\n!README.md", "README.md", False), ("*.md\n!README.md", "x.md", True),
    ("*.md\n!README*.md\nREADME-secret.md", "README-secret.md", True),
    ("*.md\nREADME-secret.md\n!README*.md", "README-secret.md", False),
    ("/foo/bar", "foo/bar", True), ("foo/", "foo/x/y", True), ("foo", "foo/x", True), ("foo", "bar/foo", False),
    ("# foo\nbar", "# foo", False), (" foo ", "foo", True), ("./foo", "foo", True), ("a/../foo", "foo", True),
    ("*\n!src", "src/a.c", False), ("*\n!src\nsrc/*.o", "src/a.o", True), ("", "x", False), (".", ".", True),
    ("! foo", "foo", False), ("**\n!**/keep", "a/b/keep", False), ("\ufeffx", "x", True),
]  # fmt: skip


@pytest.mark.parametrize(("text", "path", "expected"), IGNORED)
def test_dockerignore(text: str, path: str, expected: bool) -> None:
    assert Ignore.parse(text).excludes(path) is expected


@pytest.mark.parametrize(("text", "line"), [("a\n!", 2), ("[", 1), ("# x\n\nb[\n", 3)])
def test_bad_lines_are_named(text: str, line: int) -> None:
    with pytest.raises(UsageError, match=rf"^\.dockerignore:{line}: "):
        Ignore.parse(text)


def test_pruning() -> None:
    rules = Ignore.parse("node_modules\nbuild\n!build/keep\n**/cache\n!deep/**/x\n")
    assert rules.prunes("node_modules")
    assert not rules.prunes("build")
    assert not rules.prunes("src")
    assert rules.prunes("a/cache")
    assert not rules.prunes("deep/cache")


_LINE = st.lists(st.sampled_from(["a", "b", "*", "**", "?", "!", "/"]), min_size=1, max_size=5).map("".join)


@given(st.lists(_LINE, max_size=5), st.lists(st.sampled_from(["a", "b", "ab"]), min_size=2, max_size=4))
def test_what_is_pruned_holds_nothing(lines: list[str], parts: list[str]) -> None:
    try:
        rules = Ignore.parse("\n".join(lines))
    except UsageError:
        return
    for depth in range(1, len(parts)):
        if rules.prunes("/".join(parts[:depth])):
            assert rules.excludes("/".join(parts))
