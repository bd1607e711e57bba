"""The `-o` strings of a mount, parsed into one value. PURE.

The form is that of mount(8), kernel overlayfs and fuse-overlayfs: words between commas, several strings
add up and the last word wins. A backslash takes the next character as it is, also in lowerdir=, where
colons separate; a value that begins with a double quote runs to the next one, commas and all.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable

from unionfs.errors import SetupError
from unionfs.idmap import IdMap, Range, parse_ranges
from unionfs.model import (
    MS_NOATIME,
    MS_NODEV,
    MS_NODIRATIME,
    MS_NOEXEC,
    MS_NOSUID,
    MS_RDONLY,
    MS_RELATIME,
    MS_STRICTATIME,
)
from unionfs.namedtuple import NamedTuple
from unionfs.override import NAMES as OVERRIDE_NAMES

_FLAGS: dict[str, tuple[int, bool]] = {
    "ro": (MS_RDONLY, True),
    "rw": (MS_RDONLY, False),
    "nosuid": (MS_NOSUID, True),
    "suid": (MS_NOSUID, False),
    "nodev": (MS_NODEV, True),
    "dev": (MS_NODEV, False),
    "noexec": (MS_NOEXEC, True),
    "exec": (MS_NOEXEC, False),
    "sync": (1 << 4, True),
    "async": (1 << 4, False),
    "dirsync": (1 << 7, True),
    "nosymfollow": (1 << 8, True),
    "symfollow": (1 << 8, False),
    "noatime": (MS_NOATIME, True),
    "atime": (MS_NOATIME, False),
    "nodiratime": (MS_NODIRATIME, True),
    "diratime": (MS_NODIRATIME, False),
    "relatime": (MS_RELATIME, True),
    "norelatime": (MS_RELATIME, False),
    "strictatime": (MS_STRICTATIME, True),
    "nostrictatime": (MS_STRICTATIME, False),
    "lazytime": (1 << 25, True),
    "nolazytime": (1 << 25, False),
}


class MountOptions(NamedTuple):
    """What a mount was asked for. None leaves a choice to whoever mounts (it depends on privileges).

    Paths are as they were given, escapes removed. `flags` are MS_* bits to set, `cleared` those to clear.
    """

    lowers: tuple[str, ...] = ()  # topmost first
    upper: str = ""
    work: str = ""
    flags: int = 0
    cleared: int = 0
    private: bool = False  # MS_PRIVATE: mounts made below it do not spread to peers
    allow_other: bool | None = None
    default_permissions: bool | None = None
    fsname: str = ""
    subtype: str = "unionfs"
    contexts: tuple[str, ...] = ()  # SELinux words, as the kernel takes them
    volatile: bool = False
    userxattr: bool | None = None
    uids: tuple[Range, ...] = ()
    gids: tuple[Range, ...] = ()
    squash_to_root: bool = False
    squash_uid: int | None = None
    squash_gid: int | None = None
    override: bytes = b""  # the xattr named by xattr_permissions=
    xattrs: bool = True
    acl: bool = True
    metacopy_from: int | None = None  # bytes
    wh_files: bool = True
    top: str = "fuse"  # who takes the changes: our server, or the kernel's overlayfs
    driver: str = "kernel"
    io: str = "auto"
    timeout: float | None = None  # seconds
    writeback: bool | None = None
    poll: int | None = None  # µs
    readahead: int | None = None  # bytes
    max_read: int | None = None  # bytes
    zero_open: bool = True  # this and the next four: switches to measure by; see fuse/options.py
    negative: bool = True
    readdirplus: bool = True
    awake: bool | None = None
    threads: bool = True
    log: str = ""
    debug: bool = False
    unknown: tuple[str, ...] = ()  # words that nobody knows: to be named in a warning

    @property
    def ids(self) -> IdMap | None:
        """The owner map the words add up to; None shows and stores owners as they are."""
        squash = 0 if self.squash_to_root else None
        uid = squash if self.squash_uid is None else self.squash_uid
        gid = squash if self.squash_gid is None else self.squash_gid
        ids = IdMap(self.uids, self.gids, uid, gid)
        return None if ids == IdMap() else ids


def parse(strings: Iterable[str]) -> MountOptions:
    """The options of all `-o` arguments, in their order. Raises SetupError for a value without sense."""
    fields: dict[str, object] = {}
    for text in strings:
        for word in filter(None, split(text, ",")):
            _apply(fields, word)
    return MountOptions(**fields)  # type: ignore[arg-type]


def split(text: str, separator: str) -> list[str]:
    """The parts between separators that are neither escaped nor quoted; escapes are kept."""
    parts, start, i = [], 0, 0
    while i < len(text):
        if text[i] == "\\":
            i += 1
        elif text[i] == '"' and text[start:i].endswith("="):
            i = max(i, text.find('"', i + 1))
        elif text[i] == separator:
            parts.append(text[start:i])
            start = i + 1
        i += 1
    parts.append(text[start:])
    return parts


def unescape(text: str) -> str:
    r"""`text` without its outer quotes, and every \X as X."""
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = text[1:-1]
    out, escaped = [], False
    for char in text:
        escaped = char == "\\" and not escaped
        if not escaped:
            out.append(char)
    return "".join(out)


def escape(value: str) -> str:
    r"""`value` such that it survives as one part of lowerdir=, or as any other value."""
    return "".join("\\" + char if char in '\\,:"' else char for char in value)


def is_known(word: str) -> bool:
    """Whether `word`, with or without a value, means something here (ignored words do)."""
    key = word.partition("=")[0]
    return word in _FLAGS or word in _WORDS or key in _VALUES or _is_ignored(word, key)


def _apply(fields: dict[str, object], word: str) -> None:
    key, equals, value = word.partition("=")
    if word in _FLAGS:
        _apply_flag(fields, *_FLAGS[word])
    elif word in _WORDS:
        fields.update(_WORDS[word])
    elif equals and key in _VALUES:
        name, read = _VALUES[key]
        found = read(value, key)
        fields[name] = (*_tuple(fields, name), *found) if key in _ADDING else found  # type: ignore[misc]
    elif not _is_ignored(word, key):
        fields["unknown"] = (*_tuple(fields, "unknown"), unescape(word))


def _apply_flag(fields: dict[str, object], bit: int, on: bool) -> None:
    for name, chosen in (("flags", on), ("cleared", not on)):
        before = fields.get(name, 0)
        assert isinstance(before, int)
        fields[name] = before | bit if chosen else before & ~bit


def _tuple(fields: dict[str, object], name: str) -> tuple[object, ...]:
    before = fields.get(name, ())
    assert isinstance(before, tuple)
    return before


def _is_ignored(word: str, key: str) -> bool:
    return word in _IGNORED or key + "=" in _IGNORED or key.startswith(("x-", "X-"))


def _path(value: str, key: str) -> str:
    if not (path := unescape(value)):
        raise SetupError(f"{key}= is empty", hint=f"write {key}=DIRECTORY")
    return path


def _paths(value: str, key: str) -> tuple[str, ...]:
    if value.startswith('"') and value.endswith('"') and len(value) > 1:
        value = value[1:-1]
    parts = split(value, ":")
    if "" in parts[1:-1]:
        raise SetupError(
            f"{key}={value}: data-only layers (::) cannot be mounted", hint="name layers, one : each"
        )
    return tuple(unescape(part) for part in parts if part) or (_path("", key),)


def _one_path(value: str, key: str) -> tuple[str, ...]:
    return (_path(value, key),)


def _text(value: str, key: str) -> str:
    return unescape(value)


def _context(value: str, key: str) -> tuple[str, ...]:
    return (f'{key}="{unescape(value)}"',)


def _number(value: str, key: str) -> int:
    if not (value.isascii() and value.isdigit()) or len(value) > 18:
        raise SetupError(f"{key}={value}: not a number", hint="it takes a whole number, 0 or more")
    return int(value)


def _id(value: str, key: str) -> int:
    if (number := _number(value, key)) >= 0xFFFFFFFF:
        raise SetupError(f"{key}={value}: no such id", hint="ids end at 4294967294")
    return number


def _seconds(value: str, key: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise SetupError(f"{key}={value}: not a time", hint="it takes seconds, 0 or more")
    return seconds


def _metacopy(value: str, key: str) -> int | None:
    words = {"on": None, "off": sys.maxsize}
    return words[value] if value in words else _number(value, key)


def _override(value: str, key: str) -> bytes:
    return OVERRIDE_NAMES[int(_choice("0", "1", "2")(value, key))]


def _choice(*choices: str) -> Callable[[str, str], str]:
    def read(value: str, key: str) -> str:
        if value not in choices:
            raise SetupError(f"{key}={value}: no such choice", hint=f"it takes {', '.join(choices)}")
        return value

    return read


def _switch(value: str, key: str) -> bool:
    return _choice("0", "1", "off", "on")(value, key) in ("1", "on")


def _off(value: str, key: str) -> bool:
    return not _switch(value, key)


_WORDS: dict[str, dict[str, object]] = {
    "private": {"private": True},
    "allow_other": {"allow_other": True},
    "noallow_other": {"allow_other": False},
    "default_permissions": {"default_permissions": True},
    "nodefault_permissions": {"default_permissions": False},
    "volatile": {"volatile": True},
    "userxattr": {"userxattr": True},
    "nouserxattr": {"userxattr": False},
    "squash_to_root": {"squash_to_root": True},
    "noxattrs": {"xattrs": False},
    "xattrs": {"xattrs": True},
    "noacl": {"acl": False},
    "acl": {"acl": True},
    "debug": {"debug": True},
}

_VALUES: dict[str, tuple[str, Callable[[str, str], object]]] = {
    "lowerdir": ("lowers", _paths),
    "lowerdir+": ("lowers", _one_path),  # since Linux 6.5: one layer a word, below those before it
    "upperdir": ("upper", _path),
    "workdir": ("work", _path),
    "fsname": ("fsname", _text),
    "subtype": ("subtype", _text),
    "context": ("contexts", _context),
    "fscontext": ("contexts", _context),
    "defcontext": ("contexts", _context),
    "rootcontext": ("contexts", _context),
    "uidmapping": ("uids", parse_ranges),
    "gidmapping": ("gids", parse_ranges),
    "squash_to_uid": ("squash_uid", _id),
    "squash_to_gid": ("squash_gid", _id),
    "xattr_permissions": ("override", _override),
    "noxattrs": ("xattrs", _off),
    "metacopy": ("metacopy_from", _metacopy),
    "wh_files": ("wh_files", _switch),
    "top": ("top", _choice("fuse", "overlay")),
    "driver": ("driver", _choice("kernel", "pyfuse3")),
    "io": ("io", _choice("auto", "cached", "passthrough")),
    "timeout": ("timeout", _seconds),
    "writeback": ("writeback", _switch),
    "poll": ("poll", _number),
    "readahead": ("readahead", _number),
    "max_read": ("max_read", _number),
    "log": ("log", _path),
    "zero_open": ("zero_open", _switch),
    "negative": ("negative", _switch),
    "readdirplus": ("readdirplus", _switch),
    "awake": ("awake", _switch),
    "threads": ("threads", _switch),
}
_ADDING = frozenset({"lowerdir+", "context", "fscontext", "defcontext", "rootcontext"})

# fmt: off
_IGNORED = frozenset({
    # mount(8) and fstab(5): not for the file system
    "defaults", "auto", "noauto", "user", "user=", "nouser", "users", "owner", "group", "nofail", "_netdev",
    "comment=", "silent", "loud", "mand", "nomand", "iversion", "noiversion", "uhelper=", "helper=",
    # fuse-overlayfs: always so here, or tuning of its own
    "fsync=", "threaded=", "fast_ino=", "fast_ino_check=", "static_nlink", "ino32_t", "plugins=",
    "xino=on", "xino=off", "xino=auto",
    # libfuse: always so here, or not needed
    "nonempty", "auto_unmount", "big_writes", "large_read", "kernel_cache", "auto_cache", "noauto_cache",
    "clone_fd", "max_write=", "max_background=", "max_idle_threads=", "max_threads=", "async_read",
    "splice_read", "splice_write", "splice_move", "no_splice_read", "no_splice_write", "no_splice_move",
    "drop_privileges",
    # kernel overlayfs: always so here, or no choice
    "redirect_dir=", "index=", "nfs_export=", "uuid=", "verity=",
})
# fmt: on
