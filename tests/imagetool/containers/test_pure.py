"""What of containers decides and touches nothing: path rules of cp, policies, names, frames; and the log's form."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagetool.containers import folder, listing, log, names, record, rootfs, volumes
from imagetool.containers import state as states
from imagetool.containers.copying import Landing, landing
from imagetool.containers.folder import Container
from imagetool.containers.frames import Frame, Reader
from imagetool.containers.record import Record, Restart
from imagetool.containers.state import LOST, State
from imagetool.errors import ImageToolError, NotFound, UsageError
from imagetool.runtime import leases
from imagetool.runtime.options import ImageDefaults, Mount, RunOptions
from imagetool.runtime.ports import Port
from imagetool.store.store import Store


@pytest.mark.parametrize(
    ("source", "is_directory", "target", "kind", "expected"),
    [
        ("/a/f", False, "/b", "dir", Landing("/b", "f")),
        ("/a/f", False, "/b/g", "", Landing("/b", "g")),
        ("/a/f", False, "/b/g", "file", Landing("/b", "g")),
        ("/a/d", True, "/b", "dir", Landing("/b", "d")),
        ("/a/d/", True, "/b", "dir", Landing("/b", "d")),
        ("/a/d/.", True, "/b", "dir", Landing("/b", "")),
        ("/a/d", True, "/b/new", "", Landing("/b", "new")),
        ("/a/d/.", True, "/b/new/", "", Landing("/b", "new")),
        ("f", False, "new", "", Landing(".", "new")),
    ],
)
def test_where_cp_puts_things(
    source: str, is_directory: bool, target: str, kind: str, expected: Landing
) -> None:
    assert landing(source, is_directory=is_directory, target=target, kind=kind) == expected


@pytest.mark.parametrize(
    ("is_directory", "target", "kind"),
    [(True, "/b", "file"), (False, "/b/", "")],
    ids=["over a file", "slash"],
)
def test_what_cp_refuses(is_directory: bool, target: str, kind: str) -> None:
    with pytest.raises(ImageToolError):
        landing("/a", is_directory=is_directory, target=target, kind=kind)


@given(st.lists(st.tuples(st.integers(1, 21), st.binary(max_size=50))), st.integers(1, 7))
def test_frames_come_out_as_they_went_in(rows: list[tuple[int, bytes]], step: int) -> None:
    sent = [Frame(*row) for row in rows]
    data, reader = b"".join(frame.packed() for frame in sent), Reader()
    found = [frame for i in range(0, len(data), step) for frame in reader.feed(data[i : i + step])]
    assert found == sent


def test_a_frame_without_bounds_is_refused() -> None:
    with pytest.raises(ValueError, match="a frame of"):
        list(Reader().feed(b"\x01\xff\xff\xff\xff"))


@pytest.mark.parametrize(
    ("text", "code", "tries", "again"),
    [("no", 1, 0, False), ("always", 0, 99, True), ("on-failure", 0, 0, False), ("on-failure", 1, 99, True),
     ("on-failure:2", 1, 1, True), ("on-failure:2", 1, 2, False), ("unless-stopped", 0, 0, True)],
)  # fmt: skip
def test_restart_policies(text: str, code: int, tries: int, again: bool) -> None:
    assert Restart.parse(text).wants(code, tries) is again


@pytest.mark.parametrize("text", ["sometimes", "always:3", "on-failure:x", ""])
def test_bad_restart_policies(text: str) -> None:
    with pytest.raises(UsageError, match="invalid restart policy"):
        Restart.parse(text)


def test_names_are_docker_s() -> None:
    assert names.check("web-1.a_b") == "web-1.a_b"
    for bad in ("", "a", "-a", "a b", "ä1", "../x"):
        with pytest.raises(UsageError):
            names.check(bad)
    taken: set[str] = set()
    for _ in range(50):
        taken.add(names.check(names.choose(taken)))
    assert len(taken) == 50


def kept(*filters: str) -> str:
    """The names of those of three containers that pass."""
    options = RunOptions(mounts=(Mount("volume", "data", "/var/lib/db"), Mount("tmpfs", "tmpfs", "/tmp")))
    made = Record("abc", "web", "httpd:2.4", "sha256:1234", "", "", 0, 1.0, options, ImageDefaults())
    published = made._replace(
        id="def", name="web2", ports=(Port("0.0.0.0", 9000, 80), Port("0.0.0.0", 9053, 53, "udp")),
        exposed=("8080/tcp",), options=RunOptions(),
    )  # fmt: skip
    containers = [
        Container("/1", made, State("running"), True),
        Container("/2", published, State("exited", exit_code=3), False),
        Container("/3", made._replace(id="ghi", name="db"), State("created"), False),
    ]
    keeps = listing.parse_filters(filters, float)
    return " ".join(one.name for one in containers if keeps(one))


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ((), "web web2 db"),
        (("name=eb",), "web web2"),
        (("name=^web$",), "web"),
        (("name=^/web$",), "web"),
        (("name=^(web2|db)$",), "web2 db"),
        (("name=web2", "name=db"), "web2 db"),
        (("name=*",), ""),
        (("name=web", "status=exited"), "web2"),
        (("publish=80",), "web2"),
        (("publish=53",), ""),
        (("publish=50-60/udp",), "web2"),
        (("publish=9000",), ""),
        (("expose=8000-8100/tcp",), "web2"),
        (("expose=80",), ""),
        (("volume=data",), "web db"),
        (("volume=/var/lib/db",), "web db"),
        (("volume=/tmp",), ""),
        (("exited=3",), "web2"),
    ],
)
def test_filters_are_docker_s(filters: tuple[str, ...], expected: str) -> None:
    assert kept(*filters) == expected


@pytest.mark.parametrize(
    "text", ["name", "colour=red", "status=idle", "exited=x", "publish=x", "expose=70000"]
)
def test_a_filter_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        kept(text)


def test_a_record_comes_back_as_it_was() -> None:
    options = RunOptions(command=("a",), env=("A=1",), mounts=(Mount("bind", "/s", "/t", True, ("rw",)),),
                         ulimits=(("nofile", 1, 2),), entrypoint=())  # fmt: skip
    made = Record("i", "n", "im", "sha256:1", "sha256:2", "type", 3, 4.5, options, ImageDefaults(("e",)),
                  ports=(Port("0.0.0.0", 1, 2),), labels={"a": "b"}, restart=Restart("on-failure", 3))  # fmt: skip
    assert record.parse(made.to_json()) == made
    other = json.loads(made.to_json()) | {"unheard": 1}
    other["options"] |= {"of": "this"}
    del other["dns_search"], other["options"]["devices"]  # an earlier version knew neither
    assert record.parse(json.dumps(other).encode()) == made


@pytest.mark.parametrize("text", ["{", "[]", "null", "{}", '{"options": []}', '{"options": {"mounts": [1]}}'])
def test_a_damaged_record_is_named_by_who_looks_for_its_container(tmp_path: Path, text: str) -> None:
    store = Store.open(str(tmp_path))
    damaged = tmp_path / "containers" / ("ab" * 32) / "container.json"
    damaged.parent.mkdir(parents=True)
    damaged.write_text(text)
    assert folder.listing(store) == []
    with pytest.raises(ImageToolError, match=f"{damaged} is damaged"):
        folder.find(store, "abab")
    with pytest.raises(NotFound):
        folder.find(store, "cd")


@given(st.lists(st.binary(max_size=40), max_size=8))
def test_the_log_keeps_every_byte(tmp_path_factory: pytest.TempPathFactory, parts: list[bytes]) -> None:
    directory = str(tmp_path_factory.mktemp("log"))
    written = log.Log(directory)
    for part in parts:
        written.feed("stdout", part)
    written.close()
    assert b"".join(row.data for row in log.read(directory)) == b"".join(parts)


def test_a_log_that_was_cut_loses_its_last_line_only(tmp_path: Path) -> None:
    written = log.Log(str(tmp_path))
    written.feed("stderr", b"one\ntwo\n")
    written.close()
    path = tmp_path / log.FILE
    path.write_bytes(path.read_bytes()[:-5])
    assert [(row.stream, row.data) for row in log.read(str(tmp_path))] == [("stderr", b"one\n")]


def test_a_state_is_believed_while_its_process_lives(tmp_path: Path) -> None:
    own = State("running", os.getpid(), leases.started(os.getpid()))
    states.write(str(tmp_path), own)
    assert states.seen(str(tmp_path), watched=False) == own
    states.write(str(tmp_path), own._replace(started="another time"))
    found = states.seen(str(tmp_path), watched=False)
    assert (found.status, found.exit_code) == ("exited", LOST)
    ending = states.seen(str(tmp_path), watched=True)  # its monitor will write down the true end
    assert (ending.status, ending.pid, ending.error) == ("exited", 0, "its end is being recorded")


def test_a_process_that_has_ended_and_was_not_waited_for_is_no_process() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert not states.is_alive(pid, leases.started(pid))
    os.waitpid(pid, 0)


@pytest.mark.parametrize("name", ["../other", "..", "."])
def test_no_name_leads_out_of_the_volumes(tmp_path: Path, name: str) -> None:
    store = Store.open(str(tmp_path))
    for directory in ("volumes", "other"):
        (tmp_path / directory).mkdir()
    with pytest.raises(NotFound, match="no such volume"):
        volumes.find(store, name)
    volumes.remove(store, name)
    assert (tmp_path / "other").is_dir()
    assert (tmp_path / "volumes").is_dir()


def test_mount_points_are_made_beside_the_root_only_in_it(tmp_path: Path) -> None:
    rootfs.make_stubs(str(tmp_path / "stubs"), [("/../../out", True), ("/d/../../file", False)])
    assert [path.name for path in tmp_path.iterdir()] == ["stubs"]
    assert (tmp_path / "stubs/out").is_dir()
