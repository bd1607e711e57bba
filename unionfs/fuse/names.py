"""Requests about names: lookup and forget, create, link, rename, remove, symbolic links."""

from __future__ import annotations

import errno

from unionfs.fuse import abi
from unionfs.fuse import opcodes as op
from unionfs.fuse.abi import BODY, Buffer, Head
from unionfs.fuse.work import Answer, Context, Handler, copied_up


class Names:
    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._tree = ctx.tree
        self._valid = ctx.valid
        self._seek = ctx.tree.seek
        self._negative = ctx.negative if ctx.options.negative else None

    def handlers(self) -> dict[int, Handler]:
        return {
            op.LOOKUP: self.lookup,
            op.FORGET: self.forget,
            op.BATCH_FORGET: self.batch_forget,
            op.READLINK: self.readlink,
            op.SYMLINK: self.symlink,
            op.MKNOD: self.mknod,
            op.MKDIR: self.mkdir,
            op.UNLINK: self.unlink,
            op.RMDIR: self.rmdir,
            op.RENAME: self.rename,
            op.RENAME2: self.rename,
            op.LINK: self.link,
        }

    def lookup(self, head: Head, buf: Buffer) -> Answer:
        attr = self._seek(head.nodeid, bytes(buf[BODY : head.length - 1]))
        if attr is not None:
            return abi.entry(head.unique, attr, self._valid)
        if self._negative is not None:
            return abi.no_entry(head.unique, self._negative)
        return abi.error(head.unique, errno.ENOENT)

    def forget(self, head: Head, buf: Buffer) -> Answer:
        self._tree.forget(head.nodeid, abi.forget_in(buf))
        return None

    def batch_forget(self, head: Head, buf: Buffer) -> Answer:
        forget = self._tree.forget
        for nodeid, count in abi.forgets(buf):
            forget(nodeid, count)
        return None

    def readlink(self, head: Head, buf: Buffer) -> Answer:
        return abi.data(head.unique, self._tree.readlink(head.nodeid))

    def symlink(self, head: Head, buf: Buffer) -> Answer:
        name, target = abi.two_texts(buf, BODY, head.length)
        attr = self._tree.symlink(head.nodeid, name, target, abi.caller(head))
        return abi.entry(head.unique, attr, self._valid)

    def mknod(self, head: Head, buf: Buffer) -> Answer:
        new = abi.mknod_in(head, buf)
        attr = self._tree.mknod(head.nodeid, new.name, new.mode, new.rdev, new.caller)
        return abi.entry(head.unique, attr, self._valid)

    def mkdir(self, head: Head, buf: Buffer) -> Answer:
        new = abi.mkdir_in(head, buf)
        attr = self._tree.mkdir(head.nodeid, new.name, new.mode, new.caller)
        return abi.entry(head.unique, attr, self._valid)

    def unlink(self, head: Head, buf: Buffer) -> Answer:
        self._tree.unlink(head.nodeid, abi.text(buf, BODY, head.length))
        return abi.done(head.unique)

    def rmdir(self, head: Head, buf: Buffer) -> Answer:
        self._tree.rmdir(head.nodeid, abi.text(buf, BODY, head.length))
        return abi.done(head.unique)

    def rename(self, head: Head, buf: Buffer) -> Answer:
        newparent, name, newname, flags = abi.rename_in(head, buf)
        names = (head.nodeid, name, newparent, newname, flags)
        for node in self._tree.moved_files(*names):
            if work := copied_up(self._ctx, node, self.rename, head, buf):
                return work
        self._tree.rename(*names)
        return abi.done(head.unique)

    def link(self, head: Head, buf: Buffer) -> Answer:
        node, name = abi.link_in(head, buf)
        if self._tree.moves_whole(node) and (work := copied_up(self._ctx, node, self.link, head, buf)):
            return work
        return abi.entry(head.unique, self._tree.link(node, head.nodeid, name), self._valid)
