"""Many builds at once in one store: they share steps, and whoever is killed takes nothing along."""

from __future__ import annotations

import random
import signal
import subprocess
import time

import pytest

from tests.imagetool.build.kit import Builder
from tests.support.process import wait_until

BUILDS = 20
EPOCH = {"SOURCE_DATE_EPOCH": "1600000000"}
SHARED = """FROM busybox AS tools
COPY d /d/
RUN busybox sleep 0.2; busybox head -c 100000 /bin/busybox > /tool
FROM busybox AS base
RUN --mount=type=cache,target=/c,sharing=locked echo x >> /c/n; busybox mkdir -p /srv/deep; echo base > /srv/f
COPY --from=tools /tool /tool
"""
LAST = [
    "RUN echo {} > /own\n",
    "COPY d/{} /own\n",
    "FROM tools\nCOPY --from=base /srv /srv\nRUN echo {} > /own\n",
]


def texts() -> list[str]:
    """Half of them are the same as another one."""
    different = [SHARED + LAST[number % 3].format(number) for number in range(BUILDS // 2)]
    return different * 2


def start(box: Builder) -> list[subprocess.Popen[str]]:
    box.env.update(EPOCH)
    return [box.start(text, "-t", f"i{number}", name=f"D{number}") for number, text in enumerate(texts())]


def ended(builds: list[subprocess.Popen[str]]) -> list[tuple[int, str]]:
    said = [build.communicate(timeout=240)[0] for build in builds]
    return [(build.returncode, text) for build, text in zip(builds, said, strict=True)]


def check_images(box: Builder) -> None:
    """Who built the same has the same, and it is right."""
    made = [box.config(f"i{number}")["Id"] for number in range(BUILDS)]
    assert made[:10] == made[10:]
    assert len(set(made)) == 10
    for number in range(3):
        assert box.content(made[number], "own").strip() == str(number).encode()
        assert box.content(made[number], "srv/f") == b"base\n"
        assert box.files(made[number])["tool"].size == 100_000
    assert "no problems found" in (done := box.run("system", "check")).stdout + done.stderr


@pytest.mark.timeout(600)
def test_twenty_builds_at_once(box: Builder) -> None:
    box.write({f"d/{number}": str(number) for number in range(10)})
    results = ended(start(box))
    assert [code for code, _ in results] == [0] * BUILDS, results
    check_images(box)
    ran = sum(text.count("Running in") for _, text in results)
    assert ran <= 2 + 7, "shared steps run once"


@pytest.mark.timeout(600)
def test_builds_that_are_killed_leave_the_others_and_the_store_whole(box: Builder) -> None:
    box.write({f"d/{number}": str(number) for number in range(10)})
    builds = start(box)
    chance = random.Random(4)
    victims = chance.sample(builds, 8)
    for victim in victims:
        time.sleep(chance.uniform(0.1, 0.6))
        victim.send_signal(signal.SIGKILL)
    results = ended(builds)
    codes = {code for build, (code, _) in zip(builds, results, strict=True) if build not in victims}
    assert codes == {0}, results
    wait_until(lambda: box.processes() == [], 20, "the end of what was killed")
    results = ended(start(box))
    assert [code for code, _ in results] == [0] * BUILDS, results
    check_images(box)
