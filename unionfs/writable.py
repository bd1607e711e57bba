"""Writable: what every change of the union stands on. Copying up, and taking names away.

All changes go to the top layer. What a change needs there first (its directory, the inode itself) is copied up
by the change, unless a driver did it before through `copy_up_job` to keep the slow part off its loop.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress

from unionfs import links, sysfd, whiteout
from unionfs.copyup import CopyUp
from unionfs.errors import UnionError
from unionfs.layers.base import Source
from unionfs.layers.directory import DirLayer
from unionfs.merge import Spot, search
from unionfs.model import Attr
from unionfs.node import Node
from unionfs.rows import Rows
from unionfs.upper import Upper

REDIRECT_MAX = 1024
"""Bytes of a file's redirect: a file system may have one block for all attributes of a file (ext4)."""


class Writable(Rows):
    """A view with a top layer, or one that says EROFS."""

    @property
    def top(self) -> Upper:
        if self.upper is None:
            raise UnionError(errno.EROFS)
        return self.upper

    # -- copy-up

    def copy_up_job(self, ino: int, *, data: bool = True, size: int | None = None) -> CopyUp | None:
        """What must be done before an inode may change; None if nothing.

        `data`: its bytes are going to change too. `size`: only that many of them are still needed.
        """
        node = self.nodes[ino]
        if node.upper and node.data is None:
            return None
        return self._job(node, data=data, size=size)

    def copy_up(self, node: Node, *, data: bool = True, size: int | None = None) -> bool:
        """Copies up at once; True if that has given the file the size asked for."""
        job = self._job(node, data=data, size=size)
        if job is None:
            return False
        job.fill()
        job.publish()
        return job.truncates

    def _job(self, node: Node, *, data: bool, size: int | None) -> CopyUp | None:
        top = self.top
        if node.is_dir:
            self.ensure_upper(node)
            return None
        if node.upper and (node.data is None or not data):
            return None
        if not data and node.is_reg:
            data = not self._does_without_data(node)
            if not data and top.policy.userxattr:
                self.links.mark(links.THIN)
        self.nodes.adopt(node)
        return CopyUp(self, node, data=data, size=size)

    def _does_without_data(self, node: Node) -> bool:
        """Whether a file whose bytes are in a layer is large enough to leave them there, and has one name there."""
        attr = self.attr(node)
        return (
            self.top.keeps_marks
            and node.parent is not None
            and attr.size >= self.top.policy.metacopy_from
            and (node.upper or attr.nlink == 1)
        )

    # -- other names

    def moves_whole(self, ino: int) -> bool:
        """Whether a file takes its bytes from the layers along when it gets another name."""
        node = self.nodes[ino]
        return node.is_reg and node.data is not None and self._redirect_to_data(node) is None

    def bring_up(self, node: Node) -> None:
        """Copies up what is no directory and is to have another name, without any change to the view.

        The bytes of a large file stay where they are, with a redirect to them.
        """
        redirect = self._redirect_to_data(node)
        self.copy_up(node, data=redirect is None)
        if redirect is None:
            return
        fd, name = self.top.at(node)
        try:
            self.top.setxattr(fd, name, self.top.names.redirect, redirect)
        except OSError:  # no room for one more attribute
            self.copy_up(node)

    def _redirect_to_data(self, node: Node) -> bytes | None:
        """The path from the layers' root that leads to the bytes of a large file."""
        if not node.is_reg or node.data is None or not self._does_without_data(node):
            return None
        redirect = self._redirect(node, (node.data,))
        return redirect if redirect is not None and len(redirect) <= REDIRECT_MAX else None

    def _redirect(self, node: Node, spots: tuple[Spot, ...]) -> bytes | None:
        """An absolute redirect that leads to the entries of the layers that a node stands for, or None."""
        number, handle = spots[0]
        wanted = self._paths(spots)
        for path in (self.layers[number].path(handle), self._path_below(node)):
            found = search(self.layers, self._roots(), path)
            if found is None:
                continue
            if self._paths(found.dirs or ((found.data,) if found.data else ())) == wanted:
                return b"/" + b"/".join(path)
        return None

    def _path_below(self, node: Node) -> tuple[bytes, ...]:
        """Where the layers alone show what a node stands for: its path before it, or a directory above it, moved."""
        found: tuple[bytes, ...] = ()
        at = node
        while at.parent is not None:
            redirect = self.top.getxattr(*self.top.at(at), self.top.names.redirect) if at.upper else None
            absolute, names = (redirect and whiteout.redirect_names(redirect)) or (False, (at.name,))
            found = names + found
            if absolute:
                break
            at = at.parent
        return found

    def _paths(self, spots: tuple[Spot, ...]) -> list[tuple[int, tuple[bytes, ...]]]:
        return [(number, self.layers[number].path(handle)) for number, handle in spots]

    # -- directories

    def ensure_upper(self, node: Node) -> None:
        """Gives a directory, and those above it, a twin in the top layer."""
        chain = [node]
        while not chain[-1].upper:
            above = chain[-1].parent
            if above is None:
                raise UnionError(errno.ENOENT, "the directory is gone")
            chain.append(above)
        for directory in reversed(chain[:-1]):
            self._copy_up_dir(directory)

    def _copy_up_dir(self, node: Node) -> None:
        top, temp = self.top, self.top.temp()
        assert node.parent is not None
        os.mkdir(temp, 0o700, dir_fd=top.work)
        try:
            top.copy_metadata(temp, self.attr(node), self.lower_xattrs(node))
            real = sysfd.lstat(top.work, temp).st_ino
            with top.same_times(node.parent) as fd:
                top.place_dir(temp, fd, node.name)
        except BaseException:
            top.discard(temp)
            raise
        self.nodes.settle(node, real)

    def origin(self, node: Node) -> bytes:
        """What a copied-up inode keeps of where it came from: the layers' fingerprint and its number."""
        return self._fingerprint + node.ino.to_bytes(8, "little")

    def linked_names(self, node: Node) -> list[tuple[Node, bytes]]:
        """Every name under which the twin of a lower inode has to appear."""
        if node.lower is None:
            return []
        number, handle = node.lower
        if self.layers[number].entry(handle).attr.nlink == 1:
            return node.names()[:1]
        names = self.links.visible(node.lower)
        return [at for at in node.names() if at not in names] + names

    def open_source(self, node: Node) -> Source:
        """The bytes of a regular file that are in a read-only layer; for the caller to close."""
        if node.data is None:
            raise UnionError(errno.EIO, "the file has no data in any layer")
        number, handle = node.data
        return self.layers[number].source(handle)

    def refresh(self) -> list[tuple[int, bytes]]:
        """Looks afresh at what was changed behind the mount, in directory layers or in the top layer.

        Returns (parent, name) of every name the kernel may hold, and (inode, b"") of every inode it may hold.
        """
        for layer in self.layers:
            if isinstance(layer, DirLayer):
                layer.drop_descriptors()
        self.nodes.sweep()
        known: list[tuple[int, bytes]] = []
        for node in sorted(self.nodes.values(), key=_depth):  # parents first
            with suppress(OSError):  # whoever asks for it will be told
                self.look_again(node)
            node.listing = node.births = None
            node.bare = False
            known += [(parent.ino, name) for parent, name in node.names()]
            known.append((node.ino, b""))
        return known

    # -- names that go

    def _before_departure(self, node: Node, attr: Attr) -> None:
        """Holds on to an inode that the kernel may still use after its last known name is gone."""
        if node.upper:
            if len(node.names()) <= 1 and self.nodes.known(node.ino):
                self.top.keep(node)
        elif attr.nlink > 1 and not node.is_dir:
            self.links.mark(links.LOST)

    def _departed(self, directory: Node, name: bytes, node: Node, attr: Attr) -> None:
        """Takes a name from a node, which lives on without one while the kernel knows it."""
        if node.passing:
            if not self.nodes.known(node.ino):
                return
            self.nodes.adopt(node)
        if not node.upper:
            if node.is_dir:
                node.snapshot = attr._replace(nlink=0)
            node.unlinked += 1
        if node.is_dir:
            self.nodes.merge_anew(node, ())
            node.listing = None
        self.nodes.drop_name(node, directory, name)
        self.nodes.release(node)


def _depth(node: Node) -> int:
    depth = 0
    while node.parent is not None:
        node = node.parent
        depth += 1
    return depth
