"""PURE: what `rmi` does to one image. The rules and the words are Docker's (daemon/images/image_delete.go)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from imagetool import digest as digests
from imagetool import reference
from imagetool.digest import Digest
from imagetool.errors import Conflict
from imagetool.reference import Reference
from unionfs.namedtuple import NamedTuple


class Use(NamedTuple):
    """A container of the image."""

    container: str  # its ID
    running: bool


class Removal(NamedTuple):
    """Names to drop, as the store records them, and whether the image itself goes."""

    untag: tuple[str, ...]
    delete: bool


def plan(
    image_id: Digest,
    names: Iterable[str],
    given: str,
    wanted: Reference | None,
    uses: Sequence[Use],
    *,
    force: bool,
) -> Removal:
    """What removing `given` means; `wanted` is the reference it is, or None when it is an ID.

    `names` are all full names of the image. Raises Conflict with Docker's text.
    """
    there = [reference.parse_full(name) for name in names]
    if wanted is None:
        return _by_id(image_id, there, uses, force=force)
    if not force and uses and _is_single(there):
        raise Conflict(
            f'conflict: unable to remove repository reference "{given}" (must force) - container '
            f"{uses[0].container[:12]} is using its referenced image {digests.short(image_id)}"
        )
    return _by_name(there, wanted, uses, force=force)


def _by_name(there: list[Reference], wanted: Reference, uses: Sequence[Use], *, force: bool) -> Removal:
    """Digests of a repository go with its last tag; the image goes with its last name, unless it is in use."""
    left = [ref for ref in there if ref != wanted]
    repository = [ref for ref in left if ref.repository == wanted.repository]
    if not wanted.digest and not any(ref.tag for ref in repository):
        left = [ref for ref in left if ref.repository != wanted.repository]
    untag = tuple(str(ref) for ref in there if ref not in left)
    in_use = any(use.running for use in uses) or (bool(uses) and not force)
    return Removal(untag, delete=not left and not in_use)


def _by_id(image_id: Digest, there: list[Reference], uses: Sequence[Use], *, force: bool) -> Removal:
    running = next((use for use in uses if use.running), None)
    if running:
        reason = f"image is being used by running container {running.container[:12]}"
        raise _conflict(image_id, "cannot be forced", reason)
    if not force and not _is_single(there):
        raise _conflict(image_id, "must be forced", "image is referenced in multiple repositories")
    if not force and uses:
        reason = f"image is being used by stopped container {uses[0].container[:12]}"
        raise _conflict(image_id, "must be forced", reason)
    return Removal(tuple(str(ref) for ref in there), delete=True)


def _is_single(there: list[Reference]) -> bool:
    """At most one tag, and all digests in its repository."""
    tags = [ref for ref in there if ref.tag]
    return len(tags) <= 1 and len({ref.repository for ref in there}) <= 1


def _conflict(image_id: Digest, how: str, reason: str) -> Conflict:
    return Conflict(f"conflict: unable to delete {digests.short(image_id)} ({how}) - {reason}")
