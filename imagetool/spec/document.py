"""Which of the two a manifest document is: the one place that decides it from its type and its fields."""

from __future__ import annotations

from imagetool import mediatypes
from imagetool.errors import LimitExceeded, Malformed
from imagetool.spec.fields import load
from imagetool.spec.manifest import Index, Manifest

MAX_DOCUMENT = 4 << 20
"""Bytes of a manifest, index or config; distribution-spec: registries must accept manifests up to 4 MiB."""


def parse_document(data: bytes, media_type: str | None = None) -> Manifest | Index:
    """A manifest or an index, as `media_type` (from a descriptor or a header) says.

    Without it, the document's own `mediaType` and then its fields decide. Malformed when they contradict each
    other, for schema 1, and for any other type; LimitExceeded above 4 MiB.
    """
    check_size(len(data))
    if media_type is None:
        media_type = _guess(data)
    document = _parse(data, media_type)
    if document.media_type != media_type and _own_type(data):
        raise Malformed(f"manifest is announced as {media_type} and calls itself {document.media_type}")
    return document._replace(media_type=media_type)


def check_size(size: int) -> None:
    """LimitExceeded for a document above 4 MiB: to be asked before it is read."""
    if size > MAX_DOCUMENT:
        raise LimitExceeded(f"manifest of {size} bytes is larger than {MAX_DOCUMENT}")


def _parse(data: bytes, media_type: str) -> Manifest | Index:
    if media_type in mediatypes.INDEXES:
        return Index.parse(data)
    if media_type in mediatypes.MANIFESTS:
        return Manifest.parse(data)
    if media_type in mediatypes.SCHEMA1:
        raise Malformed("image is in the old schema 1 format", hint="push it again with a current tool")
    raise Malformed(f"manifest of unknown type {media_type!r}")


def _guess(data: bytes) -> str:
    document = load(data, "manifest")
    named = document.get("mediaType")
    if isinstance(named, str) and named:
        return named
    if document.get("schemaVersion") == 1:
        return mediatypes.DOCKER_SCHEMA1
    return mediatypes.OCI_INDEX if "manifests" in document else mediatypes.OCI_MANIFEST


def _own_type(data: bytes) -> object:
    return load(data, "manifest").get("mediaType")
