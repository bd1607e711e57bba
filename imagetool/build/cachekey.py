"""PURE: what a step depends on -> the key that its result is kept under.

Two kinds. A *layer* depends on the files below it (their chain of diff IDs), on the instruction as it is carried out
and on the content that it takes in, not on times, names of stages or labels: so a changed LABEL costs no RUN. A
*step* is an instruction upon a whole image; all that its key finds again is when it was first done, so that a build
that finds everything gives the same image ID.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence

from imagetool.digest import Digest
from imagetool.spec.fields import Json

_VERSION = 2
"""Goes up when the same key would mean another result; what is kept under older ones is never found again."""

NO_FILES = hashlib.sha256(b"no files").hexdigest()
"""The chain of `scratch`."""


def chain(diff_ids: Sequence[Digest]) -> str:
    """What files are below a step: sha256 hex over all layers, the lowest first."""
    found = NO_FILES
    for diff_id in diff_ids:
        found = extended(found, diff_id)
    return found


def extended(below: str, diff_id: Digest) -> str:
    """The chain with one layer more."""
    return hashlib.sha256(f"{below} {diff_id}".encode()).hexdigest()


def layer(below: str, platform: str, epoch: int | None, facts: Mapping[str, Json]) -> str:
    """The key of a layer: `facts` is everything that the instruction does, and with what content."""
    return _key({"layer": facts, "below": below, "platform": platform, "epoch": epoch})


def step(parent: str, text: str, epoch: int | None) -> str:
    """The key of a step that makes no layer: an instruction upon the image with the ID `parent`."""
    return _key({"step": text, "parent": parent, "epoch": epoch})


def _key(facts: Mapping[str, Json]) -> str:
    text = json.dumps({**facts, "version": _VERSION}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
