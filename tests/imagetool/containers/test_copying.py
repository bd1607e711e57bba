"""What comes out of a container as a tar never touches anything beside where it is to go."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from pathlib import Path

import pytest

from imagetool.containers import copying
from imagetool.containers.copying import Landing
from imagetool.containers.folder import Container
from imagetool.containers.record import Record
from imagetool.containers.state import State
from imagetool.errors import Conflict, UsageError
from imagetool.runtime.options import ImageDefaults, RunOptions
from imagetool.store.store import Store


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A directory with a link and a file, beside which `into` is where archives go."""
    place = tmp_path / "outside"
    place.mkdir(mode=0o755)
    (place / "secret").write_text("secret")
    (place / "link").symlink_to("secret")
    (tmp_path / "into").mkdir()
    return place


def unpack(place: Path, *members: tarfile.TarInfo) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for member in members:
            tar.addfile(member, io.BytesIO(b"planted"[: member.size]))
    stream.seek(0)
    copying._unpack(stream, Landing(str(place), ""), owner=os.getuid())


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", mode: int = 0o644) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname, made.mode = kind, link, mode
    made.size = 7 if kind == tarfile.REGTYPE else 0
    return made


@pytest.mark.parametrize(
    "second",
    [
        member("way/secret"),
        member("way/link"),
        member("way/new", tarfile.DIRTYPE),
        member("way", tarfile.DIRTYPE, mode=0o777),
        member("way/hard", tarfile.LNKTYPE, "way/secret"),
        member("hard", tarfile.LNKTYPE, "way/secret"),
        member("../outside/secret"),
        member("../outside/link"),
        member("in/../f"),
    ],
    ids=lambda one: f"{one.name}-{one.type.decode()}",
)
def test_no_member_leads_out(outside: Path, second: tarfile.TarInfo) -> None:
    with pytest.raises(UsageError, match="root"):
        unpack(outside.parent / "into", member("way", tarfile.SYMTYPE, "../outside"), second)
    assert sorted(os.listdir(outside)) == ["link", "secret"]
    assert (outside / "secret").read_text() == "secret"
    assert (outside / "secret").stat().st_nlink == 1
    assert (outside / "link").is_symlink()
    assert stat.S_IMODE(outside.stat().st_mode) == 0o755


def test_the_process_of_another_is_not_taken_for_the_container_s(tmp_path: Path) -> None:
    """Between the look at a container and the opening of its root, its id may be given to somebody else."""
    made = Record("abc", "web", "", "", "", "", 0, 1.0, RunOptions(), ImageDefaults())
    container = Container(str(tmp_path), made, State("running", os.getpid(), "another time"), True)
    with pytest.raises(Conflict, match="has just ended"), copying._root(Store.open(str(tmp_path)), container):
        pass


def test_a_file_replaces_a_link_and_a_directory_stays(outside: Path) -> None:
    into = outside.parent / "into"
    unpack(
        into,
        member("one", tarfile.SYMTYPE, "../outside/secret"),
        member("one"),
        member("d", tarfile.DIRTYPE, mode=0o755),
    )
    unpack(into, member("d", tarfile.DIRTYPE, mode=0o700), member("d/f"))
    assert (into / "one").read_bytes() == (into / "d/f").read_bytes() == b"planted"
    assert not (into / "one").is_symlink()
    assert (outside / "secret").read_text() == "secret"
