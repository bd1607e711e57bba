"""typing.NamedTuple, with its classes made in a tenth of the time.

typing compiles every annotation in order to check it, and collections a `__new__` for each class, which together take
200 µs for a class of five fields; a command imports a hundred such classes, uses half of them, and else is over in
60 ms. Here the type checker has checked the annotations before, and `__new__` is compiled where more than a few
are made.
"""

from __future__ import annotations

from unionfs.annotations import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import NamedTuple as NamedTuple
else:
    from collections import _tuplegetter
    from contextlib import suppress
    from functools import cache
    from types import CodeType, FunctionType

    _new = tuple.__new__
    _FEW = 6  # that many of a class are made before a `__new__` for it pays

    @cache
    def _code(count: int) -> CodeType:
        """A `__new__` for so many fields. To compile one takes longer than to give it other names."""
        names = "".join(f"_{at}, " for at in range(count))
        made: CodeType = eval(f"lambda _cls, {names}: _new(_cls, ({names}))").__code__
        return made

    class _Fields(tuple):
        """What all such classes have."""

        __slots__ = ()

        def __new__(_cls, *args, **kwargs):
            own = next(each for each in _cls.__mro__ if "_fields" in vars(each))
            if own._few > 0:
                own._few -= 1
                given = dict(zip(own._fields, args, strict=False))
                values = {**own._field_defaults, **given, **kwargs}
                if len(values) == len(own._fields) >= len(args) and given.keys().isdisjoint(kwargs):
                    with suppress(KeyError):  # a field is missing: the right words for it come from below
                        return _new(_cls, map(values.__getitem__, own._fields))
            code = _code(len(own._fields)).replace(co_varnames=("_cls", *own._fields))
            made = FunctionType(code, {"_new": _new}, "__new__", tuple(own._field_defaults.values()))
            own.__new__ = staticmethod(made)
            return made(_cls, *args, **kwargs)

        @classmethod
        def _make(cls, values):
            made = _new(cls, values)
            if len(made) != len(cls._fields):
                raise TypeError(f"Expected {len(cls._fields)} arguments, got {len(made)}")
            return made

        def _replace(self, /, **values):
            made = self._make(map(values.pop, self._fields, self))
            if values:
                raise ValueError(f"Got unexpected field names: {list(values)!r}")
            return made

        def _asdict(self):
            return dict(zip(self._fields, self, strict=True))

        def __repr__(self):
            given = ", ".join(f"{field}={value!r}" for field, value in zip(self._fields, self, strict=True))
            return f"{type(self).__name__}({given})"

        def __getnewargs__(self):
            return tuple(self)

    class _Maker(type):
        def __new__(cls, name, bases, body):
            fields = tuple(body.get("__annotations__", ()))
            defaults = {field: body.pop(field) for field in fields if field in body}
            if tuple(defaults) != fields[len(fields) - len(defaults) :]:
                raise TypeError(f"{name}: a field without a default follows one that has one")
            own = {
                "__slots__": (),
                "_fields": fields,
                "__match_args__": fields,
                "_field_defaults": defaults,
                "_few": _FEW,
            }
            getters = {field: _tuplegetter(at, f"Field {at}") for at, field in enumerate(fields)}
            return type(name, (_Fields,), own | getters | body)

    NamedTuple = type.__new__(_Maker, "NamedTuple", (), {})
