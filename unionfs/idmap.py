"""IdMap: owners on disk <-> owners in the view, by ranges, and squashing. PURE.

A map is written `DISK:VIEW:LENGTH[:DISK:VIEW:LENGTH…]`: the ids DISK…DISK+LENGTH-1 of the layers are seen as
VIEW…VIEW+LENGTH-1 in the mount (the form of fuse-overlayfs, which podman and buildah speak). Empty fields
are skipped, as those callers write a leading colon.
"""

from __future__ import annotations

from unionfs.errors import SetupError
from unionfs.namedtuple import NamedTuple

OVERFLOW_ID = 65534
"""Who owns what has no owner: /proc/sys/kernel/overflowuid, as every kernel comes with it."""

_ID_LIMIT = 0xFFFFFFFF  # (uid_t) -1 means "unchanged" to chown(2) and is nobody's id


class Range(NamedTuple):
    """`length` ids from `disk` on in the layers are those from `view` on in the mount."""

    disk: int
    view: int
    length: int


class IdMap(NamedTuple):
    """No ranges: the same ids on both sides. An id outside the ranges is OVERFLOW_ID on the other side.

    A squash id replaces every owner that is shown; what is stored still goes by the ranges. Under a squash
    the server as a rule may not chown to the ids it is asked for: see `lenient`.
    """

    uids: tuple[Range, ...] = ()
    gids: tuple[Range, ...] = ()
    squash_uid: int | None = None
    squash_gid: int | None = None

    @property
    def lenient(self) -> bool:
        """Whether a chown of the layer that is refused (EPERM, EINVAL) is to be taken as done."""
        return self.squash_uid is not None or self.squash_gid is not None

    def to_view(self, uid: int, gid: int) -> tuple[int, int]:
        """The owner to show for an owner on disk."""
        return (
            _shown(uid, self.uids) if self.squash_uid is None else self.squash_uid,
            _shown(gid, self.gids) if self.squash_gid is None else self.squash_gid,
        )

    def to_disk(self, uid: int, gid: int) -> tuple[int, int]:
        """The owner to store for an owner in the view: the inverse of `to_view` but for squashing."""
        return _stored(uid, self.uids), _stored(gid, self.gids)


def parse_ranges(text: str, option: str) -> tuple[Range, ...]:
    """Raises SetupError, naming `option`, for incomplete, oversized and overlapping ranges."""
    numbers = [_id(field, text, option) for field in text.split(":") if field]
    if len(numbers) % 3:
        raise _bad(text, option, "ids come in triples DISK:VIEW:LENGTH")
    ranges = tuple(Range(*numbers[i : i + 3]) for i in range(0, len(numbers), 3))
    for start in ("disk", "view"):
        _refuse_overlap(sorted((getattr(r, start), r.length) for r in ranges), text, option)
    return ranges


def _id(field: str, text: str, option: str) -> int:
    if not (field.isascii() and field.isdigit()) or len(field) > 10 or int(field) > _ID_LIMIT:
        raise _bad(text, option, f"{field!r} is no id")
    return int(field)


def _refuse_overlap(spans: list[tuple[int, int]], text: str, option: str) -> None:
    end = 0
    for start, length in spans:
        if not length or start + length > _ID_LIMIT:
            raise _bad(text, option, "a range is empty or goes beyond the last id")
        if start < end:
            raise _bad(text, option, "two ranges overlap")
        end = start + length


def _bad(text: str, option: str, why: str) -> SetupError:
    return SetupError(f"{option}={text}: {why}", hint=f"for example {option}=0:100000:65536")


def _shown(number: int, ranges: tuple[Range, ...]) -> int:
    for disk, view, length in ranges:
        if 0 <= number - disk < length:
            return view + number - disk
    return OVERFLOW_ID if ranges else number


def _stored(number: int, ranges: tuple[Range, ...]) -> int:
    for disk, view, length in ranges:
        if 0 <= number - view < length:
            return disk + number - view
    return OVERFLOW_ID if ranges else number
