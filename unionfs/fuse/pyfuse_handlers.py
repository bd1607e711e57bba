"""What pyfuse3 asks, answered by the union core. See `pyfuse` for the concurrency contract.

The handle of an open file or directory is the inode: the core finds the bytes anew for each request. What is not
here keeps pyfuse3's own answer, ENOSYS, on which the kernel stops asking and does without (flush, access, poll).
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence

import pyfuse3
from pyfuse3 import EntryAttributes, FileInfo, RequestContext, SetattrFields, StatvfsData

from unionfs.annotations import TYPE_CHECKING
from unionfs.fuse.contents import pread_all
from unionfs.fuse.opens import for_writing
from unionfs.fuse.options import ServerOptions
from unionfs.fuse.pyfuse_work import Work
from unionfs.fuse.work import lent
from unionfs.layers.base import Source
from unionfs.model import NOW, Attr, Caller, Change
from unionfs.view import ACLS

if TYPE_CHECKING:
    from unionfs.files import Files
    from unionfs.tree import UnionTree

FOREVER = 1e9
"""Seconds that stand for no limit: libfuse takes a double, of which this is a safe part."""

_NANO = 10**9
_SIZES = ("f_bsize", "f_frsize", "f_namemax")
_COUNTS = ("f_blocks", "f_bfree", "f_bavail", "f_files", "f_ffree", "f_favail")


class Handlers(pyfuse3.Operations):
    """Raises OSError, or anything else where there is a bug: for `pyfuse.contain` to turn into answers."""

    supports_dot_lookup = False

    def __init__(self, tree: UnionTree, files: Files, options: ServerOptions) -> None:
        self.enable_acl = options.acl
        self._tree, self._files = tree, files
        self._work = Work(tree, threads=options.threads)
        self._timeout = FOREVER if options.timeout is None else min(options.timeout, FOREVER)
        self._negative = options.negative
        self._nowait = os.RWF_NOWAIT if options.threads else 0

    def _entry(self, attr: Attr) -> EntryAttributes:
        entry = EntryAttributes()
        entry.st_ino = attr.ino
        entry.entry_timeout = entry.attr_timeout = self._timeout
        entry.st_mode, entry.st_nlink = attr.mode, attr.nlink
        entry.st_uid, entry.st_gid, entry.st_rdev = attr.uid, attr.gid, attr.rdev
        entry.st_size, entry.st_blocks, entry.st_blksize = attr.size, attr.blocks, attr.blksize
        entry.st_atime_ns = attr.atime * _NANO + attr.atimensec
        entry.st_mtime_ns = attr.mtime * _NANO + attr.mtimensec
        entry.st_ctime_ns = attr.ctime * _NANO + attr.ctimensec
        return entry

    # -- names

    async def lookup(self, parent_inode: int, name: bytes, ctx: RequestContext) -> EntryAttributes:
        try:
            return self._entry(self._tree.lookup(parent_inode, name))
        except OSError as error:
            if error.errno != errno.ENOENT or not self._negative:
                raise
        missing = EntryAttributes()  # inode 0: the kernel keeps in mind that there is nothing
        missing.entry_timeout = self._timeout
        return missing

    async def forget(self, inode_list: Sequence[tuple[int, int]]) -> None:
        for inode, count in inode_list:
            self._tree.forget(inode, count)

    async def readlink(self, inode: int, ctx: RequestContext) -> bytes:
        return self._tree.readlink(inode)

    async def mknod(
        self, parent_inode: int, name: bytes, mode: int, rdev: int, ctx: RequestContext
    ) -> EntryAttributes:
        return self._entry(self._tree.mknod(parent_inode, name, mode, rdev, caller(ctx)))

    async def mkdir(self, parent_inode: int, name: bytes, mode: int, ctx: RequestContext) -> EntryAttributes:
        return self._entry(self._tree.mkdir(parent_inode, name, mode, caller(ctx)))

    async def symlink(
        self, parent_inode: int, name: bytes, target: bytes, ctx: RequestContext
    ) -> EntryAttributes:
        return self._entry(self._tree.symlink(parent_inode, name, target, caller(ctx)))

    async def link(
        self, inode: int, new_parent_inode: int, new_name: bytes, ctx: RequestContext
    ) -> EntryAttributes:
        await self._work.idle(inode)
        if self._tree.moves_whole(inode):
            await self._work.copied_up(inode)
        return self._entry(self._tree.link(inode, new_parent_inode, new_name))

    async def unlink(self, parent_inode: int, name: bytes, ctx: RequestContext) -> None:
        await self._work.idle_name(parent_inode, name)
        self._tree.unlink(parent_inode, name)

    async def rmdir(self, parent_inode: int, name: bytes, ctx: RequestContext) -> None:
        self._tree.rmdir(parent_inode, name)

    async def rename(
        self,
        parent_inode_old: int,
        name_old: bytes,
        parent_inode_new: int,
        name_new: bytes,
        flags: int,
        ctx: RequestContext,
    ) -> None:
        names = (parent_inode_old, name_old, parent_inode_new, name_new, flags)
        for node in self._tree.moved_files(*names):
            await self._work.copied_up(node)
        idle = self._work.idle_name
        while await idle(parent_inode_old, name_old) or await idle(parent_inode_new, name_new):
            pass
        self._tree.rename(*names)

    # -- attributes

    async def getattr(self, inode: int, ctx: RequestContext) -> EntryAttributes:
        return self._entry(self._tree.getattr(inode))

    async def setattr(
        self, inode: int, attr: EntryAttributes, fields: SetattrFields, fh: int | None, ctx: RequestContext
    ) -> EntryAttributes:
        change = change_of(attr, fields)
        if change.size is not None and fh is not None:
            change = change._replace(
                mtime=NOW
            )  # ftruncate(2) counts as a change even if the size is the same
        await self._work.copied_up(inode, data=change.size is not None, size=change.size)
        return self._entry(self._tree.setattr(inode, change))

    async def getxattr(self, inode: int, name: bytes, ctx: RequestContext) -> bytes:
        return self._tree.getxattr(inode, name)

    async def listxattr(self, inode: int, ctx: RequestContext) -> list[bytes]:
        names = self._tree.listxattr(inode)
        if ctx.uid == 0:
            return names
        # The kernel hides trusted.* from getxattr(2), but not from listxattr(2).
        return [name for name in names if not name.startswith(b"trusted.")]

    async def setxattr(self, inode: int, name: bytes, value: bytes, ctx: RequestContext) -> None:
        """pyfuse3 has looked after XATTR_CREATE and XATTR_REPLACE; the kernel lets nobody in between."""
        await self._work.copied_up(inode, data=False)
        self._tree.setxattr(inode, name, value)
        if name == ACLS[0]:
            attr = self._tree.getattr(inode)
            if attr.mode & stat.S_ISGID and not in_group(ctx, attr.gid):
                self._tree.setattr(inode, Change(mode=attr.mode & 0o7777 & ~stat.S_ISGID))

    async def removexattr(self, inode: int, name: bytes, ctx: RequestContext) -> None:
        await self._work.copied_up(inode, data=False)
        self._tree.removexattr(inode, name)

    async def statfs(self, ctx: RequestContext) -> StatvfsData:
        there, answer = self._tree.statvfs(), StatvfsData()
        for field in _SIZES + _COUNTS:
            setattr(answer, field, getattr(there, field))
        return answer

    # -- files

    async def open(self, inode: int, flags: int, ctx: RequestContext) -> FileInfo:
        truncate = bool(flags & os.O_TRUNC)
        if for_writing(flags):
            await self._work.copied_up(inode, size=0 if truncate else None)
        if truncate:  # by an open, which leaves setuid to us; by the others it comes with a mode
            self._tree.setattr(inode, Change(size=0, mtime=NOW, kill_suidgid=ctx.uid != 0))
        return FileInfo(fh=inode, keep_cache=True)

    async def create(
        self, parent_inode: int, name: bytes, mode: int, flags: int, ctx: RequestContext
    ) -> tuple[FileInfo, EntryAttributes]:
        mode = stat.S_IFREG | stat.S_IMODE(mode)
        attr = self._tree.mknod(parent_inode, name, mode, 0, caller(ctx))
        return FileInfo(fh=attr.ino, keep_cache=True), self._entry(attr)

    async def read(self, fh: int, off: int, size: int) -> bytes:
        source = self._files.source(fh)
        if source.extents is not None:
            return self._files.read(fh, off, size)
        size = min(size, source.size - off)
        if size <= 0:
            return b""
        cached = self._read_cached(source, off, size)
        if len(cached) == size or not self._nowait:
            return cached
        return await self._work.run(
            lent(lambda fd: pread_all(fd, source.start + off, size), source.fd),
        )

    def _read_cached(self, source: Source, off: int, size: int) -> bytes:
        """What needs no waiting for the disk; where the file system cannot tell, whatever it takes."""
        into = bytearray(size)
        try:
            return bytes(memoryview(into)[: os.preadv(source.fd, [into], source.start + off, self._nowait)])
        except BlockingIOError:
            return b""
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise
            return os.pread(source.fd, size, source.start + off)

    async def write(self, fh: int, off: int, buf: bytes) -> int:
        await self._work.copied_up(fh)
        return self._files.write(fh, off, buf)

    async def fsync(self, fh: int, datasync: bool) -> None:
        await self._work.idle(fh)
        fd = self._files.sync_fd(fh)
        if fd is not None:
            await self._work.run(lent(os.fdatasync if datasync else os.fsync, fd))

    async def release(self, fh: int) -> None:
        pass

    # -- directories

    async def opendir(self, inode: int, ctx: RequestContext) -> int:
        return inode

    async def readdir(self, fh: int, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        """Each row that is sent counts as a lookup, but not `.` and `..` (cookies 1 and 2)."""
        sent, told = 0, []
        try:
            for cookie, name, attr in self._tree.readdirplus(fh, start_id):
                if not attr.mode:  # unseen, for which libfuse's binding has no words
                    continue
                if not pyfuse3.readdir_reply(token, name, self._entry(attr), cookie):
                    return
                sent += 1
                if cookie > 2:
                    told.append(attr.ino)
        except OSError:
            if not sent:  # else the next request begins with this row
                raise
        finally:
            self._tree.remember(*told)

    async def releasedir(self, fh: int) -> None:
        pass

    async def fsyncdir(self, fh: int, datasync: bool) -> None:
        top, node = self._tree.upper, self._tree.nodes[fh]
        if top is not None and node.upper:
            await self._work.run(lent(top.sync_name, top.dir_fd(node)))


def caller(ctx: RequestContext) -> Caller:
    """The kernel has applied the umask already (libfuse does not ask for FUSE_DONT_MASK)."""
    return Caller(ctx.uid, ctx.gid, ctx.pid)


def change_of(attr: EntryAttributes, fields: SetattrFields) -> Change:
    """Times that are to be "now" come with the kernel's own clock."""
    return Change(
        mode=stat.S_IMODE(attr.st_mode) if fields.update_mode else None,
        uid=attr.st_uid if fields.update_uid else None,
        gid=attr.st_gid if fields.update_gid else None,
        size=attr.st_size if fields.update_size else None,
        atime=divmod(attr.st_atime_ns, _NANO) if fields.update_atime else None,
        mtime=divmod(attr.st_mtime_ns, _NANO) if fields.update_mtime else None,
    )


def in_group(ctx: RequestContext, gid: int) -> bool:
    """Whether the caller may leave setgid on a file of this group; not if it cannot be found out."""
    try:
        return ctx.uid == 0 or ctx.gid == gid or gid in pyfuse3.get_sup_groups(ctx.pid)
    except (OSError, RuntimeError):  # the process is gone, or in another PID namespace
        return False
