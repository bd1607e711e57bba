"""What of the engine decides and touches nothing: forms of RUN, settings, secrets, directories, histories."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from imagetool import digest as digests
from imagetool.build import guard, secrets, settings, stubs
from imagetool.build import instructions as asked
from imagetool.build.cache import Result, parse_until
from imagetool.build.dockerfile import parse
from imagetool.build.runstep import words
from imagetool.build.scope import Scope
from imagetool.build.secrets import Secret
from imagetool.build.state import from_scratch, from_stage, grown, noted, ran, replaced
from imagetool.errors import NotFound, UsageError
from imagetool.spec import Descriptor, Platform, RunConfig

SHELL = ("/bin/sh", "-c")


@pytest.mark.parametrize(
    ("text", "argv", "script"),
    [
        ("RUN a b", (*SHELL, "a b"), ""),
        ('RUN ["a", "b"]', ("a", "b"), ""),
        ("RUN <<E\na\nb\nE", (*SHELL, "a\nb\n"), ""),
        ("RUN <<E\n#!/x\nb\nE", ("/dev/pipes/E",), "#!/x\nb\n"),
        ("RUN cat <<E > /f\na\nE", (*SHELL, "cat <<E > /f\na\nE"), ""),
        ("RUN <<A <<B\na\nA\nb\nB", (*SHELL, "<<A <<B\na\nA\nb\nB"), ""),
    ],
)
def test_what_a_run_executes(text: str, argv: tuple[str, ...], script: str) -> None:
    item = parse(f"FROM scratch\n{text}\n").instructions[1]
    assert isinstance(item, asked.Run)
    assert words(item, ()) == (argv, script)


@pytest.mark.parametrize(
    ("current", "path", "found"),
    [
        ("", "a", "/a"),
        ("/a", "b", "/a/b"),
        ("/a", "/b/", "/b"),
        ("/a", "../..", "/"),
        ("/", ".", "/"),
        ("", "//x", "/x"),
    ],
)
def test_working_directories(current: str, path: str, found: str) -> None:
    assert settings.directory(current, path) == found


@pytest.mark.parametrize("word", ["0", "65536", "90-80", "x", "80/icmp", "-1", "1-2-3", ""])
def test_ports_that_are_none(word: str) -> None:
    item = parse("FROM scratch\nEXPOSE 1\n").instructions[1]
    with pytest.raises(UsageError, match="invalid port"):
        settings.changed(RunConfig(), item, str, lambda _: [word])


def test_the_history_of_a_run_names_its_arguments() -> None:
    assert ran(("sh", "-c", "x"), {}) == "sh -c x"
    assert ran(("x",), {"B": "2", "A": "1"}) == "|2 A=1 B=2 x"


def test_secrets_and_their_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORD", "from the variable")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "f").write_text("from the file")
    found = secrets.parse_secrets(
        ["id=a,src=f", "src=f", "id=b,env=WORD", "id=WORD", "type=env,id=c,src=WORD"]
    )
    assert found == {
        "a": Secret(file=str(tmp_path / "f")), "f": Secret(file=str(tmp_path / "f")), "b": Secret(variable="WORD"),
        "WORD": Secret(variable="WORD"), "c": Secret(variable="WORD"),
    }  # fmt: skip
    assert (found["a"].read("a"), found["b"].read("b")) == (b"from the file", b"from the variable")
    for bad in ("a", "id", "env=WORD", "id=a,src=f,type=x", "name=a"):
        with pytest.raises(UsageError, match="invalid secret"):
            secrets.parse_secrets([bad])
    with pytest.raises(NotFound, match="secret x: /nowhere: No such file"):
        Secret(file="/nowhere").read("x")
    with pytest.raises(NotFound, match="NOT_SET is not set"):
        Secret(variable="NOT_SET").read("x")
    (tmp_path / "f").write_bytes(bytes(600 << 10))
    with pytest.raises(UsageError, match="larger than"):
        found["a"].read("a")


def test_agents(tmp_path: Path) -> None:
    path = os.path.relpath(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        assert secrets.parse_ssh(["default", f"other={path}"], {"SSH_AUTH_SOCK": path}) == {
            "default": str(tmp_path / "s"), "other": str(tmp_path / "s"),
        }  # fmt: skip
    with pytest.raises(UsageError, match="SSH_AUTH_SOCK is not set"):
        secrets.parse_ssh(["default"], {})


def test_a_state_grows_and_is_squashed() -> None:
    platform = Platform.parse("linux/amd64")
    start = from_scratch(platform, Scope())
    assert start.scope.env["PATH"].startswith("/usr/local/sbin:")
    states = [start]
    for number in range(3):
        diff_id = digests.of(b"%d" % number)
        result = Result(f"2024-01-0{number + 1}T00:00:00Z", Descriptor("t", diff_id, 1), diff_id)
        states.append(noted(grown(states[-1], f"step {number}", result, f"/u{number}"), "setting", result))
    last = states[-1]
    assert last.fresh == ("/u2", "/u1", "/u0")
    assert len({state.chain for state in states}) == 4
    assert [step.empty_layer for step in last.draft.config.history] == [False, True] * 3
    made = digests.of(b"one")
    one = replaced(last, last.layers[:1], (Descriptor("t", made, 9), made), "2024-01-03T00:00:00Z")
    assert [step.empty_layer for step in one.draft.config.history] == [
        False,
        True,
        True,
        True,
        True,
        True,
        False,
    ]
    assert one.draft.config.diff_ids == (last.draft.config.diff_ids[0], made)
    assert from_stage(one).chain == one.chain


def test_until() -> None:
    assert (parse_until(()), parse_until(("until=1h30m",))) == (0.0, 5400.0)
    with pytest.raises(UsageError):
        parse_until(("until=soon",))


def test_places_that_are_missing_are_taken_away_when_they_are_empty(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "way").symlink_to("/there")
    paths = ["/there", "/there/a/b", "/way/c", "/x/f", "/x/g"]
    found = stubs.missing(str(tmp_path), paths)
    assert found == ["there/a", "there/a/b", "way/c", "x", "x/f", "x/g"]
    for name in ("there/a/b", "there/c", "x"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "x/f").touch()
    (tmp_path / "x/g").write_text("the command's own")
    stubs.remove(str(tmp_path), found)
    left = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*"))
    assert left == ["there", "way", "x", "x/g"]


def test_mount_points_have_escapes() -> None:
    assert guard._plain(rb"/a\040b\134c") == b"/a b\\c"
