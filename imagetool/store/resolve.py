"""PURE: which image a person means: by name, by digest, by image ID or the beginning of one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from imagetool import reference
from imagetool.digest import Digest
from imagetool.errors import AmbiguousReference, InvalidReference, NotFound
from imagetool.reference import Reference
from imagetool.spec.descriptor import Descriptor
from imagetool.store.refs import Ref

Ids = Callable[[], Iterable[tuple[Digest, Descriptor]]]
"""Gives the image ID of every reference; asked only when no name fits."""


def resolve(text: str, refs: Sequence[Ref], ids: Ids) -> tuple[Reference | None, Descriptor]:
    """The reference that was meant (None: it was an ID) and what it names.

    NotFound with a suggestion; AmbiguousReference for the beginning of several IDs; InvalidReference.
    """
    wanted, invalid = _as_reference(text)
    if wanted is not None and (found := by_reference(wanted, refs)):
        return found
    if reference.is_id(text) and (target := by_id(text, ids())):
        return None, target
    if invalid is not None:
        raise invalid
    raise NotFound(f"No such image: {text}", hint=_suggestion(text, refs))


def by_reference(wanted: Reference, refs: Sequence[Ref]) -> tuple[Reference, Descriptor] | None:
    """A tag is looked up by its name. With a digest the tag means nothing, as in Docker."""
    wanted = wanted.with_digest(wanted.digest) if wanted.digest else wanted.tagged()
    name = str(wanted)
    for ref in refs:
        if ref.name == name:
            return wanted, ref.target
    if wanted.digest is None:
        return None
    prefix = wanted.repository
    for ref in refs:
        if (
            ref.target.digest == wanted.digest
            and ref.name
            and ref.name.startswith((f"{prefix}:", f"{prefix}@"))
        ):
            return reference.parse_full(ref.name), ref.target
    return None


def by_id(text: str, ids: Iterable[tuple[Digest, Descriptor]]) -> Descriptor | None:
    """The image whose ID starts like this; a manifest's digest in full is taken as well."""
    start = "sha256:" + text.removeprefix("sha256:")
    found: dict[Digest, Descriptor] = {}
    for image_id, target in ids:
        if image_id.startswith(start):
            found.setdefault(image_id, target)
        elif target.digest == start:
            return target
    if len(found) > 1:
        some = ", ".join(sorted(image_id[:19] for image_id in found)[:3])
        raise AmbiguousReference(
            f"{text!r} is the beginning of several image IDs", hint=f"give more of it: {some}"
        )
    return next(iter(found.values()), None)


def _as_reference(text: str) -> tuple[Reference | None, InvalidReference | None]:
    try:
        return reference.parse(text), None
    except InvalidReference as error:
        return None, error


def _suggestion(text: str, refs: Sequence[Ref]) -> str:
    import difflib

    names = {ref.name.removeprefix("docker.io/").removeprefix("library/") for ref in refs if ref.name}
    wanted = text if ":" in text.rpartition("/")[2] else f"{text}:latest"
    close = difflib.get_close_matches(wanted, names, n=1, cutoff=0.75)
    return f"did you mean {close[0]}?" if close else ""
