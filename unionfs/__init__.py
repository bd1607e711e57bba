"""unionfs: mount a stack of read-only layers under a copy-on-write top layer, in user space.

    import unionfs

    with unionfs.mount(["/layers/app", "/layers/debian.tar"], upper="/rw/diff", work="/rw/work") as m:
        print(m.path, m.stats())

Importing the package costs nothing: what a name needs is imported when the name is first used.
"""

from __future__ import annotations

from unionfs.annotations import TYPE_CHECKING

if TYPE_CHECKING:
    from unionfs.api import AsyncMount, Mount, mount, mount_async
    from unionfs.errors import LayerError, SetupError, UnionError

__version__ = "0.1.0"

__all__ = [
    "AsyncMount",
    "LayerError",
    "Mount",
    "SetupError",
    "UnionError",
    "__version__",
    "mount",
    "mount_async",
]

_HOMES = {
    "AsyncMount": "unionfs.api",
    "Mount": "unionfs.api",
    "mount": "unionfs.api",
    "mount_async": "unionfs.api",
    "LayerError": "unionfs.errors",
    "SetupError": "unionfs.errors",
    "UnionError": "unionfs.errors",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
