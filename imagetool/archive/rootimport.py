"""`import`: a tar of a root file system becomes an image of one layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from imagetool import compression, mediatypes, mutate
from imagetool.mutate import Draft
from imagetool.spec import Descriptor, History, Platform
from imagetool.store.lease import Lease
from imagetool.store.limits import LIMITS, Limits


def import_root(
    lease: Lease,
    read: Callable[[int], bytes],
    title: str,
    platform: Platform,
    step: History,
    limits: Limits = LIMITS,
) -> Draft:
    """Brings in the tar that `read(size)` gives and people call `title`, and drafts an image of it: change it, then
    `publish_draft`.

    gzip and zstd are kept as they are; other compressions are taken off. Malformed, Damaged, LimitExceeded, NoSpace.
    """
    with lease.new_layer(title, limits) as ingest:
        for piece in _as_layer(read, title):
            ingest.feed(piece)
        blob = ingest.finish()
    assert blob.diff_id is not None
    layer = Descriptor(mediatypes.layer_type(blob.compression), blob.digest, blob.size)
    return mutate.append(mutate.scratch(platform), layer, blob.diff_id, step)


def publish_draft(lease: Lease, draft: Draft) -> mutate.Rendered:
    """Stores the config and the manifest of a draft whose layers are there; the caller sets the references."""
    rendered = mutate.render(draft)
    lease.put_all(rendered.config, rendered.manifest)
    return rendered


def _as_layer(read: Callable[[int], bytes], title: str) -> Iterator[bytes]:
    head = read(1 << 20)
    if compression.detect(head) not in ("bzip2", "xz"):
        while head:
            yield head
            head = read(1 << 20)
        return
    first = [head]
    yield from compression.decoded(lambda size: first.pop() if first else read(size), title)
