"""Names of images: the distribution grammar with Docker's defaults."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagetool import reference
from imagetool.errors import InvalidReference

DIGEST = "sha256:" + "ab" * 32

GOOD = [
    # as written, in full, as shown
    ("debian", "docker.io/library/debian", "debian"),
    ("debian:12", "docker.io/library/debian:12", "debian:12"),
    ("user/app", "docker.io/user/app", "user/app"),
    ("docker.io/debian", "docker.io/library/debian", "debian"),
    ("index.docker.io/user/app:v1", "docker.io/user/app:v1", "user/app:v1"),
    (
        "quay.io/pqsdev/mssql-tools:master",
        "quay.io/pqsdev/mssql-tools:master",
        "quay.io/pqsdev/mssql-tools:master",
    ),
    ("localhost/a", "localhost/a", "localhost/a"),
    ("localhost:5000/a:b", "localhost:5000/a:b", "localhost:5000/a:b"),
    ("127.0.0.1:5000/library/a", "127.0.0.1:5000/library/a", "127.0.0.1:5000/library/a"),
    ("[::1]:5000/a/b_c__d.e-f---g", "[::1]:5000/a/b_c__d.e-f---g", "[::1]:5000/a/b_c__d.e-f---g"),
    ("HOST/a", "HOST/a", "HOST/a"),
    (f"debian@{DIGEST}", f"docker.io/library/debian@{DIGEST}", f"debian@{DIGEST}"),
    (f"a/b:1@{DIGEST}", f"docker.io/a/b:1@{DIGEST}", f"a/b:1@{DIGEST}"),
    ("library/debian", "docker.io/library/debian", "debian"),
    ("library/a/b", "docker.io/library/a/b", "library/a/b"),
    ("a:" + "t" * 128, "docker.io/library/a:" + "t" * 128, "a:" + "t" * 128),
]

BAD = [
    ("", "empty"),
    ("Debian", "lower case: debian"),
    ("debian:", "tag"),
    ("debian:-x", "tag"),
    ("debian:" + "t" * 129, "tag"),
    ("debian:12:13", "letters"),
    ("a//b", "empty"),
    ("/a", "empty"),
    ("a/", "empty"),
    ("-a", "letters"),
    ("a..b", "letters"),
    ("a___b", "letters"),
    ("a b", "letters"),
    ("debian@sha256:12", "64 hexadecimal"),
    ("debian@", "64 hexadecimal"),
    ("ab" * 32, "64-digit ID"),
    ("exa_mple.com/a", "host name"),
    ("host:x/a", "host name"),
    ("a" * 256, "at most 255"),
    ("../../etc/passwd", "host name"),
    ("debian\n", "letters"),
    ("débian", "letters"),
]


@pytest.mark.parametrize(("text", "full", "shown"), GOOD)
def test_a_name_is_read_and_shown(text: str, full: str, shown: str) -> None:
    found = reference.parse(text)
    assert (str(found), found.familiar()) == (full, shown)
    assert reference.parse_full(full) == found


@pytest.mark.parametrize(("text", "hint"), BAD)
def test_a_bad_name_is_refused_with_a_hint(text: str, hint: str) -> None:
    with pytest.raises(InvalidReference) as caught:
        reference.parse(text)
    assert hint in caught.value.hint
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["", "https://"])
@pytest.mark.parametrize("password", ["s3cret", "s3cret/x", "s3cret@x"])
def test_a_password_in_a_pasted_url_is_not_shown(scheme: str, password: str) -> None:
    with pytest.raises(InvalidReference) as caught:
        reference.parse(f"{scheme}me:{password}@registry.example/x")
    assert f"{scheme}me:…@registry.example/x" in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_port_is_no_password() -> None:
    with pytest.raises(InvalidReference, match=r"registry\.example:5000/x@latest"):
        reference.parse("registry.example:5000/x@latest")


@given(st.text(alphabet="aB0.:/@-_[] é", max_size=40) | st.text(max_size=20))
def test_what_is_accepted_reads_back_in_both_forms(text: str) -> None:
    try:
        found = reference.parse(text)
    except InvalidReference:
        return
    assert reference.parse(str(found)) == found
    assert reference.parse(found.familiar()) == found
    assert ".." not in str(found).split("/")


def test_latest_is_the_default_only_where_nothing_was_given() -> None:
    assert str(reference.parse("debian").tagged()) == "docker.io/library/debian:latest"
    assert reference.parse(f"debian@{DIGEST}").tagged().tag is None


@pytest.mark.parametrize(
    ("text", "answer"), [("97bed23a3497", True), ("sha256:ab", True), ("xyz", False), ("", False)]
)
def test_what_can_be_an_id(text: str, answer: bool) -> None:
    assert reference.is_id(text) is answer
