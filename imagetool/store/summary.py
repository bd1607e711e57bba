"""What lists need to know of an image, kept in ROOT/summaries.json so that nobody has to open a thousand configs.

Facts are filed by the digest of the manifest, which says all of them: they are never stale, and the file may be
lost at any time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from imagetool.digest import Digest
from imagetool.spec.fields import Json, dump
from imagetool.store import disk
from imagetool.store.layout import Layout
from unionfs.namedtuple import NamedTuple

VERSION = 1


class Facts(NamedTuple):
    """One image. `size`: bytes of the regular files of all its layers."""

    image_id: Digest
    created: str
    size: int
    platform: str
    labels: Mapping[str, str]


class Summary(NamedTuple):
    """One reference. `name` is None for an image that has none."""

    name: str | None
    target: Digest
    image_id: Digest
    created: str
    size: int
    platform: str
    labels: Mapping[str, str]


def load(layout: Layout) -> dict[str, Facts]:
    """All known facts by manifest digest; none when the file is missing, damaged or of another version."""
    try:
        with open(layout.summaries, "rb") as file:
            document = json.loads(file.read())
        if document["version"] != VERSION:
            return {}
        return {digest: Facts(*row) for digest, row in document["images"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def save(layout: Layout, facts: Mapping[str, Facts], temporary: str) -> None:
    """Only under the `index` lock. OSError."""
    images: dict[str, Json] = {digest: list(row) for digest, row in facts.items()}
    disk.publish(dump({"version": VERSION, "images": images}), layout.summaries, temporary)
