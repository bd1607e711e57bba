"""Images for the tests of the store: made in memory, brought in as a pull does it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import NamedTuple

from imagetool import digest as digests
from imagetool import mediatypes, mutate
from imagetool.digest import Digest
from imagetool.spec import Descriptor, History, Platform
from imagetool.store.ingest import Ingest
from imagetool.store.lease import Lease
from imagetool.store.limits import LIMITS, Limits
from imagetool.store.store import Store
from tests.support.oci import compress, layer_tar


class Layer(NamedTuple):
    """A layer as a registry would serve it."""

    blob: bytes
    descriptor: Descriptor
    diff_id: Digest


class Made(NamedTuple):
    layers: tuple[Layer, ...]
    rendered: mutate.Rendered

    @property
    def target(self) -> Descriptor:
        return self.rendered.target


def layer(files: Mapping[str, bytes], kind: str = "gzip") -> Layer:
    return from_tar(layer_tar(files), kind)


def from_tar(tar: bytes, kind: str = "gzip") -> Layer:
    blob = compress(tar, kind)
    return Layer(blob, Descriptor(mediatypes.layer_type(kind), digests.of(blob), len(blob)), digests.of(tar))


def image(
    *layers: Layer, created: str = "2024-01-01T00:00:00Z", labels: Mapping[str, str] | None = None
) -> Made:
    draft = mutate.stamped(mutate.scratch(Platform.host()), created)
    for each in layers:
        draft = mutate.append(draft, each.descriptor, each.diff_id, History())
    draft = mutate.with_run(draft, lambda run: run._replace(labels=dict(labels or {})))
    return Made(layers, mutate.render(draft))


def claimed(lease: Lease, each: Layer, limits: Limits = LIMITS) -> Ingest:
    """The claim on a layer that nobody else has."""
    ingest = lease.claim(each.descriptor, each.diff_id, limits)
    assert ingest is not None
    return ingest


def fill(ingest: Ingest, data: bytes, step: int = 1 << 16) -> None:
    """Feeds all of it, and finishes."""
    with ingest:
        for start in range(0, len(data), step):
            ingest.feed(data[start : start + step])
        ingest.finish()


def bring_layer(
    store: Store, lease: Lease, each: Layer, step: int = 1 << 16, limits: Limits = LIMITS
) -> None:
    """As a pull does: wait while another process has it, go on where an earlier try ended."""
    lease.pin(each.descriptor.digest, each.diff_id)
    while not store.has_layer(each.descriptor, each.diff_id):
        ingest = lease.claim(each.descriptor, each.diff_id, limits)
        if ingest is None:
            time.sleep(0.005)
            continue
        fill(ingest, each.blob[ingest.offset :], step)


def bring(store: Store, made: Made, *names: str, limits: Limits = LIMITS) -> Made:
    """A whole pull."""
    with store.lease() as lease:
        for each in made.layers:
            bring_layer(store, lease, each, limits=limits)
        lease.put(made.rendered.config)
        lease.put(made.rendered.manifest)
        store.publish(names, made.target)
    return made
