"""The override_stat xattr: owner, mode and type of a file whose server may not chown or mknod.

The value is `UID:GID:MODE[:TYPE]`, decimal ids, octal permission bits, TYPE one of dir, file, symlink,
pipe, socket, block-MAJOR-MINOR and char-MAJOR-MINOR (the format of containers/storage). Without a TYPE
the file keeps its own.
"""

from __future__ import annotations

import os
import stat

from unionfs import sysfd
from unionfs.model import Attr
from unionfs.namedtuple import NamedTuple

PRIVILEGED = b"security.fuseoverlayfs.override_stat"
CONTAINERS = b"user.containers.override_stat"
LEGACY = b"user.fuseoverlayfs.override_stat"  # what older stores of containers/storage hold

NAMES: tuple[bytes, ...] = (b"", PRIVILEGED, CONTAINERS)
"""The xattr that each value of the option xattr_permissions stands for; 0 is none."""

_TYPES: dict[bytes, int] = {
    b"dir": stat.S_IFDIR,
    b"file": stat.S_IFREG,
    b"symlink": stat.S_IFLNK,
    b"pipe": stat.S_IFIFO,
    b"socket": stat.S_IFSOCK,
    b"block": stat.S_IFBLK,
    b"char": stat.S_IFCHR,
}
_WORDS: dict[int, bytes] = {mode: word for word, mode in _TYPES.items()}
_DEVICES = (b"block", b"char")
_ID_LIMIT = 0xFFFFFFFF  # (uid_t) -1 means "unchanged" to chown(2) and is nobody's id
_MAJOR_LIMIT, _MINOR_LIMIT = 1 << 12, 1 << 20  # dev_t in the kernel


class Override(NamedTuple):
    """What the xattr says. `mode` has type bits only if the value names a type."""

    uid: int
    gid: int
    mode: int
    rdev: int = 0


def parse(value: bytes) -> Override:
    """Raises ValueError, naming the value, for anything that is not exactly of the form above."""
    fields = value.rstrip(b"\0").split(b":")
    if len(fields) not in (3, 4):
        raise ValueError(f"override_stat {value!r} is not UID:GID:MODE[:TYPE]")
    uid = _number(fields[0], 10, _ID_LIMIT, value)
    gid = _number(fields[1], 10, _ID_LIMIT, value)
    mode = _number(fields[2], 8, 0o10000, value)
    kind, rdev = _type(fields[3], value) if len(fields) == 4 else (0, 0)
    return Override(uid, gid, mode | kind, rdev)


def render(override: Override) -> bytes:
    """The value to store; `parse` gives the same back."""
    head = b"%d:%d:%o" % (override.uid, override.gid, stat.S_IMODE(override.mode))
    if not (kind := stat.S_IFMT(override.mode)):
        return head
    word = _WORDS[kind]
    if word in _DEVICES:
        word += b"-%d-%d" % (os.major(override.rdev), os.minor(override.rdev))
    return head + b":" + word


def apply(attr: Attr, override: Override) -> Attr:
    """`attr` as the view shows it."""
    if stat.S_IFMT(override.mode):
        return attr._replace(uid=override.uid, gid=override.gid, mode=override.mode, rdev=override.rdev)
    return attr._replace(uid=override.uid, gid=override.gid, mode=stat.S_IFMT(attr.mode) | override.mode)


def applied(attr: Attr, key: bytes, fd: int, name: bytes) -> Attr:
    """`attr` of the entry `name` in the directory `fd`, corrected by its attribute `key` where it has a valid one."""
    value = sysfd.getxattr(fd, name, key)
    if value is None:
        return attr
    try:
        return apply(attr, parse(value))
    except ValueError:
        return attr


def _number(text: bytes, base: int, limit: int, value: bytes) -> int:
    if not text.isdigit() or len(text) > 16:  # int() would take signs, blanks and underscores
        raise ValueError(f"override_stat {value!r}: {text!r} is no number")
    try:
        number = int(text, base)
    except ValueError:
        raise ValueError(f"override_stat {value!r}: {text!r} is not octal") from None
    if number >= limit:
        raise ValueError(f"override_stat {value!r}: {text!r} is too large")
    return number


def _type(text: bytes, value: bytes) -> tuple[int, int]:
    word, *numbers = text.split(b"-")
    if word not in _TYPES or len(numbers) != (2 if word in _DEVICES else 0):
        raise ValueError(f"override_stat {value!r}: {text!r} is no file type")
    if not numbers:
        return _TYPES[word], 0
    major = _number(numbers[0], 10, _MAJOR_LIMIT, value)
    return _TYPES[word], os.makedev(major, _number(numbers[1], 10, _MINOR_LIMIT, value))
