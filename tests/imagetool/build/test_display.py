"""What a build shows on a terminal: steps that move while they run, and only their lines when they are done."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios

from imagetool.build.live import Live
from tests.imagetool.build.kit import NO_NETWORK, Builder
from tests.support.imagetool import PROGRAM

ERASE = re.compile(r"\x1b\[(\d+)A\r\x1b\[J")


def read(master: int) -> str:
    """All until nobody has the terminal open any more."""
    found = b""
    while True:
        try:
            data = os.read(master, 4096)
        except OSError:  # EIO
            return found.decode(errors="replace").replace("\r\n", "\n")
        if not data:
            return found.decode(errors="replace").replace("\r\n", "\n")
        found += data


def terminal() -> tuple[int, int]:
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
    return master, slave


def screen(text: str) -> list[str]:
    """The lines that are there at the end."""
    lines: list[str] = []
    for piece in re.split(r"(\x1b\[\d+A\r\x1b\[J)", text):
        if match := ERASE.fullmatch(piece):
            del lines[len(lines) - int(match[1]) :]
        else:
            lines += piece.split("\n")[:-1]
    return [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in lines]


def test_a_step_moves_and_its_output_goes(box: Builder) -> None:
    (box.folder / "Dockerfile").write_text(
        "FROM busybox\nRUN echo said; busybox sleep 1.5\nRUN echo why; exit 3\n"
    )
    master, slave = terminal()
    words = [*PROGRAM, "build", *NO_NETWORK, "-f", str(box.folder / "Dockerfile"), str(box.context)]
    process = subprocess.Popen(
        words,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=box.env | {"TERM": "xterm"},
        preexec_fn=box.box.enter,
    )
    os.close(slave)
    text = read(master)
    os.close(master)
    assert process.wait(60) == 3
    assert len(ERASE.findall(text)) > 2
    assert "\x1b[2m | said" in text
    lines = screen(text)
    assert lines[1] == "Step 1/3 : FROM busybox"
    assert re.fullmatch(r"Step 2/3 : RUN echo said; busybox sleep 1.5  \(\d+\.\ds\)", lines[3])
    assert not any("said" in line for line in lines if not line.startswith("Step"))
    assert lines[-2] == "why"
    assert lines[-1].startswith("Error: ")


def test_what_moves_keeps_within_the_terminal() -> None:
    master, slave = terminal()
    live = Live(slave)
    for key in range(30):
        live.begin(key, f"{key} " + "long " * 30)
        live.say(key, b"\x1b[31mred\x1b[0m \x1b]2;title\x07 10%\r100%\n" + b"x" * 5000)
    drawn = ""
    while not ERASE.search(drawn):
        drawn += os.read(master, 4096).decode()
    live.write(b"stays\n")
    for key in range(30):
        live.end(key)
    os.close(slave)
    text = drawn + read(master)
    os.close(master)
    assert screen(text)[-1] == "stays"
    assert max(int(count) for count in ERASE.findall(text)) == 23
    first = text.replace("\r\n", "\n").partition("\x1b[23A")[0]
    assert all(len(re.sub(r"\x1b\[[0-9;]*m", "", line)) <= 60 for line in first.split("\n"))
    assert "\x1b[31m" not in first
    assert "\x1b]" not in first
