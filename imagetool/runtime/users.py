"""PURE: whom a container runs as, from the image's own passwd(5) and group(5) files.

The files are the image's word and may be hostile: lines that do not parse are nobody's, numbers are bounded.
"""

from __future__ import annotations

from collections.abc import Iterator

from imagetool.errors import UsageError
from unionfs.namedtuple import NamedTuple

ID_MAX = (1 << 31) - 1
FILE_MAX = 16 << 20  # bytes; the largest passwd or group file that is read
_GROUPS_MAX = 65536  # NGROUPS_MAX of include/uapi/linux/limits.h


class User(NamedTuple):
    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()  # supplementary ones
    home: str = "/"


def resolve(text: str, passwd: bytes, group: bytes) -> User:
    """`text` is "", "user", "user:group", each a name or a number (Docker's `--user`, Dockerfile's USER).

    A name wins over the number that it looks like. A number needs no line; a name does, else UsageError.
    """
    user, _, wanted = text.partition(":")
    name, found = _find_user(user or "0", passwd)
    if not wanted:
        return found._replace(groups=_memberships(name, found.gid, group))
    return found._replace(gid=_find_group(wanted, group))


def extra_groups(names: tuple[str, ...], group: bytes) -> tuple[int, ...]:
    """The numbers of `--group-add`."""
    return tuple(_find_group(name, group) for name in names)


def _find_user(wanted: str, passwd: bytes) -> tuple[str, User]:
    rows = list(_rows(passwd, 7))
    named = [row for row in rows if row[0] == wanted]
    numbered = [row for row in rows if wanted.isdecimal() and _id(row[2]) == _id(wanted)]
    for row in named + numbered:
        uid, gid = _id(row[2]), _id(row[3])
        if uid is not None and gid is not None:
            return row[0], User(uid, gid, (), row[5] or "/")
    number = _id(wanted)
    if number is None:
        raise _unknown("user", wanted, "/etc/passwd")
    return "", User(number)


def _find_group(wanted: str, group: bytes) -> int:
    for row in _rows(group, 4):
        gid = _id(row[2])
        if row[0] == wanted and gid is not None:
            return gid
    number = _id(wanted)
    if number is None:
        raise _unknown("group", wanted, "/etc/group")
    return number


def _memberships(name: str, primary: int, group: bytes) -> tuple[int, ...]:
    if not name:
        return (primary,)
    found = {primary: None}  # in order, and each once however many there are
    for row in _rows(group, 4):
        gid = _id(row[2])
        if gid is not None and name in row[3].split(","):
            found[gid] = None
    return tuple(found)[:_GROUPS_MAX]


def _rows(data: bytes, fields: int) -> Iterator[list[str]]:
    for line in data.split(b"\n"):
        row = line.decode("utf-8", "surrogateescape").strip().split(":")
        if row[0] and not row[0].startswith("#"):
            yield row + [""] * (fields - len(row))


def _id(text: str) -> int | None:
    if not (text.isascii() and text.isdecimal()) or len(text) > 10:
        return None
    number = int(text)
    return number if number <= ID_MAX else None


def _unknown(kind: str, wanted: str, file: str) -> UsageError:
    if wanted.lstrip("-").isdecimal():
        return UsageError(f"{kind} {wanted!r} is out of range", hint=f"ids are 0 to {ID_MAX}")
    return UsageError(f"unable to find {kind} {wanted}: no matching entry in the image's {file}")
