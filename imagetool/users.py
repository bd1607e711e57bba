"""Who uses an image: the containers and mounts that are recorded in the store.

ROOT/containers/ID/roots, ROOT/mounts/ID/roots    the manifests it was made from, one digest a line
ROOT/containers/ID/running                        a file that is locked, flock(2), as long as it runs
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator

from imagetool.digest import Digest
from imagetool.store.gc import roots_of
from imagetool.store.lock import is_locked
from imagetool.store.removal import Use
from imagetool.store.store import Store


def users_of(store: Store, manifests: Collection[Digest]) -> list[Use]:
    """The containers that were made from one of these manifests, in the order of their IDs."""
    return [
        Use(name, is_locked(f"{store.layout.containers}/{name}/running"))
        for name in _made_from(store.layout.containers, manifests)
    ]


def mounts_of(store: Store, manifests: Collection[Digest]) -> list[str]:
    """The IDs of mounts that were made from one of these manifests."""
    return list(_made_from(store.layout.mounts, manifests))


def _made_from(folder: str, manifests: Collection[Digest]) -> Iterator[str]:
    return (name for name in sorted(os.listdir(folder)) if set(roots_of(f"{folder}/{name}")) & set(manifests))
