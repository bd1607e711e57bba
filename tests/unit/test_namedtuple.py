"""unionfs.namedtuple against typing's: the same classes."""

from __future__ import annotations

import pickle
import typing
from typing import Any

import pytest

from unionfs import namedtuple

if typing.TYPE_CHECKING:
    from typing import NamedTuple
else:
    NamedTuple = namedtuple.NamedTuple


class Point(NamedTuple):
    """A place."""

    x: int
    y: int = 0
    tags: tuple[str, ...] = ()

    @property
    def both(self) -> tuple[int, int]:
        return self.x, self.y

    @classmethod
    def origin(cls) -> Point:
        return cls(0)

    def __str__(self) -> str:
        return f"{self.x}/{self.y}"


Model = typing.NamedTuple("Model", [("x", int), ("y", int), ("tags", "tuple[str, ...]")])  # noqa: UP014
Model.__new__.__defaults__ = (0, ())


@pytest.mark.parametrize("given", [((1,), {}), ((1, 2), {}), ((), {"y": 3, "x": 1}), ((1, 2, ("a",)), {})])
def test_values_are_those_of_typing_s(given: tuple[Any, dict[str, Any]]) -> None:
    positional, named = given
    ours, theirs = Point(*positional, **named), Model(*positional, **named)
    assert ours == theirs
    assert hash(ours) == hash(theirs)
    assert repr(ours) == repr(theirs).replace("Model", "Point")
    assert ours._asdict() == theirs._asdict()
    assert ours._replace(y=9) == theirs._replace(y=9)
    assert pickle.loads(pickle.dumps(ours)) == ours


def test_a_class_keeps_what_its_body_says() -> None:
    assert (Point._fields, Point._field_defaults) == (("x", "y", "tags"), {"y": 0, "tags": ()})
    assert (Point.__doc__, Point.__module__, Point.__qualname__) == ("A place.", __name__, "Point")
    assert typing.get_type_hints(Point) == {"x": int, "y": int, "tags": tuple[str, ...]}
    assert (Point.origin().both, str(Point(1, 2))) == ((0, 0), "1/2")
    assert not hasattr(Point(1), "__dict__")


@pytest.mark.parametrize("given", [(), (1, 2, (), 4)])
def test_too_few_and_too_many_are_refused(given: tuple[Any, ...]) -> None:
    with pytest.raises(TypeError):
        Point(*given)


@pytest.mark.parametrize(
    "given", [((1,), {"q": 3}), ((1,), {"x": 2}), ((), {"y": 1}), ((), {"y": 1, "q": 2})]
)
def test_wrong_names_are_refused_by_the_first_as_by_any(given: tuple[Any, dict[str, Any]]) -> None:
    class Pair(NamedTuple):
        x: int
        y: int = 0

    for _ in range(10):
        with pytest.raises(TypeError):
            Pair(*given[0], **given[1])
    assert [Pair(1), Pair(1, 2), Pair(y=3, x=1)] * 5 == [(1, 0), (1, 2), (1, 3)] * 5


def test_a_class_may_have_no_fields() -> None:
    class Nothing(NamedTuple):
        pass

    assert [Nothing() for _ in range(10)] == [()] * 10
    for _ in range(10):
        with pytest.raises(TypeError):
            Nothing(*[1])


def test_a_default_before_a_field_without_one_is_refused() -> None:
    with pytest.raises(TypeError, match="a field without a default"):
        exec("class Wrong(NamedTuple):\n    a: int = 1\n    b: int\n", {"NamedTuple": NamedTuple})


def test_what_is_missing_has_its_name() -> None:
    class Pair(NamedTuple):
        left: int
        right: int = 2

    class Other(NamedTuple):
        up: int
        down: int

    with pytest.raises(TypeError, match="'left'"):
        Pair()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="'down'"):
        Other(1)  # type: ignore[call-arg]
    assert (Pair(left=1), Other(down=1, up=2)) == ((1, 2), (2, 1))
    with pytest.raises(ValueError, match="middle"):
        Pair(1)._replace(middle=3)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="Expected 2"):
        Pair._make([1])
