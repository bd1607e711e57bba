"""PURE: PAX extended headers: their records, and how these change a member.

Source: POSIX.1-2017 pax(1), "pax Extended Header"; extended attributes as star and libarchive write them.
SCHILY.acl.* is not looked at: its text names users of another machine. What cannot be right raises Damaged.
"""

from __future__ import annotations

from collections.abc import Iterator

from unionfs.layers.tarheader import Damaged, Member, More, checked_id, checked_size, checked_time

XATTR_NAME_MAX = 255  # include/uapi/linux/limits.h
XATTR_SIZE_MAX = 65536
_SPARSE_PAIR = (b"GNU.sparse.offset", b"GNU.sparse.numbytes")
_KEYWORDS = frozenset((b"path", b"linkpath", b"size", b"uid", b"gid", b"mtime", b"atime", b"ctime"))
_SCHILY, _LIBARCHIVE = b"SCHILY.xattr.", b"LIBARCHIVE.xattr."
_PREFIXES = (_SCHILY, _LIBARCHIVE, b"GNU.sparse.")


def records(body: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The `LENGTH KEYWORD=VALUE\\n` records of an extended header, in order."""
    at = 0
    while at < len(body):
        space = body.find(b" ", at, at + 10)
        digits = body[at:space] if space > 0 else b""
        end = at + int(digits) if digits.isdigit() else 0
        if not space < end - 1 < len(body) or body[end - 1] != 0x0A:
            raise Damaged(f"malformed record at byte {at} of its extended header")
        key, equals, value = body[space + 1 : end - 1].partition(b"=")
        if not equals or not key:
            raise Damaged(f"record without a keyword at byte {at} of its extended header")
        yield key, value
        at = end


def number(key: bytes, value: bytes) -> int:
    if not value.isdigit() or len(value) > 20:
        raise Damaged(f"{key.decode('ascii', 'replace')}={value[:30]!r} is not a number")
    return int(value)


def identifier(key: bytes, value: bytes) -> int:
    return checked_id(number(key, value))


def time(key: bytes, value: bytes) -> tuple[int, int]:
    """`[-]SECONDS[.FRACTION]` as (seconds, nanoseconds), rounded down."""
    negative = value[:1] == b"-"
    whole, _, fraction = value[negative:].partition(b".")
    if not (whole + fraction).isdigit() or len(value) > 64:
        raise Damaged(f"{key.decode('ascii', 'replace')}={value[:30]!r} is not a time")
    nanoseconds = int(fraction[:9].ljust(9, b"0"))
    seconds = int(whole or b"0")
    if negative:
        nanoseconds += bool(fraction[9:].strip(b"0"))
        seconds, nanoseconds = divmod(-(seconds * 10**9 + nanoseconds), 10**9)
    return checked_time(seconds), nanoseconds


def xattrs(records: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """The extended attributes in PAX records. GNU tar writes "=" and "%" of a name as %3D and %25."""
    found = {}
    for key, value in records.items():
        if key.startswith(_LIBARCHIVE):
            found[_url_decoded(key[len(_LIBARCHIVE) :])] = _base64_decoded(value)
        elif key.startswith(_SCHILY):
            name = key[len(_SCHILY) :]
            if _LIBARCHIVE + name not in records:  # libarchive writes both, with the name encoded in both
                found[name.replace(b"%3D", b"=").replace(b"%25", b"%")] = value
    for name, value in found.items():
        if not 0 < len(name) <= XATTR_NAME_MAX or b"\0" in name or len(value) > XATTR_SIZE_MAX:
            raise Damaged(f"extended attribute {name[:40]!r} of {len(value)} bytes is not a legal one")
    return found


def merge(target: dict[bytes, bytes], body: bytes) -> None:
    """Later records win; the repeated pairs of sparse format 0.0 become one map, as in 0.1."""
    pairs = []
    for key, value in records(body):
        if key in _SPARSE_PAIR:
            pairs.append(value)
        elif key in _KEYWORDS or key.startswith(_PREFIXES):
            target[key] = value
    if pairs:
        target[b"GNU.sparse.map"] = b",".join(pairs)


def apply(member: Member, records: dict[bytes, bytes]) -> Member:
    """The member as its extended headers change it. An empty value leaves what the header says."""
    changed: dict[str, object] = {}
    times: dict[bytes, tuple[int, int]] = {}
    for key, value in records.items():
        if not value:
            continue
        if key == b"path":
            changed.setdefault("name", text(value))
        elif key == b"GNU.sparse.name":  # the path then is one for readers that know no sparse files
            changed["name"] = text(value)
        elif key == b"linkpath":
            changed["link"] = text(value)
        elif key == b"size":
            changed["size"] = checked_size(number(key, value))
        elif key in (b"uid", b"gid"):
            changed[key.decode()] = identifier(key, value)
        elif key in (b"mtime", b"atime", b"ctime"):
            times[key] = time(key, value)
    if b"mtime" in times:
        changed["mtime"], changed["mtimensec"] = times[b"mtime"]
    attributes = xattrs(records)
    if attributes or b"atime" in times or b"ctime" in times:
        changed["more"] = More(times.get(b"atime"), times.get(b"ctime"), attributes)
    return member._replace(**changed)  # type: ignore[arg-type]


def text(value: bytes) -> bytes:
    if b"\0" in value:
        raise Damaged("a name in its extended header has a NUL byte")
    return value


def _url_decoded(text: bytes) -> bytes:
    from urllib.parse import unquote_to_bytes  # rare, and not worth its import otherwise

    return unquote_to_bytes(text)


def _base64_decoded(text: bytes) -> bytes:
    from binascii import Error, a2b_base64

    try:
        return a2b_base64(text + b"=" * (-len(text) % 4))
    except Error:
        raise Damaged("an extended attribute is not in base64") from None
