"""What is shown: lines in a pipe, bars on a real pseudo-terminal, nothing when quiet."""

import io
import os
import pty
import subprocess
import sys
import time

from imagetool.progress import Lines, Progress, show

SCRIPT = """
import sys, time
from imagetool.progress import show
with show(sys.stdout) as progress:
    progress.line("latest: Pulling from library/debian")
    progress.state("0123456789ab", "Pulling fs layer")
    progress.state("0123456789ab", "Downloading", 50_000_000)
    for _ in range(5):
        progress.advance("0123456789ab", 5_000_000)
        time.sleep(0.15)
    progress.state("0123456789ab", "Pull complete")
    progress.line("Digest: sha256:[bold]00")
"""


def test_lines_name_states_that_end() -> None:
    stream = io.StringIO()
    with show(stream) as progress:
        assert isinstance(progress, Lines)
        progress.line("latest: Pulling from a")
        progress.state("0123456789ab", "Downloading", 10)
        progress.advance("0123456789ab", 10)
        progress.state("0123456789ab", "Pull complete")
    assert stream.getvalue() == "latest: Pulling from a\n0123456789ab: Pull complete\n"


def test_quiet_shows_nothing() -> None:
    stream = io.StringIO()
    with show(stream, quiet=True) as progress:
        progress.line("x")
        progress.state("a", "b")
    assert type(progress) is Progress
    assert stream.getvalue() == ""


def test_bars_on_a_terminal() -> None:
    leader, follower = pty.openpty()
    environ = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "30"}
    process = subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=follower, stderr=follower, env=environ)
    os.close(follower)
    shown = b""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            piece = os.read(leader, 65536)
        except OSError:
            break
        if not piece:
            break
        shown += piece
    os.close(leader)
    assert process.wait(10) == 0
    text = shown.decode()
    assert "latest: Pulling from library/debian" in text
    assert "0123456789ab: Downloading" in text
    assert "/50.0 MB" in text
    assert text.rindex("Downloading") < text.rindex("Pull complete") < text.rindex("Digest:")
    assert "sha256:[bold]00" in text
    assert "\x1b[?25h" in text  # the cursor is shown again


def test_importing_it_does_not_draw_in_rich() -> None:
    code = "import sys, imagetool.progress; sys.exit('rich' in sys.modules or 'trio' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
