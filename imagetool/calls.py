"""A command's work apart from its options: who begins with what it needs before these are parsed needs no click.

Such a command returns a `Call`, and whoever runs the command line carries it out.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module

from unionfs.annotations import Any, NoReturn
from unionfs.namedtuple import NamedTuple


class Call(NamedTuple):
    """A function `work` of a module, and what it is given: values that marshal has words for."""

    module: str
    arguments: dict[str, Any]

    def perform(self) -> None:
        """Prints what the function gives."""
        print(import_module(self.module).work(**self.arguments))


def leave(status: int) -> NoReturn:
    """At once: everything is done, and the interpreter would tidy up for longer than many a command takes."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # nobody reads it
            continue
    os._exit(status)
