"""Container images without a daemon: store, registries, mounts, builds and runs.

    import imagetool

    imagetool.pull("debian:12")
    with imagetool.mount("debian:12") as path:
        print(os.listdir(path))

In trio programs: `await imagetool.pull_async(…)`, `async with imagetool.mount_async(…) as path`.
`Store` is described in `imagetool.store`. Every error is an `ImageToolError`, or unionfs's `SetupError` where a
mount cannot be made. Importing the package costs nothing: what a name needs is imported when it is first used.
"""

from __future__ import annotations

from unionfs.annotations import TYPE_CHECKING

if TYPE_CHECKING:
    from imagetool.api import mount, mount_async, pull, pull_async, push, push_async
    from imagetool.errors import ImageToolError
    from imagetool.reference import Reference
    from imagetool.spec import Platform
    from imagetool.store.store import Store

__version__ = "0.1.0"

__all__ = [
    "ImageToolError",
    "Platform",
    "Reference",
    "Store",
    "__version__",
    "mount",
    "mount_async",
    "pull",
    "pull_async",
    "push",
    "push_async",
]

_HOMES = {
    "ImageToolError": "imagetool.errors",
    "Platform": "imagetool.spec",
    "Reference": "imagetool.reference",
    "Store": "imagetool.store.store",
    "mount": "imagetool.api",
    "mount_async": "imagetool.api",
    "pull": "imagetool.api",
    "pull_async": "imagetool.api",
    "push": "imagetool.api",
    "push_async": "imagetool.api",
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
