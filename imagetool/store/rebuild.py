"""Building a layer again from its blob: what makes ROOT/layers a cache."""

from __future__ import annotations

from imagetool import compression
from imagetool.digest import Digest, Verifier
from imagetool.spec.descriptor import Descriptor
from imagetool.store import disk
from imagetool.store.ingest import GATHER, Unpacker
from imagetool.store.lease import Lease
from imagetool.store.limits import Limits
from imagetool.store.read import open_blob


def build_layer(lease: Lease, descriptor: Descriptor, diff_id: Digest, limits: Limits) -> None:
    """layer.tar and layer.idx are there afterwards. NotFound or Damaged when the blob is not what it should be.

    Two processes may do this at once: the first one to be ready publishes.
    """
    layout = lease.layout
    verifier = Verifier(descriptor.digest, descriptor.size)
    with disk.errors("cannot rebuild the layer"), open_blob(layout, descriptor.digest) as file:
        chunk = file.read(GATHER)
        kind = compression.detect(chunk)
        source = layout.blob(descriptor.digest)
        unpacker = Unpacker(lease, kind, diff_id, limits, f"layer {diff_id}", source)
        try:
            while chunk:
                verifier.feed(chunk)
                unpacker.feed(chunk, descriptor.size)
                chunk = file.read(GATHER)
            verifier.finish()
            unpacker.finish()
        finally:
            unpacker.close()
