"""OPEN, CREATE, TMPFILE and RELEASE: which files go through the page cache, and which pass through.

The kernel refuses to have an inode open both ways at once, and through two backing files at once
(fs/fuse/iomode.c); so every open of an inode follows those that are live. A writable open finds its inode in
the top layer, hence no descriptor of a lower file ever is behind a writable one.

Writes that pass through do not clear setuid and setgid: the kernel leaves that to whoever serves WRITE
(FUSE_HANDLE_KILLPRIV_V2; without it, every write would first ask for security.capability). So files with such
bits do not pass through, and where one got them while it did, the next writable open clears them.
"""

from __future__ import annotations

import errno
import os
import stat

from unionfs.errors import UnionError
from unionfs.fuse import abi
from unionfs.fuse import opcodes as op
from unionfs.fuse.abi import Buffer, Head, Opened
from unionfs.fuse.work import Answer, Context, Handler, copied_up
from unionfs.model import NOW, Attr, Change

CACHED = 1
PASSED = 2
"""File handles: they say which way the file is open, since everything else goes by node id."""


PASSED_FROM = 256 << 10
"""Bytes. To read a smaller file through the page cache takes at most two requests, and none the next time; to pass
it through takes a backing file for every open."""


class Live:
    """The live opens of one inode."""

    # INVARIANT: not (cached and passed)
    # INVARIANT: backing != 0 exactly while passed > 0
    __slots__ = ("backing", "cached", "passed")

    def __init__(self) -> None:
        self.cached = self.passed = self.backing = 0


class Opens:
    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._live: dict[int, Live] = {}
        self._passthrough = ctx.session.passthrough
        self._refused: set[int] = set()  # st_dev of file systems that the kernel will not pass through to

    def handlers(self) -> dict[int, Handler]:
        return {
            op.OPEN: self.open,
            op.CREATE: self.create,
            op.TMPFILE: self.tmpfile,
            op.RELEASE: self.release,
        }

    def open(self, head: Head, buf: Buffer) -> Answer:
        if self._ctx.session.zero_open:
            raise UnionError(errno.ENOSYS)
        flags, open_flags = abi.open_in(buf)
        node, truncate = head.nodeid, flags & os.O_TRUNC
        if for_writing(flags):
            size = 0 if truncate else None
            if work := copied_up(self._ctx, node, self.open, head, buf, size=size):
                return work
        if truncate:
            kill = bool(open_flags & op.OPEN_KILL_SUIDGID)
            self._ctx.tree.setattr(node, Change(size=0, mtime=NOW, kill_suidgid=kill))
        return abi.opened(head.unique, self._open(node, for_writing(flags), head.uid))

    def create(self, head: Head, buf: Buffer) -> Answer:
        """With ENOSYS the kernel makes files with MKNOD from now on."""
        if self._ctx.session.zero_open:
            raise UnionError(errno.ENOSYS)
        new = abi.create_in(head, buf)
        mode = stat.S_IFREG | stat.S_IMODE(new.mode)
        attr = self._ctx.tree.mknod(head.nodeid, new.name, mode, 0, new.caller)
        return self._created(head, attr)

    def tmpfile(self, head: Head, buf: Buffer) -> Answer:
        new = abi.create_in(head, buf)
        return self._created(head, self._ctx.tree.tmpfile(head.nodeid, new.mode, new.caller))

    def release(self, head: Head, buf: Buffer) -> Answer:
        live = self._live.get(head.nodeid)
        if live is not None:
            self._close(head.nodeid, live, abi.release_in(buf))
        return abi.done(head.unique)

    def _created(self, head: Head, attr: Attr) -> bytes:
        try:
            opened = self._open(attr.ino, True, head.uid, attr)
            return abi.created(head.unique, attr, self._ctx.valid, opened)
        except BaseException:
            self._ctx.tree.forget(attr.ino, 1)
            raise

    def _open(self, node: int, write: bool, uid: int, attr: Attr | None = None) -> Opened:
        """`attr`: what is known already."""
        live = self._live.get(node) or Live()
        if live.backing:
            if write and uid and self._has_suidgid(node):
                self._ctx.tree.setattr(node, Change(kill_suidgid=True))
        elif self._passthrough and not live.cached:
            live.backing = self._back(node, write, attr)
        self._live[node] = live
        if live.backing:
            live.passed += 1
            return Opened(PASSED, op.FOPEN_PASSTHROUGH, live.backing)
        live.cached += 1
        return Opened(CACHED, op.FOPEN_KEEP_CACHE)

    def _close(self, node: int, live: Live, handle: int) -> None:
        if handle == PASSED:
            live.passed -= 1
        else:
            live.cached -= 1
        if not live.passed and not live.cached:
            del self._live[node]
            if live.backing:
                self._ctx.device.backing_close(live.backing)

    def _has_suidgid(self, node: int) -> bool:
        return bool(self._ctx.tree.getattr(node).mode & (stat.S_ISUID | stat.S_ISGID))

    def _back(self, node: int, write: bool, attr: Attr | None) -> int:
        """A backing id for the inode, or 0 where the kernel is not to work on the file itself."""
        if not (write or self._ctx.files.may_back(node)):
            return 0
        attr = attr or self._ctx.tree.getattr(node)
        if attr.mode & (stat.S_ISUID | stat.S_ISGID) or (attr.size < PASSED_FROM and not write):
            return 0
        fd = self._ctx.files.backing_fd(node, write)
        if fd is None or (self._refused and os.fstat(fd).st_dev in self._refused):
            return 0
        try:
            return self._ctx.device.backing_open(fd)
        except OSError:  # EPERM: not privileged; ELOOP: on a stacked file system; EOPNOTSUPP
            self._refused.add(os.fstat(fd).st_dev)
            return 0


def for_writing(flags: int) -> bool:
    """Whether an open(2) with these flags may change the file."""
    return bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_TRUNC))
