"""Rename: of anything to anywhere, with redirects for directories whose contents are in other layers."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress

from unionfs import links, sysfd, whiteout
from unionfs.errors import UnionError
from unionfs.model import NAME_MAX
from unionfs.node import Node
from unionfs.writable import Writable


class Renaming(Writable):
    """Adds renameat2(2). What the view shows changes by one system call; all before it leaves the view as it is."""

    def rename(self, parent: int, name: bytes, newparent: int, newname: bytes, flags: int = 0) -> None:
        if flags & ~7 or (flags & sysfd.RENAME_EXCHANGE and flags != sysfd.RENAME_EXCHANGE):
            raise UnionError(errno.EINVAL)
        _ = self.top
        old, new = self.nodes[parent], self.nodes[newparent]
        if len(newname) > NAME_MAX:
            raise UnionError(errno.ENAMETOOLONG)
        node = self.resolve(old, name)[0]
        target = self.find(new, newname)
        if flags & sysfd.RENAME_NOREPLACE and target is not None:
            raise UnionError(errno.EEXIST)
        if target is not None and target.ino == node.ino:
            return
        self._refuse_loop(node, new)
        if flags & sysfd.RENAME_EXCHANGE:
            if target is None:
                raise UnionError(errno.ENOENT)
            self._refuse_loop(target, old)
            self._exchange(old, name, node, new, newname, target)
            self.links.moved()
            return
        if target is not None:
            self._refuse_replacement(node, target)
        self._move(old, name, node, new, newname, target, bool(flags & sysfd.RENAME_WHITEOUT))
        self.links.moved()

    def moved_files(
        self, parent: int, name: bytes, newparent: int, newname: bytes, flags: int = 0
    ) -> list[int]:
        """The files whose bytes a rename copies up, unless a driver did it before."""
        places = [(parent, name)] + [(newparent, newname)] * (flags == sysfd.RENAME_EXCHANGE)
        found = [self.find(self.nodes[directory], last) for directory, last in places]
        below = [node for node in found if node and node.is_reg and (not node.upper or node.data)]
        if below and self.find(self.nodes[newparent], newname) is found[0]:  # two names of one file stay
            return []
        return [node.ino for node in below if self.nodes.known(node.ino) and self.moves_whole(node.ino)]

    @staticmethod
    def _refuse_loop(node: Node, directory: Node) -> None:
        at: Node | None = directory
        while at is not None:
            if at is node:
                raise UnionError(errno.EINVAL, "a directory cannot move into itself")
            at = at.parent

    def _refuse_replacement(self, node: Node, target: Node) -> None:
        if node.is_dir and not target.is_dir:
            raise UnionError(errno.ENOTDIR)
        if target.is_dir and not node.is_dir:
            raise UnionError(errno.EISDIR)
        if target.is_dir and not self.is_empty(target):
            raise UnionError(errno.ENOTEMPTY)

    def _exchange(self, old: Node, name: bytes, node: Node, new: Node, newname: bytes, target: Node) -> None:
        self._make_movable(node, hides=self.in_lower(new, newname))
        self._make_movable(target, hides=self.in_lower(old, name))
        olddir, newdir = self.top.dir_fd(old), self.top.dir_fd(new)
        sysfd.rename(olddir, name, newdir, newname, sysfd.RENAME_EXCHANGE)
        for moved, frm, was, to, now in ((node, old, name, new, newname), (target, new, newname, old, name)):
            self.nodes.add_name(moved, to, now)
            self.nodes.drop_name(moved, frm, was)

    def _move(
        self, old: Node, name: bytes, node: Node, new: Node, newname: bytes, target: Node | None, leave: bool
    ) -> None:
        leave = leave or self.in_lower(old, name)
        self.ensure_upper(new)
        self._make_movable(node, hides=self.in_lower(new, newname))
        attr = self.attr(target) if target is not None else None
        if target is not None and attr is not None:
            self._before_departure(target, attr)
        looks_empty = target is not None and target.is_dir and target.upper
        with self._emptied(new, newname) if looks_empty else nullcontext():
            self._rename_on_disk(old, name, node, new, newname, leave, target is not None)
        if target is not None and attr is not None:
            self._departed(new, newname, target, attr)
        self.nodes.add_name(node, new, newname)
        self.nodes.drop_name(node, old, name)
        if old.listing is not None:
            old.listing.discard(name)
        if new.listing is not None:
            new.listing.add(newname)

    def _make_movable(self, node: Node, *, hides: bool) -> None:
        """Prepares an entry for another name, without any change to the view.

        A file needs its bytes, or a redirect to them; a merged directory a redirect to where the rest of it is;
        and any other directory that will lie over something must be opaque.
        """
        if not node.is_dir:
            self.bring_up(node)
            return
        self.ensure_upper(node)
        if node.dirs:
            self._set_redirect(node)
        elif hides:
            self.top.setxattr(self.top.dir_fd(node), b"", self.top.names.opaque, whiteout.OPAQUE)

    def _set_redirect(self, node: Node) -> None:
        """Notes in a merged directory where its lower part is, as a path from the layers' root."""
        if not self.top.keeps_marks:
            raise UnionError(errno.EXDEV, "the top layer's file system keeps no redirect")
        fd, key = self.top.dir_fd(node), self.top.names.redirect
        if (self.top.getxattr(fd, b"", key) or b"").startswith(b"/"):
            return
        redirect = self._redirect(node, node.dirs)
        if redirect is None:
            raise UnionError(errno.EXDEV, "no single path leads to all layers of the directory")
        self.links.mark(links.MOVED)
        self.top.setxattr(fd, b"", key, redirect)

    @contextmanager
    def _emptied(self, parent: Node, name: bytes) -> Iterator[None]:
        """A truly empty opaque directory in the place of one that only looks empty, and that returns after an error."""
        top, temp, fd = self.top, self.top.temp(), self.top.dir_fd(parent)
        st = sysfd.lstat(fd, name)
        os.mkdir(temp, 0o700, dir_fd=top.work)
        try:
            top.own(top.work, temp, st.st_uid, st.st_gid, st.st_mode)
            top.setxattr(top.work, temp, top.names.opaque, whiteout.OPAQUE)
            sysfd.rename(top.work, temp, fd, name, sysfd.RENAME_EXCHANGE)
            try:
                yield
            except BaseException:
                sysfd.rename(top.work, temp, fd, name, sysfd.RENAME_EXCHANGE)
                raise
        finally:
            top.discard(temp)

    def _rename_on_disk(
        self, old: Node, name: bytes, node: Node, new: Node, newname: bytes, leave: bool, replaces: bool
    ) -> None:
        """`leave` a whiteout; `replaces`: the view has something under the new name."""
        top = self.top
        if leave and not top.mknod_whiteouts:
            self._rename_leaving_xattr_whiteout(old, name, new, newname, replaces)
            return
        olddir, newdir = top.dir_fd(old), top.dir_fd(new)
        at = sysfd.lstat_or_none(newdir, newname) if node.is_dir else None
        if at is not None and not stat.S_ISDIR(at.st_mode):  # a whiteout, which no directory can replace
            sysfd.rename(olddir, name, newdir, newname, sysfd.RENAME_EXCHANGE)
            if not leave:
                with suppress(OSError):  # it hides nothing any more, but nor does it harm
                    os.unlink(name, dir_fd=olddir)
        else:
            sysfd.rename(olddir, name, newdir, newname, sysfd.RENAME_WHITEOUT if leave else 0)

    def _rename_leaving_xattr_whiteout(
        self, old: Node, name: bytes, new: Node, newname: bytes, replaces: bool
    ) -> None:
        """Where the file system cannot do it in one step, a free name gets a whiteout first, which then changes places.

        If there is something to replace, a crash between the two steps leaves both names.
        """
        top = self.top
        olddir, newdir = top.dir_fd(old), top.dir_fd(new)
        top.allow_whiteouts(old)
        at = sysfd.lstat_or_none(newdir, newname)
        if not replaces:
            if at is None:
                top.allow_whiteouts(new)
                top.make_whiteout(newdir, newname)
            sysfd.rename(olddir, name, newdir, newname, sysfd.RENAME_EXCHANGE)
            return
        flags = 0 if at is None else sysfd.RENAME_EXCHANGE
        sysfd.rename(olddir, name, newdir, newname, flags)
        try:
            if at is None:
                top.make_whiteout(olddir, name)
            else:
                top.replace_by_whiteout(olddir, name, is_dir=stat.S_ISDIR(at.st_mode))
        except BaseException:
            sysfd.rename(newdir, newname, olddir, name, flags)
            raise
