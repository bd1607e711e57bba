"""`rmi`: names go, and images that lost their last one. The rules are in store/removal.py."""

from __future__ import annotations

from collections.abc import Iterator

from imagetool import digest as digests
from imagetool import reference
from imagetool.errors import Conflict
from imagetool.store import gc, read, removal
from imagetool.store.store import Store
from imagetool.users import mounts_of, users_of


def remove(store: Store, given: str, *, force: bool = False, prune: bool = True) -> Iterator[str]:
    """Removes what a name or ID means; the lines that Docker prints. Conflict, NotFound: nothing has changed.

    Without `prune` the files stay until the next one.
    """
    wanted, target = store.find(given)
    rows = store.summaries()
    image_id = next((row.image_id for row in rows if row.target == target.digest), target.digest)
    manifests = {row.target for row in rows if row.image_id == image_id} | {target.digest}
    users = manifests | {child.digest for ref in store.references() if ref.target.digest in manifests
                         for child in read.manifests(store.layout, ref.target)}  # fmt: skip
    names = [row.name for row in rows if row.image_id == image_id and row.name]
    plan = removal.plan(image_id, names, given, wanted, users_of(store, users), force=force)
    if plan.delete and (there := mounts_of(store, users)):
        text = (
            f"conflict: unable to delete {digests.short(image_id)} - image is mounted, as {', '.join(there)}"
        )
        raise Conflict(text, hint="see: imagetool mounts, imagetool umount")
    if plan.delete:
        store.remove(manifests)
    elif plan.untag:
        store.untag(plan.untag)
    yield from (f"Untagged: {reference.parse(name).familiar()}" for name in plan.untag)
    if plan.delete:
        yield f"Deleted: {image_id}"
        if prune:
            yield from (f"Deleted: {diff_id}" for diff_id in gc.collect(store.layout).layers)
