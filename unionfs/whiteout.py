"""The on-disk formats of deletions and moves: the kernel's overlayfs's (overlayfs.rst), and files that say so.

Constants and pure readings only; `layers/directory.py` and `upper.py` do the system calls.
"""

from __future__ import annotations

import os
import stat

WHITEOUT_DEV = 0  # a character device 0:0

FILE_PREFIX = b".wh."
"""A file `.wh.NAME` deletes NAME, in the form of AUFS and OCI (image-spec, layer.md)."""
OPAQUE_FILE = b".wh..wh..opq"
"""In a directory: that it is opaque."""


class Names:
    """The overlay's own attribute names in one of its two namespaces: trusted.overlay. or user.overlay."""

    __slots__ = ("escape", "metacopy", "opaque", "origin_ino", "prefix", "redirect", "whiteout")

    def __init__(self, userxattr: bool) -> None:
        self.prefix = b"user.overlay." if userxattr else b"trusted.overlay."
        self.escape = self.prefix + b"overlay."
        self.opaque = self.prefix + b"opaque"
        self.redirect = self.prefix + b"redirect"
        self.metacopy = self.prefix + b"metacopy"
        self.whiteout = self.prefix + b"whiteout"
        # Ours: the inode number that a copied-up file had below. The kernel keeps a file handle instead
        # ("origin"), which a tar layer has none of; it passes over names that it does not know.
        self.origin_ino = self.prefix + b"ino"

    def to_disk(self, key: bytes) -> bytes:
        """The name under which an attribute of the view is kept; ours are escaped, as the kernel does since 6.7."""
        return self.escape + key[len(self.prefix) :] if key.startswith(self.prefix) else key

    def to_view(self, key: bytes) -> bytes | None:
        """The name that the view shows for an attribute on disk; None for one that it hides."""
        if key.startswith(self.escape):
            return self.prefix + key[len(self.escape) :]
        return None if key.startswith(self.prefix) else key


TRUSTED = Names(userxattr=False)
USER = Names(userxattr=True)

OPAQUE = b"y"
OPAQUE_MAY_HAVE_XATTR_WHITEOUTS = b"x"


def is_whiteout(st: os.stat_result) -> bool:
    return stat.S_ISCHR(st.st_mode) and st.st_rdev == WHITEOUT_DEV


def may_be_metacopy(st: os.stat_result) -> bool:
    """Whether it is worth asking for the attribute. Blocks tell nothing: attributes may take some too."""
    return stat.S_ISREG(st.st_mode) and st.st_size > 0


def redirect_names(value: bytes) -> tuple[bool, tuple[bytes, ...]] | None:
    """(absolute, names) of a redirect attribute; None if no kernel would have written it."""
    absolute = value.startswith(b"/")
    names = tuple(value[1:].split(b"/") if absolute else (value,))
    if any(n in (b"", b".", b"..") or len(n) > 255 or b"/" in n or b"\0" in n for n in names):
        return None
    return absolute, names
