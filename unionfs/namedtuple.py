"""typing.NamedTuple, with its classes made in a third of the time.

typing compiles every annotation in order to check it, which takes 100 µs for a class of five fields; a command imports
a hundred such classes, and else is over in 70 ms. Here the type checker has checked them before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import NamedTuple as NamedTuple
else:
    from collections import namedtuple

    class _Maker(type):
        def __new__(cls, name, bases, body):
            fields = body.pop("__annotations__", {})
            given = [field for field in fields if field in body]
            if given != list(fields)[len(fields) - len(given) :]:
                raise TypeError(f"{name}: a field without a default follows one that has one")
            module, defaults = body.pop("__module__"), [body.pop(field) for field in given]
            made = namedtuple(name, fields, defaults=defaults, module=module)
            made.__annotations__ = fields
            for key, value in body.items():  # the docstring, methods, properties
                setattr(made, key, value)
            return made

    NamedTuple = type.__new__(_Maker, "NamedTuple", (), {})
