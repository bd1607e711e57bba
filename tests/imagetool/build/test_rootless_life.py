"""Builds of a user who is not root: how they fail, what they leave, where things go, and what comes after them."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import tarfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.imagetool.build.kit import NO_NETWORK, Builder
from tests.imagetool.build.rootlesskit import ACCOUNTS, strangers, user_builder, wait_for_end
from tests.imagetool.e2e.conftest import busybox
from tests.support.process import wait_until
from tests.support.sandbox import SUB_ID, USER

pytestmark = pytest.mark.timeout(180)

FOREVER = (
    "RUN busybox touch /x; busybox chown 33 /x || true; echo runs; while :; do busybox sleep 0.1; done\n"
)


@pytest.fixture(params=["one-id", "ranges"])
def mine(request: pytest.FixtureRequest) -> Iterator[Builder]:
    with user_builder(busybox(), ranges=request.param == "ranges") as made:
        yield made


@pytest.fixture
def ranges() -> Iterator[Builder]:
    with user_builder(busybox(), ranges=True) as made:
        yield made


def test_what_was_built_runs_and_is_sound(mine: Builder) -> None:
    mine.build(f"FROM busybox\n{ACCOUNTS}RUN echo text > /f\nCOPY --chown=33 . /c\n", "-t", "demo")
    assert mine("run", "--rm", "--network", "none", "demo", "cat", "/f") == "text\n"
    assert mine("system", "check") == ""
    assert strangers(mine) == []
    mine("rmi", "demo")
    mine("builder", "prune", "-f")
    assert len(list((mine.root / "layers/sha256").iterdir())) == 1  # busybox's


def test_a_failure_is_one_line_and_leaves_nothing(mine: Builder) -> None:
    done = mine.build("FROM busybox\nRUN echo half > /half\nRUN echo said; exit 42\n", "-t", "half", code=42)
    assert done.stderr.splitlines() == [
        f"Error: {mine.folder}/Dockerfile:3: The command '/bin/sh -c echo said; exit 42' returned a non-zero code: 42"
    ]
    assert len(mine("images", "-aq").split()) == 1
    wait_until(lambda: mine.traces() == [], 10, "the end of all processes")


def test_debug_shell(mine: Builder) -> None:
    (mine.folder / "Dockerfile").write_text("FROM busybox\nRUN echo half > /half; exit 9\n")
    words = ("build", "--debug-shell", *NO_NETWORK, "-f", mine.folder / "Dockerfile", mine.context)
    done = mine.run(*words, text="cat /half; busybox id -u; exit\n", code=9)
    assert "half\n0\n" in done.stdout


def test_outputs(mine: Builder) -> None:
    make = "busybox mkdir /o; echo text > /o/f; busybox ln -s f /o/l"
    text = f"FROM busybox\nRUN {make}\nFROM scratch\nCOPY --from=0 --chown=33 /o /\n"
    place = mine.folder / "out"
    place.mkdir()
    os.chown(place, USER.pw_uid, USER.pw_gid)
    mine.build(text, "--output", f"type=local,dest={place}/local")
    assert ((place / "local/f").read_text(), os.readlink(place / "local/l")) == ("text\n", "f")
    assert (place / "local/f").stat().st_uid == USER.pw_uid
    mine.build(text, "-o", f"type=tar,dest={place}/files.tar")
    with tarfile.open(place / "files.tar") as tar:
        assert tar.getmember("f").uid == 33
    mine.build(text, "-o", f"type=oci,dest={place}/image.oci")
    with tarfile.open(place / "image.oci") as tar:
        assert "index.json" in tar.getnames()
    assert {path.lstat().st_uid for path in place.iterdir()} == {USER.pw_uid}


def test_mounts_of_run(mine: Builder) -> None:
    mine.write({"dir/f": "text", "secret": "hidden"})
    for path in (mine.context / "dir", mine.context / "dir/f"):
        os.chown(path, USER.pw_uid, USER.pw_gid)
    mine.build(
        "FROM busybox\n"
        "RUN --mount=type=bind,source=dir,target=/ro busybox cp /ro/f /a\n"
        "RUN --mount=type=bind,source=dir,target=/rw,rw echo changed > /rw/f; busybox cp /rw/f /b\n"
        "RUN --mount=type=secret,id=s,uid=33,mode=0400 busybox cp /run/secrets/s /c\n"
        "RUN --mount=type=cache,target=/k,uid=33,mode=0700 echo kept > /k/f\n"
        "RUN --mount=type=cache,target=/k,uid=33,mode=0700 busybox cp /k/f /d\n",
        "-t", "demo", "--secret", f"id=s,src={mine.context}/secret",
    )  # fmt: skip
    found = [mine.content("demo", name) for name in "abcd"]
    assert found == [b"text", b"changed\n", b"hidden", b"kept\n"]
    assert (mine.context / "dir/f").read_text() == "text"


def test_caches_of_other_users_can_be_removed(ranges: Builder) -> None:
    ranges.build(
        "FROM busybox\nRUN --mount=type=cache,target=/k,uid=33,mode=0700 busybox mkdir /k/d; busybox chown 33 /k/d"
    )
    (cache,) = (path for path in (ranges.root / "build/caches").iterdir() if path.is_dir())
    assert cache.stat().st_uid == SUB_ID + 32
    ranges("builder", "prune", "-af")
    assert not cache.exists()


def test_the_network_of_run(mine: Builder) -> None:
    look = "busybox ip -o -4 addr | busybox awk '{print $2, $4}'; busybox cat /etc/resolv.conf"
    done = mine.build(f"FROM busybox\nRUN {look}\n", "--network", "default")
    assert "tap0 10.0.2.100/24\n" in done.stdout
    assert "nameserver 10.0.2.3\n" in done.stdout
    host = mine.build(f"FROM busybox\nRUN {look}\n", "--network", "host").stdout
    assert "10.0.2.100" not in host
    assert "WARNING" not in done.stdout + host


def test_without_a_program_for_it_the_network_is_a_loopback(mine: Builder) -> None:
    """The same image, and two commands of one stage that are told once."""
    tools = mine.folder / "bin"
    tools.mkdir()
    for name in ("newuidmap", "newgidmap"):
        (tools / name).symlink_to(f"/usr/bin/{name}")
    done = mine.build("FROM busybox\nRUN echo one\nRUN echo two\n", "--network", "default", PATH=str(tools))
    (said,) = (line for line in done.stdout.splitlines() if "WARNING" in line)
    assert said.startswith("WARNING: RUN has no network but a loopback: ")
    assert said.endswith("installed (or build with --network host)")


def test_killed_in_the_middle(mine: Builder) -> None:
    """Mounts, servers and commands end, and what was being made is gone."""
    marked = FOREVER.replace("echo runs", f"echo runs; : {mine.folder.name}")
    process = mine.start(f"FROM busybox\nCOPY . /c\n{marked}FROM busybox\n{marked}COPY --from=0 / /x\n")
    _wait_for(process, "runs")
    assert len(_commands(mine)) > 1
    process.kill()
    process.wait()
    wait_for_end(mine)
    wait_until(lambda: _commands(mine) == [], 10, "the end of the commands")
    wait_until(
        lambda: not any(".d" in name for name in os.listdir(mine.root / "tmp")), 10, "the end of files"
    )
    assert mine.build("FROM busybox\nRUN echo fine\n", "-t", "next").returncode == 0
    mine("rmi", "next")
    mine("system", "check")
    mine("builder", "prune", "-f")
    assert os.listdir(mine.root / "tmp") == []


def test_all_is_killed_at_once(mine: Builder) -> None:
    """As when the machine goes down: what belongs to other ids stays for a prune, and is in nobody's way."""
    process = mine.start(f"FROM busybox\n{FOREVER}")
    _wait_for(process, "runs")
    deadline = time.monotonic() + 20
    while (left := mine.processes()) and time.monotonic() < deadline:
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
    process.wait()
    assert os.listdir(mine.root / "tmp") != []
    mine("rmi", "busybox")
    mine("builder", "prune", "-f")
    assert os.listdir(mine.root / "tmp") == []


def test_the_store_is_the_user_s_own(ranges: Builder) -> None:
    """Also for commands that become root of a namespace, and with no word about where it is."""
    del ranges.env["IMAGETOOL_ROOT"]
    os.environ.pop("IMAGETOOL_ROOT", None)
    ranges("import", ranges.folder / "busybox.tar", "busybox:latest")
    ranges.build("FROM busybox\nRUN echo x > /x\n", "-t", "demo")
    ranges("run", "--name", "one", "--network", "none", "demo", "cat", "/x")
    assert ranges("rm", "one") == "one\n"
    ranges("builder", "prune", "-f")
    ranges("system", "prune", "-f")
    assert (Path(ranges.home) / ".local/share/imagetool/index.json").exists()
    assert [
        row["Repository"] for row in map(json.loads, ranges("images", "--format", "json").splitlines())
    ] != []


def test_a_context_from_standard_input(ranges: Builder) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in (("Dockerfile", b"FROM busybox\nCOPY --chown=33 f /f\n"), ("f", b"text")):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    made = ranges.raw("build", "-q", "-", data=buffer.getvalue()).decode().strip()
    assert ranges.files(made)["f"].uid == 33


def _commands(box: Builder) -> list[bytes]:
    """Of containers, too, whose environment says nothing of the store."""
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            words = (entry / "cmdline").read_bytes() if entry.name.isdigit() else b""
            if box.folder.name.encode() in words:
                found.append(words)
    return found


def _wait_for(process: subprocess.Popen[str], text: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip().endswith(text):
            return
    raise AssertionError(f"the build ended before it said {text}")
