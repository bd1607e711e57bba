"""`image diff` and `image explore`; the page is opened in a real browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.imagetool import Cli
from tests.support.oci import Layout
from tests.support.oddlayers import TarMaker

pytestmark = pytest.mark.timeout(180)

NASTY = b"</script><script>document.title='taken'</script>\x1b[31m"


@pytest.fixture
def made(cli: Cli, tmp_path: Path) -> Cli:
    """x:1 and x:2, which has one layer more."""
    low = TarMaker().directory(b"usr").directory(b"usr/lib").add(b"usr/lib/big", b"b" * 50_000)
    low.add(b"usr/lib/gone", b"g" * 20_000).add(b"keep", b"k" * 10_000).directory(b"o").add(
        b"o/old", b"o" * 500
    )
    low.add(b"hard", b"h" * 3000).add(b"link", kind=b"1", link=b"hard")
    top = TarMaker().directory(b"usr").directory(b"usr/lib").add(b"usr/lib/big", b"c" * 60_000)
    top.add(b"usr/lib/.wh.gone").directory(b"o").add(b"o/.wh..wh..opq").add(
        b"o/" + NASTY.replace(b"/", b"|"), b"n" * 800
    )
    layout = Layout(tmp_path / "oci")
    layers = [low.bytes(), top.bytes()]
    layout.tag("1", layout.image(layers[:1]))
    layout.tag("2", layout.image(layers))
    for tag in ("1", "2"):
        cli("copy", "-q", f"oci:{layout.root}:{tag}", f"x:{tag}")
    return cli


def test_diff(made: Cli) -> None:
    done = made.run("image", "diff", "x:1", "x:2")
    assert "\x1b" not in done.stdout
    lines = done.stdout.splitlines()
    assert lines[0].startswith("A /o/<|script>")
    assert lines[1:] == ["D /o/old  500B", "C /usr/lib/big  50kB -> 60kB", "D /usr/lib/gone  20kB"]
    assert done.stderr == "1 added (+800B), 1 changed (+10kB), 2 deleted (-20.5kB)\n"
    rows = [json.loads(line) for line in made("image", "diff", "--format", "json", "x:2", "x:1").splitlines()]
    assert {"Kind": "A", "Path": "/usr/lib/gone", "Before": None, "After": 20_000} in rows
    assert made("image", "diff", "x:2", "x:2") == ""


def test_explore_in_the_terminal(made: Cli) -> None:
    head, first, second, _, total, *waste = made("image", "explore", "x:2").splitlines()
    assert head.split() == ["LAYER", "SIZE", "ADDED", "CHANGED", "DELETED", "WASTED", "CREATED", "BY"]
    assert re.search(r" 83.5kB +6 \(83.5kB\) +0 +0 +70.5kB", first)
    assert re.search(r" 60.8kB +1 \(800B\) +1 \(60kB\) +2 \(20.5kB\) +0B", second)
    assert total == "2 layers, 144kB, of which 70.5kB are wasted: 51.1% efficient"
    assert [line.split() for line in waste] == [
        ["50kB", "/usr/lib/big"],
        ["20kB", "/usr/lib/gone"],
        ["500B", "/o/old"],
    ]


@pytest.fixture
def browse(tmp_path: Path) -> Callable[[Path, str], str]:
    """The page as a browser has it when its scripts have run."""
    if not shutil.which("chromium"):
        pytest.skip("optional: no chromium from this distribution")

    def run(page: Path, place: str) -> str:
        command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1200,900"]
        command += [f"--user-data-dir={tmp_path}/profile", "--virtual-time-budget=2000", "--dump-dom"]
        url = f"file://{page}{place}"
        done = subprocess.run([*command, url], capture_output=True, text=True, timeout=90, check=True)
        return done.stdout

    return run


def test_the_page_in_a_browser(made: Cli, tmp_path: Path, browse: Callable[[Path, str], str]) -> None:
    page = tmp_path / "page.html"
    made("image", "explore", "--html", page, "x:2")
    assert not re.search(r"(src|href)=|https?://|url\(", page.read_text())  # it needs nothing else
    shown = browse(page, "")
    assert "<title>x:2 · 144kB</title>" in shown  # the name of a file has not become a script
    assert shown.count('<tr><td><span class="dot"') == 2
    for text in ("efficiency <b>51.1 %</b>", '50kB</td><td class="path">/usr/lib/big', "2 (20.5kB)"):
        assert text in shown
    tiles = re.findall(r'<(button|div) class="tile" title="([^"]*)"', shown)
    assert ("button", "/usr/lib\n60kB") in tiles
    assert ("div", "/usr/lib/big\n60kB") in tiles
    assert ("div", "/keep\n10kB") in tiles
    assert not any("gone" in title for _, title in tiles)


def test_the_page_goes_into_directories(
    made: Cli, tmp_path: Path, browse: Callable[[Path, str], str]
) -> None:
    page = tmp_path / "page.html"
    made("image", "explore", "--html", page, "x:2")
    inside = browse(page, "#/usr/lib")
    assert re.findall(r'class="tile" title="([^"]*)"', inside) == ["/usr/lib/big\n60kB"]
    assert '<button class="path">lib</button>' in inside
