"""The rules of merging and the order of listings, against plain models."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from unionfs.listing import FIRST, Listing
from unionfs.merge import Removal, merge_names, removal

NAMES = st.lists(st.binary(min_size=1, max_size=2), unique=True, max_size=12)


def test_only_what_lies_below_needs_a_whiteout() -> None:
    assert removal(in_upper=True, in_lower=False) is Removal.REMOVE
    assert removal(in_upper=True, in_lower=True) is Removal.REPLACE
    assert removal(in_upper=False, in_lower=True) is Removal.WHITEOUT


@given(NAMES, st.lists(NAMES, max_size=3))
def test_merged_names_are_the_union_in_ascending_positions(
    top: list[bytes], below: list[list[bytes]]
) -> None:
    rows = merge_names([top, *below])
    assert sorted(name for _, name in rows) == sorted({name for names in [top, *below] for name in names})
    assert [position for position, _ in rows] == sorted({position for position, _ in rows})


@given(NAMES, NAMES)
def test_positions_of_one_layer_stay_when_a_top_layer_comes(top: list[bytes], below: list[bytes]) -> None:
    assert merge_names([top, below])[: len(below)] == merge_names([[], below]) == list(enumerate(below))


CHANGES = st.lists(st.tuples(st.booleans(), st.integers(0, 200)), max_size=400)


@given(st.integers(0, 120), CHANGES, st.integers(0, 120))
def test_a_reader_misses_nothing_that_stays_and_sees_nothing_twice(
    rows: int, changes: list[tuple[bool, int]], read: int
) -> None:
    names = [b"%d" % n for n in range(rows)]
    listing = Listing(enumerate(names))
    seen = list(listing.after(0))[:read]
    there = set(names)
    stayed = set(names)
    for add, number in changes:
        name = b"%d" % number
        (listing.add if add else listing.discard)(name)
        (there.add if add else there.discard)(name)
        stayed &= there
    rest = list(listing.after(seen[-1][0] if seen else 0))
    found = [name for _, name in seen + rest]
    assert stayed <= set(found)
    assert found == list(dict.fromkeys(found))
    assert {name for _, name in listing.after(0)} == there
    assert len(listing) == len(there)


def test_rows_may_change_while_they_are_read() -> None:
    listing = Listing(enumerate(b"%d" % n for n in range(300)))
    found = []
    for cookie, name in listing.after(0):
        found.append(name)
        listing.discard(name)
        listing.add(b"new") if cookie == FIRST else None
    assert found == [*(b"%d" % n for n in range(300)), b"new"]


def test_the_names_behind_a_name() -> None:
    listing = Listing(enumerate([b"a", b"b", b"c", b"d"]))
    listing.discard(b"c")
    assert listing.behind(b"a", 2) == [b"b", b"d"]
