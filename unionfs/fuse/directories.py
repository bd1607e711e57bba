"""Requests about open directories: listings with and without attributes, and their fsync."""

from __future__ import annotations

import errno

from unionfs.errors import UnionError
from unionfs.fuse import abi
from unionfs.fuse import opcodes as op
from unionfs.fuse.abi import Buffer, Head
from unionfs.fuse.work import Answer, Context, Handler, Work, lent


class Directories:
    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._tree = ctx.tree

    def handlers(self) -> dict[int, Handler]:
        return {
            op.OPENDIR: self.opendir,
            op.READDIR: self.readdir,
            op.READDIRPLUS: self.readdirplus,
            op.RELEASEDIR: self.releasedir,
            op.FSYNCDIR: self.fsyncdir,
        }

    def opendir(self, head: Head, buf: Buffer) -> Answer:
        """ENOSYS stands for the same: the kernel keeps the listing until a name of the directory changes."""
        if self._ctx.session.zero_opendir:
            raise UnionError(errno.ENOSYS)
        keep = self._ctx.options.timeout is None
        return abi.opened(head.unique, abi.Opened(0, op.FOPEN_KEEP_CACHE | op.FOPEN_CACHE_DIR if keep else 0))

    def releasedir(self, head: Head, buf: Buffer) -> Answer:
        return abi.done(head.unique)

    def readdir(self, head: Head, buf: Buffer) -> Answer:
        cookie, size = abi.read_in(buf)
        listing = abi.Listing(size)
        for row in self._tree.readdir(head.nodeid, cookie):
            if not listing.add(row):
                break
        return listing.reply(head.unique)

    def readdirplus(self, head: Head, buf: Buffer) -> Answer:
        cookie, size = abi.read_in(buf)
        listing = abi.Listing(size, self._ctx.valid)
        try:
            listing.add_plus(self._tree.readdirplus(head.nodeid, cookie))
        except OSError:
            if listing.is_empty:  # else the next request begins with this row
                raise
        if listing.told:
            self._tree.remember(*listing.told)
        return listing.reply(head.unique)

    def fsyncdir(self, head: Head, buf: Buffer) -> Answer:
        top, node = self._tree.upper, self._tree.nodes[head.nodeid]
        if top is None or not top.syncs:
            raise UnionError(errno.ENOSYS)  # as for FSYNC
        if not node.upper:
            return abi.done(head.unique)
        return Work(lent(top.sync_name, top.dir_fd(node)), lambda _: abi.done(head.unique))
