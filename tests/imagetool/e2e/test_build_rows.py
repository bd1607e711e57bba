"""What the course notes show of building images, row by row, with imagetool in Docker's place."""

from __future__ import annotations

import http.server
import io
import re
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.imagetool import Cli
from tests.support.oci import digest
from tests.support.process import wait_until

pytestmark = pytest.mark.timeout(120)

NUMBER = r"[0-9a-f]{12}"
RUN = ("run", "--rm", "--network", "none")


@pytest.fixture
def box(cli: Cli) -> Iterator[Cli]:
    """The command line, with a directory `app` to be a context."""
    (cli.folder / "context/app").mkdir(parents=True)
    (cli.folder / "context/app/main").write_text("application\n")
    yield cli
    mounts = Path("/proc/self/mountinfo").read_text()
    assert str(cli.root) not in mounts
    wait_until(lambda: not list((cli.root / "tmp").iterdir()), 10, "the end of temporary files")


def context(box: Cli, dockerfile: str, **files: str) -> Path:
    folder = box.folder / "context"
    (folder / "Dockerfile").write_text(dockerfile)
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


def build(box: Cli, dockerfile: str, *options: str, **files: str) -> list[str]:
    """The lines of a build without a network."""
    return box("build", "--network", "none", *options, context(box, dockerfile, **files)).splitlines()


def test_row_22_the_output_of_a_build(box: Cli) -> None:
    text = "# a comment\nFROM busybox\nRUN echo Get:1\nRUN echo Reading > /list\n\nCOPY ./app /app\n"
    lines = build(box, text, "-t", "demo")
    base = box("images", "-q", "busybox").strip()
    expected = [
        r"Sending build context to \w+ [\d.]+ k?B",
        r"Step 1/4 : FROM busybox", rf" ---> {base}",
        r"Step 2/4 : RUN echo Get:1", rf" ---> Running in {NUMBER}", "Get:1",
        rf"Removing intermediate container {NUMBER}", rf" ---> {NUMBER}",
        r"Step 3/4 : RUN echo Reading > /list", rf" ---> Running in {NUMBER}",
        rf"Removing intermediate container {NUMBER}", rf" ---> {NUMBER}",
        r"Step 4/4 : COPY ./app /app", rf" ---> {NUMBER}",
        rf"Successfully built {NUMBER}", r"Successfully tagged demo:latest",
    ]  # fmt: skip
    assert len(lines) == len(expected)
    for line, pattern in zip(lines, expected, strict=True):
        assert re.fullmatch(pattern, line), line
    assert box(*RUN, "demo", "cat", "/app/main", "/list") == "application\nReading\n"


def test_row_22_an_image_that_is_missing_is_pulled(box: Cli) -> None:
    done = box.run("image", "build", "-q", "-t", "demo", context(box, "FROM busybox\nLABEL a=b"))
    assert re.fullmatch(r"sha256:[0-9a-f]{64}\n", done.stdout)
    assert "busybox" in box("images")


def test_row_23_the_context_is_announced(box: Cli) -> None:
    context(box, "FROM scratch\nCOPY app /\n")
    (box.folder / "context/.dockerignore").write_text("big\n")
    (box.folder / "context/big").write_bytes(bytes(1 << 20))
    line = box("build", box.folder / "context").splitlines()[0]
    match = re.fullmatch(r"Sending build context to imagetool ([\d.]+) kB", line)
    assert match
    assert 2 < float(match[1]) < 10


def test_row_24_an_image_from_scratch_is_its_file(box: Cli) -> None:
    program = Path("/bin/busybox").read_bytes()
    (box.folder / "context/busybox").write_bytes(program)
    (box.folder / "context/busybox").chmod(0o755)
    lines = build(
        box, 'FROM scratch\nADD busybox /\nCMD ["/busybox", "echo", "Hello world!"]', "-t", "saluda"
    )
    assert lines[1:3] == ["Step 1/3 : FROM scratch", " ---> "]
    size = f"{len(program) / 1e6:.3g}MB"
    assert box("images", "--format", "{{.Size}}", "saluda").strip() == size
    assert box(*RUN, "saluda") == "Hello world!\n"


def test_row_25_the_last_step_is_the_image_and_lines_continue(box: Cli) -> None:
    text = "FROM busybox\nRUN echo one && \\\n    # in between\n    echo two > /two\nCMD /bin/bash\n"
    lines = build(box, text, "-t", "python-debian-auto")
    assert "Step 2/3 : RUN echo one &&     echo two > /two" in lines
    image = box("images", "-q", "python-debian-auto").strip()
    assert lines[-3:-1] == [f" ---> {image}", f"Successfully built {image}"]
    assert box("image", "inspect", "-f", "{{json .Config.Cmd}}", image) == '["/bin/sh","-c","/bin/bash"]\n'


def test_row_26_from_by_tag_by_digest_and_again(box: Cli) -> None:
    box("pull", "-q", "busybox")
    known = box("images", "--digests", "--format", "{{.Digest}}", "busybox").strip()
    text = f"FROM busybox:latest AS one\nRUN echo 1 > /1\nFROM busybox@{known}\nCOPY --from=one /1 /2\n"
    build(box, text, "-t", "two")
    assert box(*RUN, "two", "cat", "/2") == "1\n"
    done = box.run("build", context(box, "FROM busybox:nowhere"), code=125)
    assert "manifest for busybox:nowhere not found" in done.stderr


def test_row_27_maintainer_workdir_and_run(box: Cli) -> None:
    text = "FROM busybox\nMAINTAINER me@example.org\nWORKDIR /srv\nWORKDIR app\nRUN echo $0 $PWD > here\n"
    build(box, text, "-t", "made")
    assert box("inspect", "-f", "{{.Author}}", "made") == "me@example.org\n"
    assert box(*RUN, "made", "cat", "here") == "/bin/sh /srv/app\n"


def test_row_28_copy(box: Cli) -> None:
    text = """FROM busybox
WORKDIR /srv
COPY *.txt one[0-9] /deep/in/here/
COPY app rel
COPY a?.txt /renamed
"""
    files = {"ab.txt": "ab", "cde.txt": "cde", "one1": "1", "onex": "x"}
    build(box, text, "-t", "copied", **files)
    assert box(*RUN, "copied", "ls", "/deep/in/here").split() == ["ab.txt", "cde.txt", "one1"]
    assert box(*RUN, "copied", "cat", "/srv/rel/main", "/renamed") == "application\nab"
    for wrong in ("COPY ../outside /\nCOPY missing /", "COPY *.txt /plain"):
        message = box.run("build", context(box, f"FROM busybox\n{wrong}"), code=125).stderr
        assert re.match(r"Error: Dockerfile:2:(\d+:)? .*\n   2 \| COPY .*\n +\| +\^+\n", message)


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """A server of the files in a directory."""
    (tmp_path / "served").mkdir()
    (tmp_path / "served/page").write_text("fetched")

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=tmp_path / "served")  # type: ignore[arg-type]

        def log_message(self, format: str, *arguments: object) -> None:
            """Says nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_row_29_add_fetches_and_unpacks(box: Cli, web: str) -> None:
    folder = box.folder / "context"
    with tarfile.open(folder / "files.tar.gz", "w:gz") as tar:
        entry = tarfile.TarInfo("in/the/archive")
        entry.size = 5
        tar.addfile(entry, io.BytesIO(b"inner"))
    text = f"""FROM busybox
ADD files.tar.gz /unpacked/
COPY files.tar.gz /kept/
ADD --checksum={digest(b"fetched")} {web}/page /page
ADD app /app
"""
    build(box, text, "-t", "added")
    assert (
        box(*RUN, "added", "cat", "/unpacked/in/the/archive", "/page", "/app/main")
        == "innerfetchedapplication\n"
    )
    assert box(*RUN, "added", "ls", "/kept") == "files.tar.gz\n"
    wrong = f"FROM busybox\nADD --checksum={digest(b'other')} {web}/page /page\n"
    assert "Dockerfile:2: " in box.error("build", context(box, wrong))
