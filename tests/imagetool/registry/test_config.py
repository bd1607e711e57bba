"""registries.conf: where images are looked for, and what a broken file is answered with."""

from pathlib import Path

import pytest

from imagetool.errors import RegistryError, UsageError
from imagetool.reference import parse
from imagetool.registry.config import Endpoint, Registries, load

NOTHING = "/nonexistent"


def conf(tmp_path: Path, text: str) -> Registries:
    path = tmp_path / "registries.conf"
    path.write_text(text)
    return load({"CONTAINERS_REGISTRIES_CONF": str(path)}, system=NOTHING)


def places(registries: Registries, name: str, *, push: bool = False) -> list[str]:
    return [str(endpoint) for endpoint in registries.endpoints(parse(name), push=push)]


def test_without_a_file_docker_hub_is_at_its_api_host(tmp_path: Path) -> None:
    nothing = load({"XDG_CONFIG_HOME": str(tmp_path)}, system=NOTHING)
    assert nothing.endpoints(parse("debian")) == (Endpoint("registry-1.docker.io", "library/debian"),)
    assert places(nothing, "quay.io/a/b") == ["quay.io/a/b"]


def test_location_and_mirrors(tmp_path: Path) -> None:
    found = conf(
        tmp_path,
        """
        [[registry]]
        prefix = "docker.io/library"
        location = "hub.example/proxy"
        insecure = true
        [[registry.mirror]]
        location = "mirror.example:5000/lib"
        [[registry.mirror]]
        location = "digests.example"
        pull-from-mirror = "digest-only"
        """,
    )
    assert places(found, "debian:12") == ["mirror.example:5000/lib/debian", "hub.example/proxy/debian"]
    assert places(found, "debian@sha256:" + "0" * 64)[1] == "digests.example/debian"
    assert places(found, "debian", push=True) == ["hub.example/proxy/debian"]
    assert places(found, "user/app") == ["registry-1.docker.io/user/app"]
    assert found.endpoints(parse("debian"))[-1].insecure


def test_the_longest_prefix_counts_and_covers_whole_components(tmp_path: Path) -> None:
    found = conf(
        tmp_path,
        """
        [[registry]]
        location = "a.example"
        [[registry]]
        prefix = "a.example/team"
        location = "b.example/t"
        """,
    )
    assert places(found, "a.example/team/x") == ["b.example/t/x"]
    assert places(found, "a.example/teams/x") == ["a.example/teams/x"]
    assert places(found, "a.example:5000/team/x") == ["a.example:5000/team/x"]


def test_wildcard_and_blocked(tmp_path: Path) -> None:
    found = conf(tmp_path, '[[registry]]\nprefix = "*.evil.example"\nblocked = true\n')
    with pytest.raises(RegistryError, match=r"x\.evil\.example is blocked"):
        found.endpoints(parse("x.evil.example/a"))
    assert places(found, "evil.example/a") == ["evil.example/a"]


def test_insecurely_changes_nothing_else(tmp_path: Path) -> None:
    found = conf(
        tmp_path,
        """
        [[registry]]
        prefix = "a.example/team"
        location = "b.example/t"
        [[registry]]
        prefix = "*.evil.example"
        blocked = true
        """,
    )
    asked = found.insecurely("a.example")
    assert places(asked, "a.example/team/x") == ["b.example/t/x"]
    for text in ("a.example/team/x", "a.example/other"):
        assert [end.insecure for end in asked.endpoints(parse(text))] == [True]
    assert [end.insecure for end in asked.endpoints(parse("a.example:5000/x"))] == [False]
    with pytest.raises(RegistryError, match="is blocked"):
        found.insecurely("x.evil.example").endpoints(parse("x.evil.example/a"))


def test_aliases_are_for_short_names(tmp_path: Path) -> None:
    found = conf(tmp_path, '[aliases]\n"fedora" = "registry.fedoraproject.org/fedora"\n')
    assert str(found.parse("fedora:40")) == "registry.fedoraproject.org/fedora:40"
    assert str(found.parse("docker.io/fedora")) == "docker.io/library/fedora"
    assert str(found.parse("debian")) == "docker.io/library/debian"


def test_directories_of_fragments_and_the_user_s_file_first(tmp_path: Path) -> None:
    system, user = tmp_path / "etc", tmp_path / "home/containers"
    for folder in (system / "registries.conf.d", user):
        folder.mkdir(parents=True)
    (system / "registries.conf").write_text('[[registry]]\nlocation = "a.example"\nblocked = true')
    (system / "registries.conf.d/1.conf").write_text('[aliases]\n"x" = "b.example/x"')
    environ = {"XDG_CONFIG_HOME": str(tmp_path / "home")}
    assert load(environ, system=str(system)).endpoints is not None
    with pytest.raises(RegistryError):
        load(environ, system=str(system)).endpoints(parse("a.example/x"))
    (user / "registries.conf").write_text("")
    found = load(environ, system=str(system))
    assert places(found, "a.example/x") == ["a.example/x"]
    assert found.parse("x").domain == "b.example"


@pytest.mark.parametrize(
    "text",
    [
        "[[registry]\n",
        "[registries.search]\nregistries = ['docker.io']\n",
        "registry = 1\n",
        "[[registry]]\ninsecure = true\n",
        "[[registry]]\nlocation = 'a'\ninsecure = 'yes'\n",
        "[[registry]]\nlocation = 1\n",
        "[[registry]]\nlocation = 'a'\n[[registry.mirror]]\ninsecure = true\n",
        "[[registry]]\nlocation = 'a'\n[[registry.mirror]]\nlocation = 'b'\npull-from-mirror = 'x'\n",
        "[aliases]\nx = 1\n",
        "credential-helpers = 'x'\n",
    ],
)
def test_broken_files_are_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match=r"registries\.conf"):
        conf(tmp_path, text)


def test_a_file_that_was_named_must_be_there() -> None:
    with pytest.raises(UsageError, match="no such file"):
        load({"CONTAINERS_REGISTRIES_CONF": "/nonexistent/r.conf"})
