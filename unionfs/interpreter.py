"""Another Python interpreter that finds these packages, and takes no module from where its caller stands."""

from __future__ import annotations

import os
import sys

from unionfs.errors import SetupError


def command(module: str, *arguments: str) -> list[str]:
    """The words that run it as a program. -P: the working directory may be anybody's."""
    if not sys.executable:
        raise SetupError("the Python interpreter cannot be found", hint="set sys.executable")
    return [sys.executable, "-P", "-m", module, *arguments]


def environment() -> dict[str, str]:
    """Ours, with the place of these packages."""
    home = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    path = os.pathsep.join(filter(None, (home, os.environ.get("PYTHONPATH"))))
    return os.environ | {"PYTHONPATH": path}
