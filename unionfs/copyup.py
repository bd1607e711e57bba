"""Copy-up: give a lower entry an identical twin in the top layer.

fill() may run in a thread: it touches descriptors and a name in the work directory that nobody else has, and
nothing shared. publish() runs where the tree runs, and never waits. A crash at any line leaves no twin or a
complete one; only a file with several names may be left with some of them in the top layer already.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat

from unionfs import sysfd
from unionfs.annotations import TYPE_CHECKING
from unionfs.errors import UnionError
from unionfs.layers.base import Source
from unionfs.model import NOW
from unionfs.node import PRIVATE, Node
from unionfs.upper import PATH_FLAGS, set_times

if TYPE_CHECKING:
    from unionfs.writable import Writable

FICLONE = 0x40049409
"""_IOW(0x94, 9, int): share the blocks of another file (include/uapi/linux/fs.h)."""

HEAVY = 256 * 1024
"""Bytes from which on the copy is worth a thread: below, the hand-over takes longer than the copy."""

CHUNK = 8 << 20


class CopyUp:
    """One copy-up. Do fill() then publish(), or abandon()."""

    def __init__(self, tree: Writable, node: Node, *, data: bool, size: int | None) -> None:
        assert tree.upper is not None
        self._tree = tree
        self._node = node
        self._upper = tree.upper
        self._completes = node.upper  # the twin is there, without its bytes
        self._attr = tree.attr(node)
        self._xattrs = {} if self._completes else tree.lower_xattrs(node)
        self._layer = tree.layers[node.data[0]] if data and node.is_reg and node.data is not None else None
        self._source = tree.open_source(node) if self._layer is not None else None
        self._truncates = size is not None and size <= self._attr.size
        self._limit = self._attr.size if size is None else min(size, self._attr.size)
        self._target = tree.readlink(node.ino) if stat.S_ISLNK(node.fmt) else b""
        self._temp = b""
        self._fd = os.dup(self._upper.file_fd(node)) if self._completes else -1

    @property
    def truncates(self) -> bool:
        """Whether the twin is born with the size that was asked for."""
        return self._truncates and not self._completes

    @property
    def heavy(self) -> bool:
        return self._source is not None and self._limit > HEAVY

    def fill(self) -> None:
        """Makes the twin in the work directory, or fetches the bytes of one that has none yet."""
        try:
            self._fill()
        except BaseException:
            self.abandon()
            raise

    def _fill(self) -> None:
        if not self._completes:
            self._make()
        if self._source is not None:
            copy_data(self._source, self._fd, self._limit)
        elif self._node.is_reg:
            os.ftruncate(self._fd, self._attr.size)
        if not self._completes:
            self._dress()
        if self._fd >= 0 and self._upper.syncs:
            os.fsync(self._fd)

    def _make(self) -> None:
        work, temp = self._upper.work, self._upper.temp()
        if stat.S_ISLNK(self._node.fmt):
            os.symlink(self._target, temp, dir_fd=work)
        elif self._node.is_reg or self._upper.policy.override:
            self._fd = os.open(temp, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=work)
        else:
            os.mknod(temp, self._node.fmt | 0o600, self._attr.rdev, dir_fd=work)
        self._temp = temp

    def _dress(self) -> None:
        """Owner, mode, attributes and times of the original, and where it came from."""
        upper = self._upper
        upper.copy_metadata(self._temp, self._attr, self._xattrs)
        if self._truncates and self._limit != self._attr.size:
            sysfd.set_times(upper.work, self._temp, None, NOW)
        if self._node.is_reg and self._source is None:
            upper.setxattr(upper.work, self._temp, upper.names.metacopy, b"")
        if self._node.ino < PRIVATE:
            upper.keep_origin(self._temp, self._tree.origin(self._node))

    def publish(self) -> None:
        """Puts the twin in its place, in one step that nobody sees half of."""
        node = self._node
        if self._completes:
            self._publish_data()
        elif node.upper:  # somebody else was quicker
            self.abandon()
        else:
            self._publish_twin()

    def _publish_data(self) -> None:
        node, upper = self._node, self._upper
        fd, name = upper.at(node)
        set_times(fd, name, self._attr)  # of now: a metadata change may have come between
        upper.removexattr(fd, name, upper.names.metacopy)
        upper.removexattr(fd, name, upper.names.redirect)
        node.data = None
        self._close()

    def _publish_twin(self) -> None:
        node, upper = self._node, self._upper
        names = self._tree.linked_names(node)
        try:
            for parent, _ in names:
                self._tree.ensure_upper(parent)
            real = sysfd.lstat(upper.work, self._temp).st_ino
            self._link(names)
        except BaseException:
            self.abandon()
            raise
        self._tree.nodes.settle(node, real)
        if self._source is not None or not node.is_reg:
            node.data = None
        node.unlinked = 0
        if self._fd >= 0 and node.is_reg:
            self._give_fd(bool(names))
        for parent, name in names:
            self._tree.nodes.add_name(node, parent, name)
        self._close()

    def _link(self, names: list[tuple[Node, bytes]]) -> None:
        """Every name of the original gets the twin; the directories keep their times."""
        upper = self._upper
        if not names:
            if self._fd < 0:
                self._node.fd = os.open(self._temp, PATH_FLAGS, dir_fd=upper.work)
            os.unlink(self._temp, dir_fd=upper.work)
            return
        for parent, name in names[1:]:
            with upper.same_times(parent) as fd:
                os.link(self._temp, name, src_dir_fd=upper.work, dst_dir_fd=fd, follow_symlinks=False)
        parent, name = names[0]
        with upper.same_times(parent) as fd:
            sysfd.rename(upper.work, self._temp, fd, name)

    def _give_fd(self, linked: bool) -> None:
        if linked:
            self._upper.give_fd(self._node, self._fd)
        else:
            self._node.fd = self._fd
        self._fd = -1

    def abandon(self) -> None:
        """Leaves everything as it was."""
        if self._temp and not self._completes:
            self._upper.discard(self._temp)
        self._close()

    def _close(self) -> None:
        if self._source is not None and self._layer is not None:
            self._layer.release(self._source)
            self._source = None
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        self._temp = b""


def copy_data(source: Source, fd: int, limit: int) -> None:
    """The first `limit` bytes of a file, into an empty one; holes stay holes."""
    limit = min(limit, source.size)
    if source.extents is not None:
        for offset, at, length in source.extents:
            if offset < limit:
                _copy(source.fd, at, fd, offset, min(length, limit - offset))
    elif not (source.start == 0 and limit == source.size and _clone(source.fd, fd)):
        for offset, length in data_ranges(source.fd, source.start, limit):
            _copy(source.fd, source.start + offset, fd, offset, length)
    os.ftruncate(fd, limit)


def _clone(source: int, fd: int) -> bool:
    """Shares all blocks of a whole file where the file system can: instant, and no room taken."""
    if os.fstat(source).st_size == 0:
        return True
    try:
        fcntl.ioctl(fd, FICLONE, source)
    except OSError:
        return False
    return True


def data_ranges(fd: int, start: int, size: int) -> list[tuple[int, int]]:
    """(offset from `start`, length) of what is no hole in the `size` bytes from `start` on."""
    ranges = []
    at, end = start, start + size
    while at < end:
        try:
            data = os.lseek(fd, at, os.SEEK_DATA)
            hole = os.lseek(fd, data, os.SEEK_HOLE)
        except OSError as e:
            if e.errno == errno.ENXIO:  # only a hole is left
                break
            return [(0, size)]  # no such calls here
        if data >= end:
            break
        ranges.append((data - start, min(hole, end) - data))
        at = hole
    return ranges


def _copy(source: int, at: int, fd: int, offset: int, length: int) -> None:
    copied = _copy_file_range(source, at, fd, offset, length)
    if copied < length:
        _send(source, at + copied, fd, offset + copied, length - copied)


def _copy_file_range(source: int, at: int, fd: int, offset: int, length: int) -> int:
    """How much copy_file_range(2) would copy; the rest is for the caller (file systems differ, see its man page)."""
    done = 0
    try:
        while done < length:
            n = os.copy_file_range(source, fd, min(length - done, CHUNK), at + done, offset + done)
            if n == 0:
                break
            done += n
    except OSError as e:
        if e.errno not in (errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
    return done


def _send(source: int, at: int, fd: int, offset: int, length: int) -> None:
    os.lseek(fd, offset, os.SEEK_SET)
    done = 0
    while done < length:
        n = os.sendfile(fd, source, at + done, min(length - done, CHUNK))
        if n == 0:
            raise UnionError(errno.EIO, "a layer's file is shorter than it was")
        done += n
