"""The executor of a container, with a place in the store for what it compiles."""

from __future__ import annotations

from imagetool.runtime import base
from imagetool.store.store import Store


def filters(store: Store) -> str:
    """Where compiled filters are kept."""
    return f"{store.root}/seccomp"


def choose(store: Store, runtime: str) -> base.Executor:
    """See `runtime.base.choose`. Filters for system calls are kept: compiling one takes longer than a start."""
    if runtime in ("", "builtin"):
        from imagetool.runtime.sandbox import Builtin

        return Builtin(filters(store))
    return base.choose(runtime)
