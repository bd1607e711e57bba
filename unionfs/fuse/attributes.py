"""Requests about attributes: stat, setattr, extended attributes, statfs."""

from __future__ import annotations

import errno
import stat

from unionfs.errors import UnionError
from unionfs.fuse import abi
from unionfs.fuse import opcodes as op
from unionfs.fuse.abi import Buffer, Head
from unionfs.fuse.work import Answer, Context, Handler, copied_up
from unionfs.model import Change


class Attributes:
    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._tree = ctx.tree
        self._valid = ctx.valid

    def handlers(self) -> dict[int, Handler]:
        return {
            op.GETATTR: self.getattr,
            op.SETATTR: self.setattr,
            op.GETXATTR: self.getxattr,
            op.LISTXATTR: self.listxattr,
            op.SETXATTR: self.setxattr,
            op.REMOVEXATTR: self.removexattr,
            op.STATFS: self.statfs,
        }

    def getattr(self, head: Head, buf: Buffer) -> Answer:
        return abi.attr(head.unique, self._tree.getattr(head.nodeid), self._valid)

    def setattr(self, head: Head, buf: Buffer) -> Answer:
        change = abi.setattr_in(buf, by_open=self._ctx.session.zero_open)
        data = change.size is not None
        if work := copied_up(self._ctx, head.nodeid, self.setattr, head, buf, data=data, size=change.size):
            return work
        return abi.attr(head.unique, self._tree.setattr(head.nodeid, change), self._valid)

    def getxattr(self, head: Head, buf: Buffer) -> Answer:
        room, name = abi.getxattr_in(head, buf)
        value = self._tree.find_xattr(head.nodeid, name)
        if value is None:
            return abi.error(head.unique, errno.ENODATA)
        return _xattr_reply(head.unique, room, value)

    def listxattr(self, head: Head, buf: Buffer) -> Answer:
        room, _ = abi.getxattr_in(head, buf)
        names = self._tree.listxattr(head.nodeid)
        if head.uid:  # the kernel hides trusted.* from getxattr(2), but not from listxattr(2)
            names = [name for name in names if not name.startswith(b"trusted.")]
        return _xattr_reply(head.unique, room, b"".join(name + b"\0" for name in names))

    def setxattr(self, head: Head, buf: Buffer) -> Answer:
        if work := copied_up(self._ctx, head.nodeid, self.setxattr, head, buf, data=False):
            return work
        name, value, flags, kill_sgid = abi.setxattr_in(head, buf, self._ctx.session.setxattr_ext)
        self._tree.setxattr(head.nodeid, name, value, flags)
        if kill_sgid:
            mode = self._tree.getattr(head.nodeid).mode
            self._tree.setattr(head.nodeid, Change(mode=mode & 0o7777 & ~stat.S_ISGID))
        return abi.done(head.unique)

    def removexattr(self, head: Head, buf: Buffer) -> Answer:
        if work := copied_up(self._ctx, head.nodeid, self.removexattr, head, buf, data=False):
            return work
        self._tree.removexattr(head.nodeid, abi.text(buf, abi.BODY, head.length))
        return abi.done(head.unique)

    def statfs(self, head: Head, buf: Buffer) -> Answer:
        return abi.statfs(head.unique, self._tree.statvfs())


def _xattr_reply(unique: int, room: int, value: bytes) -> bytes:
    """The size protocol of getxattr(2): no room asks for the size, too little of it is ERANGE."""
    if not room:
        return abi.sized(unique, len(value))
    if len(value) > room:
        raise UnionError(errno.ERANGE)
    return abi.data(unique, value)
