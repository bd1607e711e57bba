"""The facts that all parts of unionfs exchange: frozen values, no behaviour, no I/O.

Names are bytes, times are whole seconds plus nanoseconds, device numbers are those of `os.makedev`.
"""

from __future__ import annotations

import stat as _stat

from unionfs.annotations import TYPE_CHECKING
from unionfs.namedtuple import NamedTuple

if TYPE_CHECKING:
    from unionfs.idmap import IdMap

ROOT_ID = 1
"""Node id, and inode number, of the root of every union (FUSE_ROOT_ID in include/uapi/linux/fuse.h)."""

NAME_MAX = 255

# Flags of mount(2), include/uapi/linux/mount.h
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_NOATIME, MS_NODIRATIME, MS_RELATIME, MS_STRICTATIME = 1 << 10, 1 << 11, 1 << 21, 1 << 24


class Attr(NamedTuple):
    """What stat(2) tells of an inode, in the field order of `struct fuse_attr`, so that it packs as it is.

    `ino` also is the node id by which the drivers name the inode: unique while the inode lives,
    the same through copy-up and remount.
    """

    ino: int
    size: int
    blocks: int  # of 512 bytes
    atime: int
    mtime: int
    ctime: int
    atimensec: int
    mtimensec: int
    ctimensec: int
    mode: int  # type and permissions
    nlink: int
    uid: int
    gid: int
    rdev: int
    blksize: int
    flags: int = 0  # always 0 here: FUSE_ATTR_SUBMOUNT and FUSE_ATTR_DAX do not apply


def is_dir(mode: int) -> bool:
    return _stat.S_IFMT(mode) == _stat.S_IFDIR


class Mark:
    """What a layer says of a name beyond its attributes (overlayfs.rst; OCI image-spec, layer.md).

    Bits of an int: an IntFlag's operators take longer than the system calls around them.
    """

    NONE = 0
    WHITEOUT = 1  # the name is deleted here and below; attributes mean nothing
    OPAQUE = 2  # a directory that hides every directory below it
    METACOPY = 4  # a file whose data are in a layer below, found by `redirect` or by its own name
    IMPLIED = (
        64  # a directory that the layer only has paths through: its attributes are those of the layers below
    )
    REDIRECT = 8  # the name continues elsewhere in the layers below: see `Entry.redirect`


class Caller(NamedTuple):
    """Who asks: ids as seen in the mount, the umask of the process for requests that create."""

    uid: int
    gid: int
    pid: int = 0
    umask: int = 0


class Change(NamedTuple):
    """A SETATTR: None leaves a field as it is. Times are (seconds, nanoseconds); NOW is the server's clock."""

    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    size: int | None = None
    atime: tuple[int, int] | None = None
    mtime: tuple[int, int] | None = None
    ctime: tuple[int, int] | None = None  # sent by a writeback cache; no file system lets it be set
    kill_suidgid: bool = (
        False  # clear setuid, and setgid where group-execute is set (FUSE_HANDLE_KILLPRIV_V2)
    )


NOW: tuple[int, int] = (-1, (1 << 30) - 1)  # UTIME_NOW of utimensat(2) in the nanosecond field


class Dirent(NamedTuple):
    """One row of a merged listing. `cookie` resumes after this row and stays valid while the mount lives."""

    cookie: int
    name: bytes
    ino: int
    mode: int  # at least the type bits


class Policy(NamedTuple):
    """How the union treats its top layer and what it shows; everything a mount option can change below FUSE."""

    userxattr: bool = False  # user.overlay.* instead of trusted.overlay.*, for servers without CAP_SYS_ADMIN
    volatile: bool = False  # no fsync ever
    metacopy_from: int = (
        1 << 20
    )  # bytes; a metadata change copies smaller files up whole, larger ones without data
    xattrs: bool = True  # False: no extended attributes are shown or stored
    acl: bool = True  # POSIX ACLs are shown and stored
    ids: IdMap | None = None  # owners on disk <-> owners in the view; None: the same
    override: bytes = b""  # the xattr that keeps owner and mode where the server may not chown; b"": none
    wh_files: bool = True  # `.wh.NAME` in a directory layer deletes NAME, as in a tar
    changing: bool = False  # layers may change behind the mount: nothing of them is held on to
    covered: bool = (
        False  # an overlayfs is mounted on the view, for which its own xattrs have to stay escaped
    )
