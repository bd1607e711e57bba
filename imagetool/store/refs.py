"""PURE: what tagging, untagging and pulling do to the list of references in index.json.

A reference is a descriptor with the annotation `org.opencontainers.image.ref.name`; one without it keeps an
image that has no name any more. INVARIANT: no name occurs twice, and a manifest has at most one unnamed entry,
and only if it has no named one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import cache

from imagetool import reference
from imagetool.digest import Digest
from imagetool.errors import InvalidReference
from imagetool.spec.descriptor import Descriptor
from unionfs.namedtuple import NamedTuple

REF_NAME = "org.opencontainers.image.ref.name"

References = tuple[Descriptor, ...]


class Ref(NamedTuple):
    """One reference: a full name or, for an image without one, None; and the manifest or index it names."""

    name: str | None
    target: Descriptor


def read(references: References) -> list[Ref]:
    return [Ref(name_of(entry), bare(entry)) for entry in references]


def name_of(entry: Descriptor) -> str | None:
    """The full name. Another tool may have written a short one (`skopeo copy … oci:ROOT:debian`)."""
    name = entry.annotations.get(REF_NAME)
    return None if name is None else _full(name)


@cache
def _full(name: str) -> str:
    """Asked for several times in each change, of every reference that there is."""
    try:
        return str(reference.parse(name).tagged())
    except InvalidReference:
        return name


def bare(entry: Descriptor) -> Descriptor:
    """The descriptor without the name."""
    others = {key: value for key, value in entry.annotations.items() if key != REF_NAME}
    return entry._replace(annotations=others)


def find(references: References, name: str) -> Descriptor | None:
    return next((bare(entry) for entry in references if name_of(entry) == name), None)


def point(references: References, names: Iterable[str], target: Descriptor) -> References:
    """`names` mean `target` now. A manifest that loses its last name by this stays, without one."""
    names = list(dict.fromkeys(names))
    kept = drop(references, names)
    added = tuple(_named(target, name) for name in names) or (bare(target),)
    return _tidy(kept + added)


def drop(references: References, names: Collection[str]) -> References:
    """Without these names. A manifest that loses its last name by this stays, without one."""
    kept = tuple(entry for entry in references if name_of(entry) not in names)
    lost = tuple(bare(entry) for entry in references if name_of(entry) in names)
    return _tidy(kept + lost)


def remove(references: References, digests: Collection[Digest]) -> References:
    """Without these manifests, whatever names them."""
    return tuple(entry for entry in references if entry.digest not in digests)


def without_unnamed(references: References, digests: Collection[Digest]) -> References:
    """Without the unnamed entries of these manifests."""
    return tuple(entry for entry in references if name_of(entry) is not None or entry.digest not in digests)


def _named(target: Descriptor, name: str) -> Descriptor:
    return target._replace(annotations={**target.annotations, REF_NAME: name})


def _tidy(entries: References) -> References:
    """Restores the invariant: unnamed entries go where they are not needed."""
    named = {entry.digest for entry in entries if name_of(entry) is not None}
    result = []
    for entry in entries:
        if name_of(entry) is None:
            if entry.digest in named:
                continue
            named.add(entry.digest)
        result.append(entry)
    return tuple(result)
