"""Modules of Python's that come in when something is asked of them, not because another package may want it one day.

click imports `inspect`, and with it a parser of Python, to take the margin off help texts, `uuid` for options that are
one, and `gettext` for translations that nobody has made, but looks for on disk: 13 of the 75 ms of a short command.
"""

from __future__ import annotations

import sys
from _thread import allocate_lock
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from unionfs.annotations import Any

_leaving = allocate_lock()


class _Late(ModuleType):
    """Is in `sys.modules` for the module of its name, until it is asked for what it does not have."""

    def __getattr__(self, name: str) -> Any:
        if name == "__path__":  # as `from … import` asks: none of them is a package
            raise AttributeError(name)
        with _leaving:
            if sys.modules.get(self.__name__) is self:
                del sys.modules[self.__name__]
        return getattr(__import__(self.__name__), name)  # one thread imports it, and the others wait


class _Inspect(_Late):
    def cleandoc(self, text: str) -> str:
        """A line has no margin but its own."""
        if "\n" not in text:
            return text.expandtabs().lstrip()
        cleaned: str = self.__getattr__("cleandoc")(text)
        return cleaned


class _Gettext(_Late):
    """Texts as they are: what the real one gives where there is no catalogue, but without a look at the disk."""

    @staticmethod
    def gettext(message: str) -> str:
        return message

    @staticmethod
    def ngettext(singular: str, plural: str, n: int) -> str:
        return singular if n == 1 else plural


@contextmanager
def modules() -> Iterator[None]:
    """They are late from now on, unless they are there already. Inside, click may be imported without them."""
    uuid = _Late("uuid")
    vars(uuid)["UUID"] = object  # click says by this what one of its types makes, and uses it for nothing
    for late in (_Inspect("inspect"), _Gettext("gettext"), uuid):
        sys.modules.setdefault(late.__name__, late)
    try:
        yield
    finally:
        del vars(uuid)["UUID"]
