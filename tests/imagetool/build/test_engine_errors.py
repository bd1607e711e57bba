"""What a build says about mistakes: what, where, and what to do; and that nothing was built."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.imagetool.build.kit import NO_NETWORK, Builder
from tests.support.imagetool import PROGRAM

MISTAKES = {
    "no such file": ("COPY f nothere /d/", '"/nothere": not found', "nothere"),
    "a URL": ("COPY http://localhost/f /d", "COPY takes no URLs: 'http://localhost/f' (use ADD)", "http://localhost/f"),
    "a port": ("EXPOSE 80 99999", "invalid port '99999'", "99999"),
    "a signal": ("STOPSIGNAL SIGFOO", "invalid signal 'SIGFOO'", "SIGFOO"),
    "a mode": ("COPY --chmod=z f /d", "invalid chmod parameter: 'z'", "z"),
    "a mount": ("RUN --mount=type=foo true", "unsupported mount type 'foo'", "foo"),
    "a user": ("COPY --chown=nobody f /d", "unable to find user nobody", ""),
    "two files in one": ("COPY f g /d", "several source files", ""),
    "nothing matches": ("COPY q* /d/", "nothing matches q*", ""),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_has_its_line_and_a_caret(box: Builder, mistake: str) -> None:
    line, said, word = MISTAKES[mistake]
    box.write({"f": "f", "g": "g"})
    done = box.build(f"FROM busybox\nENV A=b\n{line}\nRUN false", "-t", "never", code=125)
    first, source, caret = done.stderr.splitlines()
    column = f"{line.index(word) + 1}:" if word else ""
    assert first.startswith(f"Error: {box.folder}/Dockerfile:3:{column} ")
    assert said in first
    assert source == f"   3 | {line}"
    assert caret == f"     | {' ' * line.index(word)}{'^' if word else '^' * len(line)}"
    assert box("images", "-q", "never") == ""


@pytest.mark.parametrize("text", ["FROM 127.0.0.1:1/no", "FROM busybox\nCOPY --from=127.0.0.1:1/no /a /b"])
def test_an_image_that_is_not_there_is_wanted_by_a_line(box: Builder, text: str) -> None:
    done = box.build(text, code=125)
    assert f"Error: {box.folder}/Dockerfile:{len(text.splitlines())}: " in done.stderr
    assert done.stderr.count("Error: ") == 1


def test_a_secret_that_is_not_there_is_said_before_anything_runs(box: Builder) -> None:
    done = box.build("FROM busybox\nRUN true", "--secret", "id=x,src=/no/where", code=125)
    assert done.stderr == "Error: secret x: /no/where: No such file or directory\n"
    assert done.stdout == ""


def test_where_a_sent_context_was_unpacked_is_nobody_s_business(box: Builder) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        entry = tarfile.TarInfo("Dockerfile")
        data = b"FROM busybox\nCOPY f /f\n"
        entry.size = len(data)
        tar.addfile(entry, io.BytesIO(data))
    words = [*PROGRAM, "build", *NO_NETWORK, "-"]
    done = subprocess.run(words, input=out.getvalue(), capture_output=True, env=box.env, timeout=60)
    assert done.returncode == 125
    assert b'"/f": not found' in done.stderr
    assert str(box.root).encode() not in done.stderr


def test_a_base_of_another_platform_is_said(box: Builder) -> None:
    done = box.build("FROM busybox", "--platform", "linux/s390x")
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("[Warning]")]
    assert "busybox" in line
    assert "linux/s390x" in line
    assert "[Warning]" not in box.build("FROM busybox").stdout


def test_the_time_can_be_a_build_argument(box: Builder, tmp_path: Path) -> None:
    done = box.build('FROM busybox\nCMD ["x"]', "-t", "x", "--build-arg", "SOURCE_DATE_EPOCH=1600000000")
    assert "[Warning]" not in done.stdout
    assert box.config("x")["Created"] == "2020-09-13T12:26:40Z"
