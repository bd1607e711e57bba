"""What `commit` does, when its options are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from imagetool.containers import commit, folder
from imagetool.spec import RunConfig
from imagetool.store import ingest as _  # noqa: F401 (it comes with a layer, and here it costs no time)
from imagetool.store.store import Store


def work(
    root: str | None,
    name: str,
    target: str | None,
    author: str,
    message: str,
    changes: Sequence[str],
    pause: bool,
) -> str:
    """The new image's ID. ImageToolError."""
    store, full = Store.open(root), commit.full_name(target) if target else None
    return commit.commit(
        store, folder.find(store, name), full,
        author=author, message=message, change=_change(changes), pause=pause,
    )  # fmt: skip


def _change(texts: Sequence[str]) -> Callable[[RunConfig], RunConfig]:
    """A Dockerfile's parser takes longer to come than all else, and is seldom needed."""
    if not texts:
        return lambda run: run
    from imagetool.changes import changed

    return changed(texts)
