"""Requests about the bytes of a file. All go by node id: a file that is read while another process copies it
up is read from its new place from the next request on."""

from __future__ import annotations

import errno
import os

from unionfs import sysfd
from unionfs.errors import UnionError
from unionfs.files import copy_between
from unionfs.fuse import abi
from unionfs.fuse import opcodes as op
from unionfs.fuse.abi import Buffer, Head
from unionfs.fuse.work import Answer, Context, Handler, Work, copied_up, lent
from unionfs.layers.base import Source


class Contents:
    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._files = ctx.files
        self._out = memoryview(bytearray(ctx.session.max_write))  # a READ's data, sent before the next READ
        self._nowait = os.RWF_NOWAIT if ctx.options.threads else 0

    def handlers(self) -> dict[int, Handler]:
        return {
            op.READ: self.read,
            op.WRITE: self.write,
            op.FSYNC: self.fsync,
            op.FALLOCATE: self.fallocate,
            op.LSEEK: self.lseek,
            op.COPY_FILE_RANGE: self.copy_file_range,
            op.COPY_FILE_RANGE_64: self.copy_file_range,
        }

    def read(self, head: Head, buf: Buffer) -> Answer:
        offset, size = abi.read_in(buf)
        source = self._files.source(head.nodeid)
        if source.extents is not None:
            return abi.data(head.unique, self._files.read(head.nodeid, offset, size))
        size = min(size, source.size - offset, len(self._out))
        if size <= 0:
            return abi.data(head.unique, b"")
        got = self._read_cached(source, offset, self._out[:size])
        if got < size and self._nowait:
            return self._read_later(head.unique, source, offset, size)
        return abi.out_head(head.unique, got), self._out[:got]

    def _read_cached(self, source: Source, offset: int, into: memoryview) -> int:
        """Reads what needs no waiting for the disk; where the file system cannot tell, whatever it takes."""
        try:
            return os.preadv(source.fd, [into], source.start + offset, self._nowait)
        except BlockingIOError:
            return 0
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise
            return os.preadv(source.fd, [into], source.start + offset)

    def _read_later(self, unique: int, source: Source, offset: int, size: int) -> Work:
        run = lent(lambda fd: pread_all(fd, source.start + offset, size), source.fd)
        return Work(run, lambda payload: abi.data(unique, payload))

    def write(self, head: Head, buf: Buffer) -> Answer:
        if work := copied_up(self._ctx, head.nodeid, self.write, head, buf):
            return work
        offset, payload, kill_suidgid = abi.write_in(buf)
        return abi.sized(head.unique, self._files.write(head.nodeid, offset, payload, kill_suidgid))

    def fsync(self, head: Head, buf: Buffer) -> Answer:
        """ENOSYS is success, and the kernel never asks again."""
        if self._ctx.tree.upper is None or not self._ctx.tree.upper.syncs:
            raise UnionError(errno.ENOSYS)
        fd = self._files.sync_fd(head.nodeid)
        if fd is None:
            return abi.done(head.unique)
        sync = os.fdatasync if abi.fsync_in(buf) else os.fsync
        return Work(lent(sync, fd), lambda _: abi.done(head.unique))

    def fallocate(self, head: Head, buf: Buffer) -> Answer:
        node = head.nodeid
        if work := copied_up(self._ctx, node, self.fallocate, head, buf):
            return work
        mode, offset, length = abi.fallocate_in(buf)
        run = lent(lambda fd: sysfd.fallocate(fd, mode, offset, length), self._files.upper_fd(node))
        return Work(run, lambda _: abi.done(head.unique), node=node)

    def lseek(self, head: Head, buf: Buffer) -> Answer:
        offset, whence = abi.lseek_in(buf)
        return abi.offset(head.unique, self._files.lseek(head.nodeid, offset, whence))

    def copy_file_range(self, head: Head, buf: Buffer) -> Answer:
        off_in, target, off_out, length = abi.copy_file_range_in(buf)
        if work := copied_up(self._ctx, target, self.copy_file_range, head, buf):
            return work
        if head.opcode == op.COPY_FILE_RANGE:
            length = min(length, 0x7FFFF000)  # its reply counts in 32 bits
        reply = abi.sized if head.opcode == op.COPY_FILE_RANGE else abi.offset
        source = self._files.source(head.nodeid)

        def copy(own: int, fd: int) -> int:
            return copy_between(source._replace(fd=own), off_in, fd, off_out, length)

        run = lent(copy, source.fd, self._files.upper_fd(target))
        return Work(run, lambda copied: reply(head.unique, copied), node=target)


def pread_all(fd: int, offset: int, size: int) -> bytes:
    """`size` bytes from `offset`, or fewer where the file ends."""
    parts = []
    while size > 0:
        part = os.pread(fd, size, offset)
        if not part:
            break
        parts.append(part)
        offset += len(part)
        size -= len(part)
    return b"".join(parts)
