"""Search: Docker's index where there is one, else the catalogue of a real registry; filters and limits."""

import json
from pathlib import Path
from typing import Any

import pytest

from imagetool import search as searching
from imagetool.errors import UsageError
from imagetool.search import Filters, Found, parse_filters, split_term
from tests.imagetool.registry.conftest import World
from tests.support.hostile import Exchange, Hostile
from tests.support.oci import Layout
from tests.support.registry import Server, fill

ROWS = [
    {"name": "library/debian", "description": "Debian\x1b[31m is", "star_count": 100, "is_official": True},
    {"name": "me/debian", "description": None, "star_count": 7, "is_automated": True},
    {"name": "you/debian", "star_count": 900},
]


def run(world: World, term: str, **options: Any) -> list[Found]:
    return world.run(lambda remote: searching.search(remote.client, remote.registries, term, **options))


@pytest.fixture
def index(bad: Hostile) -> Hostile:
    def fault(exchange: Exchange) -> bool:
        if not exchange.path.startswith("/v1/search"):
            return False
        exchange.answer(200, json.dumps({"results": ROWS}).encode(), Content_Type="application/json")
        return True

    bad.fault = fault
    return bad


def test_index(world: World, index: Hostile) -> None:
    rows = run(world, f"{index.host}/debian", limit=3)
    assert [row.name for row in rows] == [f"{index.host}/{n}" for n in ("you/debian", "debian", "me/debian")]
    assert rows[1] == Found(f"{index.host}/debian", "Debian [31m is", 100, True, False)
    assert index.asked("GET", "/v1/search")[0].path == "/v1/search?q=debian&n=3"


def test_filters(world: World, index: Hostile) -> None:
    found = [
        run(world, f"{index.host}/debian", filters=parse_filters([text]))
        for text in ("is-official=true", "is-official=false", "is-automated=true", "stars=100")
    ]
    assert [[row.stars for row in rows] for rows in found] == [[100], [900, 7], [7], [900, 100]]


def test_catalogue_of_a_real_registry(world: World, layout: Layout, plain: Server, tmp_path: Path) -> None:
    layout.tag("x", layout.image([{"a": b"1"}]))
    for name in ("search/needle-1", "search/needle-2", "search/straw"):
        fill(plain, layout.root, "x", f"{name}:x")
    rows = run(world, f"{plain.host}/NEEDLE")
    assert {row.name for row in rows} == {f"{plain.host}/search/needle-1", f"{plain.host}/search/needle-2"}
    assert len(run(world, f"{plain.host}/needle", limit=1)) == 1
    assert run(world, f"{plain.host}/needle", filters=Filters(official=True)) == []


def test_pages_of_the_catalogue_are_followed(world: World, bad: Hostile) -> None:
    pages = {"": ["a1", "b"], "b": ["a2", "c"], "c": ["a3"]}

    def fault(exchange: Exchange) -> bool:
        path, _, query = exchange.path.partition("?")
        if path != "/v2/_catalog":
            return False
        names = pages[query.partition("last=")[2].partition("&")[0]]
        links = {"Link": f'</v2/_catalog?last={names[-1]}&n=2>; rel="next"'} if len(names) > 1 else {}
        exchange.answer(200, json.dumps({"repositories": names}).encode(), **links)
        return True

    bad.fault = fault
    assert [row.name for row in run(world, f"{bad.host}/a")] == [f"{bad.host}/a{n}" for n in (1, 2, 3)]


@pytest.mark.parametrize("text", ["x", "is-official=maybe", "stars=many", "stars=-1", "colour=red"])
def test_bad_filters(text: str) -> None:
    with pytest.raises(UsageError, match="invalid filter"):
        parse_filters([text])


def test_terms() -> None:
    assert split_term("debian") == ("docker.io", "debian")
    assert split_term("library/debian") == ("docker.io", "debian")
    assert split_term("localhost:5000/a/b") == ("localhost:5000", "a/b")
    assert split_term("user/app") == ("docker.io", "user/app")


@pytest.mark.parametrize("limit", [0, 101])
def test_limits(world: World, limit: int) -> None:
    with pytest.raises(UsageError, match="limit"):
        run(world, "x", limit=limit)
