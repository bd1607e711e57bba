"""Hard links of the layers below, in RUN: what changes them is seen under every name, whoever keeps the changes."""

from __future__ import annotations

import pytest

from tests.imagetool.build.kit import Builder

EPOCH = {"SOURCE_DATE_EPOCH": "1600000000"}
LINKED = """FROM busybox
RUN busybox mkdir -p /d/e; echo 1 > /d/a; busybox ln /d/a /d/b; busybox ln /d/a /d/e/c; busybox ln -s x /d/s
RUN busybox ln /d/s /d/t
"""
CHANGES = {
    "another name": "busybox mv /d/a /d/z",
    "one more name": "busybox ln /d/b /z",
    "a name less": "busybox rm /d/a",
    "written": "echo 2 >> /d/e/c",
    "another mode": "busybox chmod 600 /d/b",
    "replaced": "echo new > /n; busybox mv /n /d/a",
    "another owner": "busybox chown 5 /d/a; busybox rm /d/b",
    "in a directory that moves": "busybox mv /d/e /d/f; echo 2 >> /d/a",
    "in a directory that moves alone": "busybox mv /d/e /d/f",
    "in a directory that moves with all of them": "busybox mv /d /f",
    "moved and written": "echo 2 >> /d/a; busybox mv /d /f; busybox mv /f/e /g",
    "a link": "busybox chown -h 5 /d/s",
    "of a link that goes": "busybox mv /d/s /d/u",
    "behind a link": "busybox mv /d/e /x; busybox ln -s /x /d/e; echo 2 >> /d/a",
}  # fmt: skip
LOOK = (
    "for f in /d/* /d/e/* /f/* /f/e/* /g/* /x/* /z; do "
    "test -d $f || busybox stat -c '%n %h %u %a %s %F' $f >> /seen; done 2>/dev/null; true"
)


@pytest.mark.parametrize("change", CHANGES)
def test_every_name_sees_the_change_and_the_image_is_the_same(box: Builder, change: str) -> None:
    text = f"{LINKED}RUN {CHANGES[change]}\nRUN {LOOK}\nRUN busybox chmod 640 /d/b /d/e/c || true"
    made = [box.image(text, "--no-cache", "--top", top, **EPOCH) for top in ("overlay", "fuse")]
    assert box.content(made[0], "seen") == box.content(made[1], "seen")
    assert box.layers(made[0])[2:] == box.layers(made[1])[2:]
    assert made[0] == made[1]


def test_a_change_through_one_name_is_seen_through_the_others(box: Builder) -> None:
    text = f"{LINKED}RUN echo 2 >> /d/a; busybox cat /d/b > /b\nRUN echo 3 >> /d/e/c; busybox cat /d/a > /a"
    made = box.image(text, "--top", "overlay")
    assert box.content(made, "b") == b"1\n2\n"
    assert box.content(made, "a") == b"1\n2\n3\n"
    assert box.files(made)["d/b"].linkname == "d/a"


@pytest.mark.parametrize("top", ["overlay", "fuse"])
def test_a_directory_that_moves_keeps_its_links_to_what_stays(box: Builder, top: str) -> None:
    made = box.image(f"{LINKED}RUN busybox mv /d/e /d/f; echo 2 >> /d/a", "--top", top)
    files = box.files(made)
    assert {files[name].linkname for name in ("d/b", "d/f/c")} == {"d/a"}
    assert box.content(made, "d/f/c") == b"1\n2\n"
