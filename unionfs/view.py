"""View: the union as it reads. Names, attributes, links and extended attributes.

Owns the node table. Knows no FUSE, never waits for anything but the system calls it makes, and is used by
one thread only. rows.py adds the listings, tree.py the changes.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Hashable, Sequence

from unionfs import sysfd, whiteout
from unionfs.blake2 import blake2b
from unionfs.errors import UnionError
from unionfs.layers.base import SHIFT, Layer
from unionfs.layers.directory import DirLayer
from unionfs.layers.tarball import TarLayer
from unionfs.links import Links
from unionfs.merge import Found, Spot, search
from unionfs.model import NAME_MAX, ROOT_ID, Attr, Mark, Policy
from unionfs.node import PRIVATE, Node, NodeTable
from unionfs.upper import Upper

ACLS = (b"system.posix_acl_access", b"system.posix_acl_default")


class View:
    """The merged view of `layers` (top first) under an optional top layer."""

    def __init__(self, layers: Sequence[Layer], upper: Upper | None, policy: Policy = Policy()) -> None:  # noqa: B008
        self.layers = list(layers)
        self.upper = upper
        self.policy = policy
        self._checks_xattrs = not (policy.xattrs and policy.acl) or bool(policy.override)
        self.nodes = NodeTable(self.layers, self._make_root(), self._let_go)
        self._fingerprint = self._identify()
        self._disk_dev = os.fstat(upper.root_fd).st_dev if upper else 0
        self._odd_inos: dict[Hashable, int] = {}
        self.links = Links(self)

    def _make_root(self) -> Node:
        root = Node(ROOT_ID, stat.S_IFDIR)
        root.lookups = 1
        if self.upper is not None:
            root.upper, root.fd = True, self.upper.root_fd
        dirs: list[Spot] = []
        for number, layer in enumerate(self.layers):
            dirs.append((number, layer.root.handle))
            mark = layer.marks(layer.root).mark
            if root.lower is None and not mark & Mark.IMPLIED:
                root.lower = dirs[-1]
            if mark & Mark.OPAQUE:
                break
        root.dirs = tuple(dirs)
        return root

    def _identify(self) -> bytes:
        """Eight bytes by which a top layer knows that the inode numbers kept in it are of these layers."""
        digest = blake2b(digest_size=8)
        for layer in self.layers:
            digest.update(layer.identity.ljust(32, b"\0"))
        return digest.digest()

    def close(self) -> None:
        for node in self.nodes.values():
            if node is not self.nodes.root:  # whose descriptor is the top layer's own
                self._let_go(node)
        for layer in self.layers:
            layer.close()
        if self.upper is not None:
            self.upper.close()

    def _let_go(self, node: Node) -> None:
        if node.fd >= 0 and self.upper is not None:
            self.upper.release(node)

    # -- names

    def lookup(self, parent: int, name: bytes) -> Attr:
        """Attributes of what is under a name, with one lookup counted."""
        attr = self.seek(parent, name)
        if attr is None:
            raise UnionError(errno.ENOENT)
        return attr

    def seek(self, parent: int, name: bytes) -> Attr | None:
        """`lookup`, or None where there is nothing: to raise takes longer than to look."""
        found = self.look(self.nodes[parent], name)
        if found is None:
            return None
        attr = found[1]
        self.nodes.remember(attr.ino)
        if self.nodes.idle:
            self.nodes.sweep()
        return attr if self.policy.ids is None else self.shown(attr)

    def remember(self, *inos: int) -> None:
        """Counts a lookup of each inode that a listing has told of."""
        self.nodes.remember(*inos)
        if self.nodes.idle:
            self.nodes.sweep()

    def forget(self, ino: int, n: int) -> None:
        self.nodes.forget(ino, n)

    def resolve(self, parent: Node, name: bytes) -> tuple[Node, Attr]:
        """The node under a name, and its attributes. It may be a passing one, or one that only idles."""
        found = self.look(parent, name)
        if found is None:
            raise UnionError(errno.ENOENT)
        return found

    def look(self, parent: Node, name: bytes) -> tuple[Node, Attr] | None:
        """`resolve`, or None where there is nothing."""
        if parent.fmt != stat.S_IFDIR:
            raise UnionError(errno.ENOTDIR)
        if len(name) > NAME_MAX:
            raise UnionError(errno.ENAMETOOLONG)
        if parent.upper and self.upper is not None:
            if self._is_free(parent, name):
                return None
            fd = self.upper.dir_fd(parent)
            st = sysfd.lstat_or_none(fd, name)
            if st is not None:
                return self._upper_child(parent, fd, name, st)
        if not parent.dirs:
            return None
        found = search(self.layers, parent.dirs, (name,))
        return self._lower_child(parent, name, found) if found is not None else None

    def _is_free(self, parent: Node, name: bytes) -> bool:
        """Whether a directory of the top layer alone is known not to have a name, without a look at the disk."""
        listing = parent.listing
        return listing is not None and not parent.dirs and not self.policy.changing and name not in listing

    def child(self, parent: int, name: bytes) -> int:
        """The id of what is under a name, 0 if nothing is; counts no lookup."""
        node = self.find(self.nodes[parent], name)
        return node.ino if node is not None else 0

    def find(self, parent: Node, name: bytes) -> Node | None:
        """The node under a name, or None."""
        found = self.look(parent, name)
        return found[0] if found is not None else None

    def in_lower(self, parent: Node, name: bytes) -> bool:
        """Whether the read-only layers have something under a name: if so, its removal leaves a whiteout."""
        return bool(parent.dirs) and search(self.layers, parent.dirs, (name,)) is not None

    def _upper_child(
        self, parent: Node, fd: int, name: bytes, st: os.stat_result
    ) -> tuple[Node, Attr] | None:
        assert self.upper is not None
        node = self.nodes.real.get(st.st_ino)
        if node is not None and st.st_dev == self._disk_dev and node.has_name(parent, name):
            if self.policy.changing:
                self.look_again(node)
            return node, self._merged(node, self.upper.attr(fd, name, st, node.ino))
        if self.upper.is_whiteout(fd, name, st):
            return None
        directory = stat.S_ISDIR(st.st_mode)
        found = self._below(parent, fd, name, st)
        ino = self._upper_ino(fd, name, st, found)
        node = self.nodes.get(ino)
        if node is not None and (
            node.real != st.st_ino or not node.upper or directory > node.has_name(parent, name)
        ):
            ino = self._disk_ino(st)  # somebody has copied the top layer's entries about behind our back
            node = self.nodes.get(ino)
        if node is None:
            node = Node(ino, stat.S_IFMT(st.st_mode))
            self.nodes.settle(node, st.st_ino)
            if found is not None:
                node.dirs, node.data = found.dirs, found.data
            attr = self.upper.attr(fd, name, st, ino)
            node.fmt = stat.S_IFMT(attr.mode)
            self.nodes.add(node, parent, name)
        else:
            self.nodes.add_name(node, parent, name)
            attr = self.upper.attr(fd, name, st, ino)
        return node, self._merged(node, attr)

    def _below(self, parent: Node, fd: int, name: bytes, st: os.stat_result) -> Found | None:
        """What the read-only layers add to an upper entry: directories to merge, or the data of a metacopy."""
        directory = stat.S_ISDIR(st.st_mode)
        if not self.layers or not (directory or whiteout.may_be_metacopy(st)):
            return None
        assert self.upper is not None
        mark, redirect = self.upper.marks(fd, name, is_dir=directory)
        if mark & Mark.OPAQUE or (not directory and not mark & Mark.METACOPY):
            return None
        spots: Sequence[Spot] = parent.dirs
        names: tuple[bytes, ...] = (name,)
        if mark & Mark.REDIRECT:
            parsed = whiteout.redirect_names(redirect)
            assert parsed is not None
            absolute, names = parsed
            spots = self._roots() if absolute else parent.dirs
        found = search(self.layers, spots, names)
        if directory:
            return found if found is not None and found.dirs else None
        if found is None or found.data is None:
            raise UnionError(errno.EIO, f"no layer has the data of {name!r}")
        return found

    def _roots(self) -> list[Spot]:
        return [(number, layer.root.handle) for number, layer in enumerate(self.layers)]

    def _upper_ino(self, fd: int, name: bytes, st: os.stat_result, found: Found | None) -> int:
        assert self.upper is not None
        if stat.S_ISDIR(st.st_mode):
            return found.top.attr.ino if found is not None else self._disk_ino(st)
        if self.layers and (stat.S_ISREG(st.st_mode) or not self.policy.userxattr):
            kept = self.upper.getxattr(fd, name, self.upper.names.origin_ino)
            if kept is not None and len(kept) == 16 and kept[:8] == self._fingerprint:
                return int.from_bytes(kept[8:], "little")
        return self._disk_ino(st)

    def _disk_ino(self, st: os.stat_result) -> int:
        """The id of an inode by its number in the top layer."""
        if st.st_dev == self._disk_dev and ROOT_ID < st.st_ino < 1 << SHIFT:
            return st.st_ino
        return self._odd_ino((st.st_dev, st.st_ino))

    def _odd_ino(self, key: Hashable) -> int:
        """An id, for as long as the mount lives, for what has no number that could serve as one."""
        if key not in self._odd_inos:
            self._odd_inos[key] = PRIVATE + len(self._odd_inos)
        return self._odd_inos[key]

    def _lower_child(self, parent: Node, name: bytes, found: Found) -> tuple[Node, Attr]:
        number, (_, attr, handle, _, _), dirs, data = found
        ino, fmt = attr.ino, attr.mode & 0o170000
        directory = fmt == stat.S_IFDIR
        node = self.nodes.get(ino)
        if node is not None and (node.upper or (directory and not node.has_name(parent, name))):
            # Its number went with a copy that has this name no more (a copy-up by the kernel, or a crash
            # between the links of one), or two redirects lead to it.
            ino = self._odd_ino((ino, parent.ino, name))
            node = self.nodes.get(ino)
        if node is None:
            node = Node(ino, fmt)
            node.dirs, node.data, node.lower = dirs, data, (number, handle)
            if not directory and attr.nlink == 1 and self.nodes.tars[number] is not None and ino < PRIVATE:
                node.parent, node.name, node.passing = parent, name, True
            else:
                self.nodes.add(node, parent, name)
                if attr.nlink > 1 and not directory:
                    node.unlinked = self.links.hidden(node, attr)
        elif not directory:
            self.nodes.add_name(node, parent, name)
        elif self.policy.changing:
            self.nodes.merge_anew(node, dirs)
        return node, self._lower_attr(node, attr)

    def look_again(self, node: Node) -> None:
        """Finds out which read-only directories merge in a known directory now."""
        if not node.is_dir or node.parent is None:
            return
        if node.upper and self.upper is not None:
            fd = self.upper.dir_fd(node.parent)
            st = sysfd.lstat_or_none(fd, node.name)
            found = self._below(node.parent, fd, node.name, st) if st and stat.S_ISDIR(st.st_mode) else None
            self.nodes.merge_anew(node, found.dirs if found is not None else ())
        else:
            found = search(self.layers, node.parent.dirs, (node.name,))
            if found is not None and found.dirs:  # else it is gone, and whoever is in it sees what there was
                self.nodes.merge_anew(node, found.dirs)

    # -- attributes

    def getattr(self, ino: int) -> Attr:
        attr = self.attr(self.nodes[ino])
        return attr if self.policy.ids is None else self.shown(attr)

    def attr(self, node: Node) -> Attr:
        """A node's attributes; owner ids as on disk."""
        if node.upper:
            assert self.upper is not None
            if node.fd >= 0:
                fd, name = node.fd, b""
                st = os.fstat(fd)
            else:
                fd, name = self.upper.at(node)
                st = os.stat(name, dir_fd=fd, follow_symlinks=False)
            attr = self.upper.attr(fd, name, st, node.ino)
            return self._merged(node, attr) if node.dirs or node.data is not None else attr
        if node.snapshot is not None:
            return node.snapshot
        number, handle = node.lower if node.lower is not None else node.dirs[0]
        return self._lower_attr(node, self.layers[number].attr(handle))

    def _lower_attr(self, node: Node, attr: Attr) -> Attr:
        if node.unlinked or node.ino != attr.ino:
            attr = attr._replace(ino=node.ino, nlink=max(0, attr.nlink - node.unlinked))
        return self._merged(node, attr) if node.dirs else attr

    @staticmethod
    def _merged(node: Node, attr: Attr) -> Attr:
        """A directory of several layers has one link, as in overlayfs: nobody counts its subdirectories."""
        if node.dirs and (node.upper or len(node.dirs) > 1):
            return attr._replace(nlink=1)
        if node.upper and node.data is not None:
            return attr._replace(blocks=(attr.size + 511) // 512)
        return attr

    def shown(self, attr: Attr) -> Attr:
        """Owner ids as the mount shows them."""
        if self.policy.ids is None:
            return attr
        uid, gid = self.policy.ids.to_view(attr.uid, attr.gid)
        return attr._replace(uid=uid, gid=gid)

    def statvfs(self) -> os.statvfs_result:
        if self.upper is not None:
            return os.fstatvfs(self.upper.root_fd)
        for layer in self.layers:
            if isinstance(layer, DirLayer | TarLayer):
                return os.fstatvfs(layer.fileno())
        raise UnionError(errno.ENOSYS)

    def readlink(self, ino: int) -> bytes:
        node = self.nodes[ino]
        if node.upper:
            assert self.upper is not None
            fd, name = self.upper.at(node)
            return os.fsencode(os.readlink(name, dir_fd=fd))
        if node.lower is None or node.fmt != stat.S_IFLNK:
            raise UnionError(errno.EINVAL)
        number, handle = node.lower
        return self.layers[number].readlink(handle)

    # -- extended attributes

    def getxattr(self, ino: int, name: bytes) -> bytes:
        value = self.find_xattr(ino, name)
        if value is None:
            raise UnionError(errno.ENODATA)
        return value

    def find_xattr(self, ino: int, name: bytes) -> bytes | None:
        """The value of an attribute, or None if there is none."""
        if self._checks_xattrs:
            self.check_xattr(name)
        node = self.nodes[ino]
        if node.bare:
            return None
        if node.upper:
            assert self.upper is not None
            fd, at = self.upper.at(node)
            return sysfd.getxattr(fd, at, self.upper.names.to_disk(name))
        return self.lower_xattrs(node).get(name)

    def listxattr(self, ino: int) -> list[bytes]:
        if not self.policy.xattrs:
            return []
        node = self.nodes[ino]
        if node.bare:
            return []
        if node.upper:
            assert self.upper is not None
            names = self.upper.xattr_names(node)
        else:
            names = list(self.lower_xattrs(node))
        return [
            name for name in names if name != self.policy.override and (self.policy.acl or name not in ACLS)
        ]

    def check_xattr(self, name: bytes) -> None:
        """Refuses the attributes that this mount does not have."""
        if not self.policy.xattrs or (name in ACLS and not self.policy.acl):
            raise UnionError(errno.EOPNOTSUPP)
        if name == self.policy.override and name:
            raise UnionError(errno.ENODATA)

    def lower_xattrs(self, node: Node) -> dict[bytes, bytes]:
        """All attributes of a node that is not in the top layer."""
        spot = node.lower if node.lower is not None else (node.dirs[0] if node.dirs else None)
        found = self.layers[spot[0]].xattrs(spot[1]) if spot is not None else {}
        node.bare = not found and not self.policy.changing
        if self.policy.covered:
            names = whiteout.Names(self.policy.userxattr)
            return {names.to_disk(name): value for name, value in found.items()}
        return found
