"""The tree that the members of an archive make, and its packing into an index.

Later members win, hard links keep the inode that their target had when the link was read, whiteouts in OCI
form (image-spec, layer.md) become marks. What leaves the root is refused, and what would need a symbolic link
to be followed. Raises Damaged; the stream that feeds it adds the member and the offset.
"""

from __future__ import annotations

import stat

from unionfs.layers import index
from unionfs.layers.index import TAIL, Image
from unionfs.layers.tarheader import HARDLINK, SYMLINK_MAX, Damaged, Member, More
from unionfs.layers.tarpack import Dir, Packer
from unionfs.model import NAME_MAX
from unionfs.whiteout import FILE_PREFIX, OPAQUE_FILE

ENTRIES_MAX = (
    1 << 23
)  # 2 to 3 GiB of memory to build, which a hostile download of a few megabytes can ask for
BLOB_MAX = 1 << 29  # bytes of link targets and attributes: 64 for each of as many entries
_PARENTS_MAX = 1 << 16  # paths that are remembered; archives go through a tree folder by folder
META_PREFIX = b".wh..wh."  # AUFS's own files, and the opaque marker
_HIDDEN_XATTRS = (b"trusted.overlay.", b"user.overlay.")  # what a layer may not decide about the union

_ODD = frozenset((b"", b".", b".."))


class Tree:
    # INVARIANT: the inode N is the bytes N*TAIL.size … of _inodes; inode 0 is every whiteout
    # INVARIANT: _parents maps paths as archives write them to directories that are reachable from the root

    def __init__(self, limit: int = ENTRIES_MAX) -> None:
        self._inodes = bytearray(TAIL.pack(index.WHITEOUT, *(0,) * 9))
        self._blob = bytearray()
        self._xattrs_at: dict[bytes, int] = {}
        self._linked: set[int] = set()
        self._marked: dict[Dir, None] = {}  # directories with names that start with .wh.
        self._limit = limit
        self._names = 0
        self._root = Dir(self._implied_inode())
        self._parents: dict[bytes, Dir] = {b"": self._root}

    def add(self, member: Member) -> None:
        path = member.name
        if path[-1:] == b"/":
            path = path.rstrip(b"/")
        folder, _, name = path.rpartition(b"/")
        parent = self._parents.get(folder)
        if parent is None or name in _ODD:
            parent, name = self._place(member.name)
        if member.kind == stat.S_IFDIR:
            self._add_directory(parent, name, member)
        elif not name:
            raise Damaged("the root is not a directory")
        elif member.kind == HARDLINK:
            self._add_link(parent, name, member)
        else:
            self._attach(parent, name, self._inode(member))

    def _place(self, path: bytes) -> tuple[Dir, bytes]:
        """The directory of a path and the last name; an empty name when the path is the root."""
        parts = _parts(path)
        if not parts:
            if not path:
                raise Damaged("its name is empty")
            return self._root, b""
        node = self._root
        for part in parts[:-1]:
            child = node.children.get(part)
            if child is None:
                child = Dir(self._implied_inode())
                self._attach(node, part, child)
            elif not isinstance(child, Dir):
                raise Damaged(f"{part!r} on its path is not a directory in this archive")
            node = child
        folder = path.rstrip(b"/").rpartition(b"/")[0]
        if len(self._parents) > _PARENTS_MAX:
            self._parents = {b"": self._root}
        if len(folder) <= SYMLINK_MAX:  # what is longer is rare, and would take memory
            self._parents[folder] = node
        return node, parts[-1]

    def _attach(self, parent: Dir, name: bytes, child: int | Dir) -> None:
        if len(name) > NAME_MAX:
            raise Damaged(f"a name of {len(name)} bytes is longer than {NAME_MAX}")
        if name[:4] == FILE_PREFIX:
            if name[4:] in _ODD:
                raise Damaged("a whiteout of no name")
            self._marked[parent] = None
        if isinstance(parent.children.get(name), Dir):
            self._parents = {b"": self._root}  # some of them are no longer in the tree
        parent.children[name] = child
        self._names += 1
        if self._names > self._limit:
            raise Damaged(f"the archive has more than {self._limit} entries")

    def _add_directory(self, parent: Dir, name: bytes, member: Member) -> None:
        old = parent.children.get(name) if name else self._root
        inode = self._inode(member)
        if isinstance(old, Dir):  # its children stay, and it takes no more memory
            size = TAIL.size
            self._inodes[old.inode * size : (old.inode + 1) * size] = self._inodes[inode * size :]
            del self._inodes[inode * size :]
        else:
            self._attach(parent, name, Dir(inode))

    def _add_link(self, parent: Dir, name: bytes, member: Member) -> None:
        inode = self._target(member.link)
        if member.size:
            self._set_data(inode, member)
        self._linked.add(inode)
        self._attach(parent, name, inode)

    def _target(self, link: bytes) -> int:
        """The inode that a hard link means now."""
        node: int | Dir | None = self._root
        for part in _parts(link):
            node = node.children.get(part) if isinstance(node, Dir) else None
        if node is None:
            raise Damaged(f"it is a hard link to {link!r}, which is not in the archive before it")
        if isinstance(node, Dir):
            raise Damaged(f"it is a hard link to the directory {link!r}")
        return node

    def _implied_inode(self) -> int:
        """A directory that the archive does not describe: 0755, of root, of the epoch, unless a layer below does."""
        return self._append(TAIL.pack(index.IMPLIED, stat.S_IFDIR | 0o755, *(0,) * 8))

    def _append(self, record: bytes) -> int:
        number = len(self._inodes) // TAIL.size
        self._inodes += record
        return number

    def _inode(self, member: Member) -> int:
        _, _, kind, mode, uid, gid, size, mtime, mtimensec, link, rdev, data, more = member
        flags = xattrs = extra = 0
        if kind == stat.S_IFLNK:
            mode = 0o777  # Linux knows no other (symlink(7)); archives of other systems have some
        if kind != stat.S_IFREG:
            flags, size, data = self._special(kind, link, rdev)
        if more is not None:
            xattrs = self._xattrs(more.xattrs)
            extra = self._extra(member, more)
            flags |= index.TIMES if more.atime or more.ctime else 0
            flags |= index.SPARSE if more.extents is not None and kind == stat.S_IFREG else 0
        inodes = self._inodes
        number = len(inodes) // TAIL.size
        inodes += TAIL.pack(flags, kind | mode, size, mtime, mtimensec, uid, gid, data, xattrs, extra)
        return number

    def _special(self, kind: int, link: bytes, rdev: int) -> tuple[int, int, int]:
        """Flags, size and data of what is not a regular file."""
        if kind == stat.S_IFLNK:
            if not 0 < len(link) <= SYMLINK_MAX:
                raise Damaged(f"a symbolic link of {len(link)} bytes")
            return 0, len(link), self._store(link)
        if kind in (stat.S_IFCHR, stat.S_IFBLK):
            return index.DEVICE, 0, rdev
        return 0, 0, 0

    def _set_data(self, inode: int, member: Member) -> None:
        """A hard link that brings data of its own: they become the inode's."""
        at = inode * TAIL.size
        flags, mode, _, mtime, mtimensec, uid, gid, _, xattrs, extra = TAIL.unpack_from(self._inodes, at)
        if stat.S_IFMT(mode) != stat.S_IFREG:
            raise Damaged("it is a hard link with data to what is not a regular file")
        fields = (
            flags & ~index.SPARSE,
            mode,
            member.size,
            mtime,
            mtimensec,
            uid,
            gid,
            member.data,
            xattrs,
            extra,
        )
        TAIL.pack_into(self._inodes, at, *fields)

    def _xattrs(self, xattrs: dict[bytes, bytes]) -> int:
        """The reference of a set of extended attributes; equal sets are stored once."""
        shown = sorted(item for item in xattrs.items() if not item[0].startswith(_HIDDEN_XATTRS))
        if not shown:
            return 0
        record = b"".join(index.XATTR.pack(len(name), len(value)) + name + value for name, value in shown)
        record += index.XATTR.pack(0, 0)
        if record not in self._xattrs_at:
            self._xattrs_at[record] = self._refer(record)
        return self._xattrs_at[record]

    def _extra(self, member: Member, more: More) -> int:
        if more.extents is None and not more.atime and not more.ctime:
            return 0
        mtime = member.mtime, member.mtimensec
        extents = more.extents or ()
        record = index.EXTRA.pack(*(more.atime or mtime), *(more.ctime or mtime), len(extents))
        return self._refer(record + b"".join(index.EXTENT.pack(*extent) for extent in extents))

    def _refer(self, record: bytes) -> int:
        self._blob += bytes(-len(self._blob) % 8)
        return 1 + self._store(record) // 8

    def _store(self, record: bytes) -> int:
        """Where in the blob the record now is."""
        self._blob += record
        if len(self._blob) > BLOB_MAX:
            raise Damaged(f"the archive has more than {BLOB_MAX >> 20} MiB of link targets and attributes")
        return len(self._blob) - len(record)

    def pack(self) -> Image:
        """The index of the tree. The tree is used up."""
        for directory in self._marked:
            self._normalise(directory)
        return Packer(self._root, self._inodes, self._linked).pack(self._blob)

    def _normalise(self, directory: Dir) -> None:
        """Whiteouts lose their prefix and become marks; a real entry wins, a real directory turns opaque."""
        children = directory.children
        for raw in [name for name in children if name.startswith(FILE_PREFIX)]:
            del children[raw]
            if raw == OPAQUE_FILE:
                self._inodes[directory.inode * TAIL.size] |= index.OPAQUE
            elif not raw.startswith(META_PREFIX):
                hidden = children.setdefault(raw[4:], 0)
                if isinstance(hidden, Dir):
                    self._inodes[hidden.inode * TAIL.size] |= index.OPAQUE


def _parts(path: bytes) -> list[bytes]:
    parts = [part for part in path.split(b"/") if part not in (b"", b".")]
    if b".." in parts:
        raise Damaged(f"{path!r} leaves the root of the archive")
    return parts
