"""Manifest and Index (image-spec manifest.md, image-index.md; Docker's schema 2 and manifest list).

A document that is both is refused: `layers` in an index, or `manifests` in a manifest, makes two readers
see two different images under one digest (CVE-2021-41190).
"""

from __future__ import annotations

from collections.abc import Mapping

from imagetool import mediatypes
from imagetool.errors import Malformed, NotFound
from imagetool.spec.descriptor import EMPTY, Descriptor, Platform
from imagetool.spec.fields import Fields, Json, compact, dump, extra, load
from unionfs.namedtuple import NamedTuple

MAX_CHILDREN = 10_000
"""Layers of a manifest, or manifests of an index."""


class Manifest(NamedTuple):
    """One image for one platform: a config and its layers, the lowest first."""

    config: Descriptor
    layers: tuple[Descriptor, ...]
    media_type: str = mediatypes.OCI_MANIFEST
    annotations: Mapping[str, str] = EMPTY
    extra: Mapping[str, Json] = EMPTY

    def render(self) -> bytes:
        known = {
            "schemaVersion": 2,
            "mediaType": self.media_type,
            "config": self.config.to_json(),
            "layers": [layer.to_json() for layer in self.layers],
        }
        return dump(known | compact({"annotations": dict(self.annotations)}) | extra(self.extra))

    @staticmethod
    def parse(data: bytes) -> Manifest:
        """Malformed unless it is an image manifest of schema 2, OCI or Docker."""
        fields = _open(data, "manifest", mediatypes.MANIFESTS)
        if "manifests" in fields.rest():
            raise Malformed("manifest has a field 'manifests': it is not clear what it is")
        media_type = fields.text("mediaType") or mediatypes.OCI_MANIFEST
        config = Descriptor.from_json(fields.object("config"), "manifest's config")
        layers = _descriptors(fields, "layers", "layer")
        return Manifest(config, layers, media_type, fields.text_map("annotations"), fields.rest())


class Index(NamedTuple):
    """Images of several platforms under one name."""

    manifests: tuple[Descriptor, ...]
    media_type: str = mediatypes.OCI_INDEX
    annotations: Mapping[str, str] = EMPTY
    extra: Mapping[str, Json] = EMPTY

    def render(self) -> bytes:
        known = {
            "schemaVersion": 2,
            "mediaType": self.media_type,
            "manifests": [child.to_json() for child in self.manifests],
        }
        return dump(known | compact({"annotations": dict(self.annotations)}) | extra(self.extra))

    @staticmethod
    def parse(data: bytes) -> Index:
        """Malformed unless it is an image index or a manifest list."""
        fields = _open(data, "index", mediatypes.INDEXES)
        if "layers" in fields.rest() or "config" in fields.rest():
            raise Malformed("index has a field 'layers' or 'config': it is not clear what it is")
        media_type = fields.text("mediaType") or mediatypes.OCI_INDEX
        manifests = _descriptors(fields, "manifests", "manifest")
        return Index(manifests, media_type, fields.text_map("annotations"), fields.rest())

    def select(self, wanted: Platform) -> Descriptor:
        """The child for a platform: the first one that fits best. NotFound names what there is.

        An arm machine also runs the variants below its own. What a machine runs beside its own kind (amd64: 386,
        arm64: arm) fits when there is nothing better, and an entry without a platform last.
        """
        fits = [(rank, child) for child in self.manifests if (rank := _rank(child, wanted)) is not None]
        if not fits:
            there = ", ".join(sorted({str(child.platform) for child in self.manifests if _is_image(child)}))
            raise NotFound(f"no image for platform {wanted}", hint=f"there are: {there or 'none'}")
        return min(fits, key=lambda pair: pair[0])[1]


def _is_image(child: Descriptor) -> bool:
    """Attestations are listed as platform unknown/unknown (BuildKit)."""
    platform = child.platform
    return platform is not None and platform.os != "unknown"


def _rank(child: Descriptor, wanted: Platform) -> int | None:
    """How well a child fits, 0 the best; None: not at all."""
    if child.media_type not in mediatypes.MANIFESTS | mediatypes.INDEXES:
        return None
    if child.platform is None:
        return 1000
    there, wanted = child.platform.normalized(), wanted.normalized()
    if there.os != wanted.os:
        return None
    if there.architecture != wanted.architecture:
        variants = _ALSO_RUNS.get((wanted.architecture, there.architecture))
        rank = None if variants is None else _variant_rank(there.variant, variants)
        return None if rank is None else OTHER_KIND + rank
    if wanted.os_version and there.os_version and there.os_version != wanted.os_version:
        return None
    return _variant_rank(there.variant, wanted.variant)


OTHER_KIND = 100
"""What is added to the rank of another architecture: any variant of one's own comes first."""

_ALSO_RUNS = {("amd64", "386"): "", ("arm64", "arm"): "v8"}
"""(machine, image) -> the highest variant; as in containerd's platforms.Only."""


def _variant_rank(there: str, wanted: str) -> int | None:
    if there == wanted:
        return 0
    there_level, wanted_level = _level(there), _level(wanted)
    if there_level > wanted_level:
        return None
    return wanted_level - there_level


def _level(variant: str) -> int:
    number = variant.removeprefix("v")
    return int(number) if number.isascii() and number.isdigit() and len(number) < 4 else 0


def _open(data: bytes, what: str, types: frozenset[str]) -> Fields:
    fields = Fields(load(data, what), what)
    media_type = Fields(fields.rest(), what).text("mediaType")
    if media_type and media_type not in types:
        raise Malformed(f"{what} has the media type {media_type!r}")
    if fields.integer("schemaVersion") != 2:
        raise Malformed(f"{what} is not of schema version 2", hint="schema 1 images must be pushed again")
    return fields


def _descriptors(fields: Fields, name: str, what: str) -> tuple[Descriptor, ...]:
    values = fields.array(name)
    if values is None:
        raise Malformed(f"{fields.what} has no {name}")
    if len(values) > MAX_CHILDREN:
        raise Malformed(f"{fields.what} has more than {MAX_CHILDREN} {name}")
    return tuple(Descriptor.from_json(value, what) for value in values)
