"""Ways out of a build that others had, each closed: remove the guard and its test fails."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from imagetool.build import runmount, runmounts, stubs
from imagetool.errors import ImageToolError, NotFound, UsageError
from tests.imagetool.build.kit import Builder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A step's root with links to a directory of the host's, which has an empty file and an empty directory."""
    outside = tmp_path / "outside"
    (outside / "d").mkdir(parents=True)
    (outside / "f").touch()
    made = tmp_path / "root"
    made.mkdir()
    (made / "way").symlink_to(outside)
    (made / "up").symlink_to("../outside")
    (made / "climb").symlink_to("../" * 20 + str(outside).lstrip("/"))
    return made


def links(root: Path) -> list[str]:
    return [f"{link}/{name}" for link in ("way", "up", "climb") for name in ("f", "d")]


def test_taking_away_the_places_of_mounts_leaves_the_host_s_files(root: Path) -> None:
    """The command may have put links where the places of its mounts were (CVE-2024-23652)."""
    stubs.remove(str(root), [*links(root), "../outside/f", "../outside/d"])
    assert sorted(os.listdir(root.parent / "outside")) == ["d", "f"]


def test_the_host_s_files_are_no_places(root: Path) -> None:
    assert stubs.missing(str(root), ["/way/f"]) == ["way", "way/f"]


@pytest.mark.parametrize("source", ["way/f", "up/f", "climb/f", "../outside/f", "/../outside"])
def test_the_source_of_a_mount_is_below_its_root(root: Path, source: str) -> None:
    with pytest.raises(NotFound):
        runmounts.beneath(str(root), source)


def test_the_source_of_a_mount_through_links_of_its_own(root: Path) -> None:
    (root / "real").mkdir()
    (root / "link").symlink_to("/real")
    assert runmounts.beneath(str(root), "link/../link") == str(root / "real")


def test_the_source_of_a_mount_is_a_file_or_a_directory(root: Path) -> None:
    """A device or a pipe would act when it is opened, or never end."""
    os.mkfifo(root / "pipe")
    with pytest.raises(UsageError, match="neither a directory nor a file"):
        runmounts.beneath(str(root), "pipe")


@pytest.mark.parametrize("kind", ["bind", "cache"])
@pytest.mark.parametrize("source", ["..", "../x", "a/../../b", "/.."])
def test_a_source_that_climbs_is_refused(kind: str, source: str) -> None:
    with pytest.raises(ImageToolError, match="leads out"):
        runmount.parse(f"type={kind},target=/t,source={source},from=x")


@pytest.mark.parametrize("target", ["/", "/..", "."])
def test_nothing_is_mounted_on_the_root(target: str) -> None:
    with pytest.raises(UsageError, match="it is the root"):
        runmounts._target(runmount.parse(f"type=tmpfs,target={target}"), 0, "/")


@pytest.mark.timeout(60)
@pytest.mark.parametrize("flag", ["--security=insecure", "--network=host"])
def test_more_rights_are_for_whom_the_caller_allows_them(box: Builder, flag: str) -> None:
    """A Dockerfile alone gives itself none (CVE-2024-23653)."""
    said = box.build(f"FROM busybox\nRUN {flag} echo ran > /f", code=125)
    assert f"RUN {flag} is not allowed" in said.stderr
