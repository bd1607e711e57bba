"""Credentials at rest: Docker's file, containers' file, helpers, and what is never shown."""

import base64
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from imagetool.errors import RegistryError, UsageError
from imagetool.registry.credentials import Credentials, Keyring

SECRET = "s3cr3t-value"


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {
        "HOME": str(tmp_path),
        "DOCKER_CONFIG": str(tmp_path / "docker"),
        "XDG_RUNTIME_DIR": str(tmp_path / "run"),
    }


def auth(user: str, password: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def write(path: str, table: dict[str, Any]) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(json.dumps(table))


HELPER = """#!/bin/sh
# The stored answer is a file beside this script; every call is recorded with its arguments.
here=$(dirname "$0"); echo "$@" >> "$here/calls"
input=$(cat)
case $1 in
store) echo "$input" > "$here/stored" ;;
erase) rm -f "$here/stored" ;;
get) cat "$here/stored" 2>/dev/null || { echo "credentials not found in native keychain"; exit 1; } ;;
esac
"""


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "docker-credential-test"
    program.write_text(HELPER)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


def test_saved_is_found_and_private(environ: dict[str, str]) -> None:
    keyring = Keyring(environ)
    path = keyring.save("r.example:5000", Credentials("me", SECRET))
    assert path == environ["DOCKER_CONFIG"] + "/config.json"
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert os.listdir(environ["DOCKER_CONFIG"]) == ["config.json"]
    assert keyring.find("r.example:5000", "a/b") == Credentials("me", SECRET)
    assert keyring.find("r.example") is None
    assert keyring.erase("r.example:5000")
    assert not keyring.erase("r.example:5000")
    assert keyring.find("r.example:5000") is None


def test_docker_hub_has_docker_s_key(environ: dict[str, str]) -> None:
    keyring = Keyring(environ)
    path = keyring.save("docker.io", Credentials("me", SECRET))
    assert list(json.loads(Path(path).read_text())["auths"]) == ["https://index.docker.io/v1/"]
    assert keyring.find("docker.io", "library/debian") == Credentials("me", SECRET)


def test_the_rest_of_the_file_stays(environ: dict[str, str]) -> None:
    path = environ["DOCKER_CONFIG"] + "/config.json"
    write(path, {"psFormat": "x", "auths": {"other": auth("o", "p")}})
    Keyring(environ).save("r.example", Credentials("me", SECRET))
    table = json.loads(Path(path).read_text())
    assert table["psFormat"] == "x"
    assert set(table["auths"]) == {"other", "r.example"}


def test_a_symbolic_link_is_written_through(environ: dict[str, str], tmp_path: Path) -> None:
    target = tmp_path / "real.json"
    target.write_text("{}")
    os.mkdir(environ["DOCKER_CONFIG"])
    os.symlink(target, environ["DOCKER_CONFIG"] + "/config.json")
    Keyring(environ).save("r.example", Credentials("me", SECRET))
    assert os.path.islink(environ["DOCKER_CONFIG"] + "/config.json")
    assert "r.example" in target.read_text()


def test_containers_auth_json_by_repository(environ: dict[str, str]) -> None:
    write(
        environ["XDG_RUNTIME_DIR"] + "/containers/auth.json",
        {"auths": {"r.example": auth("all", "1"), "r.example/team": auth("team", "2")}},
    )
    keyring = Keyring(environ)
    assert keyring.find("r.example", "team/app") == Credentials("team", "2")
    assert keyring.find("r.example", "teams/app") == Credentials("all", "1")


def test_an_explicit_file_is_the_only_one(environ: dict[str, str], tmp_path: Path) -> None:
    Keyring(environ).save("r.example", Credentials("me", SECRET))
    only = Keyring({**environ, "REGISTRY_AUTH_FILE": str(tmp_path / "only.json")})
    assert only.find("r.example") is None
    assert only.save("r.example", Credentials("x", "y")) == str(tmp_path / "only.json")


def test_identity_token(environ: dict[str, str]) -> None:
    write(environ["DOCKER_CONFIG"] + "/config.json", {"auths": {"r.example": {"identitytoken": SECRET}}})
    found = Keyring(environ).find("r.example")
    assert found is not None
    assert found.identity_token == SECRET


@pytest.mark.parametrize("key", ["credsStore", "credHelpers"])
def test_helper(environ: dict[str, str], helper: Path, key: str) -> None:
    value = "test" if key == "credsStore" else {"r.example": "test"}
    write(environ["DOCKER_CONFIG"] + "/config.json", {key: value})
    keyring = Keyring(environ)
    assert keyring.find("r.example") is None
    assert keyring.save("r.example", Credentials("me", SECRET)) == "docker-credential-test"
    assert keyring.find("r.example") == Credentials("me", SECRET)
    assert SECRET not in Path(environ["DOCKER_CONFIG"] + "/config.json").read_text()
    assert SECRET not in (helper / "calls").read_text()
    assert keyring.erase("r.example")
    assert keyring.find("r.example") is None


def test_helper_of_registries_conf(environ: dict[str, str], helper: Path) -> None:
    (helper / "stored").write_text(json.dumps({"Username": "<token>", "Secret": SECRET}))
    found = Keyring(environ, helpers=("containers-auth.json", "test")).find("r.example")
    assert found == Credentials("", "", SECRET)


def test_a_missing_helper_is_named(environ: dict[str, str]) -> None:
    write(environ["DOCKER_CONFIG"] + "/config.json", {"credsStore": "nowhere"})
    with pytest.raises(RegistryError, match="docker-credential-nowhere not found"):
        Keyring(environ).find("r.example")


@pytest.mark.parametrize("answer", ["[]", "no json", '{"Username": 1}', "[" * 100_000])
def test_a_helper_that_talks_nonsense(environ: dict[str, str], helper: Path, answer: str) -> None:
    write(environ["DOCKER_CONFIG"] + "/config.json", {"credsStore": "test"})
    (helper / "stored").write_text(answer)
    with pytest.raises(RegistryError, match="not credentials"):
        Keyring(environ).find("r.example")


@pytest.mark.parametrize(
    "text",
    [
        f'{{"auths": {{"r.example": {{"auth": "{SECRET}"}}}}}}',
        f'{{"auths": {{"r.example": "{SECRET}"}}}}',
        f'{{"auths": "{SECRET}"}}',
        f'{{"auths": {{"r.example": {{"auth": ["{SECRET}"]}}}}}}',
        f"{SECRET} {{",
        "[]",
        '{"credsStore": "../x"}',
        '{"credHelpers": [1]}',
    ],
)
def test_a_damaged_file_is_named_and_not_shown(environ: dict[str, str], text: str) -> None:
    path = Path(environ["DOCKER_CONFIG"]) / "config.json"
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(UsageError, match=r"config\.json") as error:
        Keyring(environ).find("r.example")
    assert SECRET not in str(error.value)


def test_credentials_do_not_show_themselves() -> None:
    assert SECRET not in f"{Credentials('me', SECRET, SECRET)!r} {Credentials('me', SECRET)}"
