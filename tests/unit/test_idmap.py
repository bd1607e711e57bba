"""Owners on disk and owners in the view."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unionfs.errors import SetupError
from unionfs.idmap import OVERFLOW_ID, IdMap, Range, parse_ranges

PODMAN = parse_ranges(":0:100000:65536", "uidmapping")


def test_podmans_form_has_a_leading_colon() -> None:
    assert (Range(0, 100000, 65536),) == PODMAN


def test_several_triples() -> None:
    assert parse_ranges("0:1000:1:1:110000:65536", "uidmapping") == (
        Range(0, 1000, 1),
        Range(1, 110000, 65536),
    )


def test_no_ranges_change_nothing() -> None:
    assert IdMap().to_view(5, 6) == (5, 6)
    assert IdMap().to_disk(5, 6) == (5, 6)
    assert not IdMap().lenient


def test_uids_and_gids_go_by_their_own_ranges() -> None:
    ids = IdMap(PODMAN, parse_ranges("0:7000:10", "gidmapping"))
    assert ids.to_view(33, 4) == (100033, 7004)
    assert ids.to_disk(100033, 7004) == (33, 4)


def test_an_id_outside_has_no_owner_on_the_other_side() -> None:
    ids = IdMap(PODMAN)
    assert ids.to_view(65536, 65536) == (OVERFLOW_ID, 65536)
    assert ids.to_disk(99999, 5) == (OVERFLOW_ID, 5)
    assert ids.to_disk(165536, 5) == (OVERFLOW_ID, 5)


def test_squash_shows_one_owner_and_stores_by_the_ranges() -> None:
    ids = IdMap(PODMAN, (), squash_uid=0, squash_gid=7)
    assert ids.to_view(33, 33) == (0, 7)
    assert ids.to_disk(100033, 33) == (33, 33)
    assert ids.lenient


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("0", "triples"),
        ("0:1", "triples"),
        ("0:1:2:3", "triples"),
        ("a:0:1", "no id"),
        ("-1:0:1", "no id"),
        ("0:0:1.5", "no id"),
        ("0:0:99999999999", "no id"),
        ("٣:0:1", "no id"),
        ("0:0:0", "empty"),
        ("4294967290:0:6", "beyond"),
        ("0:4294967290:6", "beyond"),
        ("0:0:10:5:100:10", "overlap"),
        ("0:0:10:100:5:10", "overlap"),
    ],
)
def test_what_is_no_map_is_refused_in_one_line(text: str, why: str) -> None:
    with pytest.raises(SetupError, match=why) as error:
        parse_ranges(text, "gidmapping")
    assert str(error.value).startswith(f"gidmapping={text}: ")
    assert "\n" not in str(error.value)


@st.composite
def disjoint_ranges(draw: st.DrawFn) -> str:
    disk = view = 0
    fields: list[int] = []
    for _ in range(draw(st.integers(1, 5))):
        disk += draw(st.integers(0, 1000))
        view += draw(st.integers(0, 1000))
        count = draw(st.integers(1, 100000))
        fields += [disk, view, count]
        disk, view = disk + count, view + count
    return ":".join(map(str, fields))


@given(disjoint_ranges(), st.data())
def test_a_mapped_owner_comes_back(text: str, data: st.DataObject) -> None:
    ids = IdMap(parse_ranges(text, "uidmapping"), parse_ranges(text, "gidmapping"))
    chosen = data.draw(st.sampled_from(ids.uids))
    owner = chosen.disk + data.draw(st.integers(0, chosen.length - 1))
    assert ids.to_disk(*ids.to_view(owner, owner)) == (owner, owner)
