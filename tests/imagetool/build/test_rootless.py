"""Images that a user who is not root builds are those that root builds, to the digest."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator

import pytest

from tests.imagetool.build.kit import Builder, cached
from tests.imagetool.build.rootlesskit import ACCOUNTS, EPOCH, archive, same_image, strangers, twins
from tests.imagetool.e2e.conftest import busybox
from tests.support.sandbox import user, user_namespace

pytestmark = pytest.mark.timeout(180)

Twins = tuple[Builder, Builder]


@pytest.fixture(params=["one-id", "ranges"])
def both(request: pytest.FixtureRequest) -> Iterator[Twins]:
    with user(sub_ids=request.param == "ranges") as box, twins(busybox(), box) as pair:
        for one in pair:
            one.write({"d/f": "text", "d/below/g": "more"})
            (one.context / "d/link").symlink_to("f")
            (one.context / "files.tar").write_bytes(
                archive(("a", b"data", 0o4755, 1000, 1001), ("dir/b", b"b", 0o640, 33, 44), device=True)
            )
        yield pair


@pytest.fixture
def ranges() -> Iterator[Twins]:
    with user(sub_ids=True) as box, twins(busybox(), box) as pair:
        yield pair


def test_files_and_commands_of_root(both: Twins) -> None:
    text = f"""
    FROM busybox AS base
    {ACCOUNTS}
    RUN echo x > /made; busybox cp /made /suid; busybox chmod 4755 /suid
    RUN busybox mkdir /dir; busybox mkfifo /dir/pipe; busybox chmod 2775 /dir
    COPY d /d/
    RUN busybox mv /d/f /d/g; busybox rm /d/link; busybox rm -r /d/below; busybox mkdir /d/below; echo y >> /made
    WORKDIR /some/where
    FROM busybox AS other
    RUN busybox sleep 0.2; echo o > /o
    FROM base
    COPY --from=other /o /o
    COPY --from=base / /all
    RUN --mount=type=cache,target=/c --mount=type=tmpfs,target=/t --mount=type=bind,source=d,target=/b \\
        busybox cat /b/f > /c/f; busybox cp /c/f /t/f; busybox cat /t/f > /through
    """
    mine, roots = both
    same_image(mine, roots, text)
    assert [name for name in strangers(mine) if not name.startswith("build/caches/")] == []


def test_owners_of_archives_and_copies(both: Twins) -> None:
    text = f"""
    FROM busybox AS base
    {ACCOUNTS}
    ADD files.tar /
    RUN busybox chmod 600 /a; busybox touch /dir/new
    COPY --chown=web:44 d/f /theirs
    COPY --chown=7:8 d/below /new/below
    COPY --link --chown=9:9 --chmod=4711 d/f /linked
    USER web
    WORKDIR /web/place
    USER root
    RUN echo more >> /theirs; echo new > /new/below/new; busybox mv /new/below /new/moved
    FROM busybox
    COPY --from=base / /
    COPY --from=base /a /dev-null /dir /copies/
    COPY --from=base --chown=1:2 /dir /dir2
    FROM scratch
    COPY --from=base --chown=5 /a /dev-null /x/
    COPY --from=base /a /dev-null /y/
    """
    mine, roots = both
    same_image(mine, roots, text)
    made = same_image(mine, roots, text.partition("    FROM scratch")[0])
    files = mine.files(made)
    assert (files["a"].uid, files["a"].gid, files["a"].mode) == (1000, 1001, 0o600)
    assert (files["theirs"].uid, files["theirs"].gid) == (33, 44)
    assert files["copies/dev-null"].type == tarfile.CHRTYPE


def test_many_users_in_run(ranges: Twins) -> None:
    """As a package manager gives its files away, and becomes somebody else."""
    text = f"""
    FROM busybox AS base
    {ACCOUNTS}
    RUN for i in 1 33 1000 40000 65534; do echo $i > /f$i; busybox chown $i:$i /f$i; done
    RUN busybox mkdir /dir; busybox ln -s x /dir/l; busybox chown -h 5:6 /dir/l; busybox chown 33 /dir; \\
        busybox cp /bin/busybox /suid; busybox chown 33:44 /suid; busybox chmod 6755 /suid
    USER web
    RUN busybox id -u > /dir/who; busybox ln -s who /dir/link; ! echo x > /f33x
    FROM base
    USER root
    COPY --from=base /dir /again
    RUN busybox chmod 600 /f33; busybox rm -r /dir; busybox chown -R 1:1 /again; echo 0 > /f1
    """
    mine, roots = ranges
    made = same_image(mine, roots, text)
    assert mine.content(made, "again/who") == b"33\n"
    assert (mine.files(made)["f40000"].uid, mine.files(made)["f1"].uid) == (40000, 1)
    assert strangers(mine) == []


@pytest.mark.parametrize("top", ["fuse", "overlay"])
def test_whoever_keeps_the_changes(ranges: Twins, top: str) -> None:
    text = f"""
    FROM busybox
    {ACCOUNTS}
    RUN echo x > /f; busybox chown 33:44 /f; busybox mkdir -p /d/e; echo 1 > /d/e/f
    RUN busybox mv /d /moved; busybox rm /f; busybox ln -s x /l; busybox chown -h 33 /l
    """
    mine, roots = ranges
    same_image(mine, roots, text, "--top", top)


def test_root_of_a_namespace_that_is_there_already() -> None:
    """As in a container of a user: what is opaque and what was moved is in attributes that such a root may write."""
    text = """
    FROM busybox
    RUN busybox mkdir -p /d/e /o; echo x > /d/e/f; busybox chown 33 /d/e/f; echo y > /o/f
    RUN busybox rm -r /o; busybox mkdir /o; echo 1 > /o/g
    RUN busybox mv /d /z
    """
    with user_namespace() as box, twins(busybox(), box) as (mine, roots):
        for top in ("auto", "fuse"):
            same_image(mine, roots, text, "--no-cache", "--top", top)


def test_hard_links_stay_what_they_are(both: Twins) -> None:
    mine, roots = both
    same_image(
        mine, roots, "FROM busybox\nADD files.tar /\nRUN echo x >> /a\nRUN busybox chmod 700 /dir/b.link\n"
    )


def test_one_id_is_said(both: Twins) -> None:
    mine, _ = both
    text = (
        f"FROM busybox\n{ACCOUNTS}USER web\nRUN busybox id -u\nRUN echo x > /tmp/f; busybox chown 1 /tmp/f\n"
    )
    alone = "only one user id" in mine.build(text, code=1).stdout
    done = mine.build(text, "--no-cache", code=1)
    if alone:
        assert (
            "WARNING: only one user id is available: running as root of the namespace, not as 33:44\n0\n"
            in done.stdout
        )
        assert "Invalid argument" in done.stdout
        assert "ranges in /etc/subuid and /etc/subgid would help" in done.stdout
        assert (
            "--top overlay needs more than one user id"
            in mine.build(text, "--top", "overlay", code=125).stderr
        )
    else:
        assert "\n33\n" in done.stdout
        assert "not permitted" in done.stdout


def test_the_cache_is_the_next_build_s(both: Twins) -> None:
    mine, _ = both
    text = f"FROM busybox\n{ACCOUNTS}COPY --chown=1 d /d\nRUN echo x > /x\nADD files.tar /\nCOPY --from=busybox /bin /b"
    first = mine.build(text, SOURCE_DATE_EPOCH=EPOCH)
    again = mine.build(text, SOURCE_DATE_EPOCH=EPOCH)
    assert cached(first.stdout) == [False] * 5
    assert cached(again.stdout) == [True] * 5
