"""Files: the bytes of the union, by inode. There are no handles: every call finds where the bytes are now.

So a reader sees what another process has just written, copy-up or not, and an unlinked file stays readable.
"""

from __future__ import annotations

import errno
import os
import stat

from unionfs import sysfd
from unionfs.errors import UnionError
from unionfs.layers.base import Source
from unionfs.layers.directory import DirLayer
from unionfs.layers.tarball import INO_OFFSET
from unionfs.node import MASK, Node
from unionfs.tree import UnionTree

MAX_SOURCES = 256
"""Descriptors of lower files kept open for the next read; a tar layer needs none."""

FALLOC_FL_KEEP_SIZE = 1
COPY_CHUNK = 4 << 20


class Files:
    def __init__(self, tree: UnionTree) -> None:
        self.tree = tree
        self._max_sources = min(MAX_SOURCES, sysfd.descriptor_limit() // 8)
        self._sources: dict[int, tuple[object, int, Source]] = {}  # ino -> (spot, layer, source)

    def close(self) -> None:
        """Lets go of every lower file, to be opened again when it is read."""
        while self._sources:
            self._drop(next(iter(self._sources)))

    def sizes(self) -> dict[str, int]:
        """How much is kept in memory and open: nodes, directories and files of all layers."""
        folders, files = self.tree.upper.descriptors() if self.tree.upper else (0, 0)
        folders += sum(layer.descriptors() for layer in self.tree.layers if isinstance(layer, DirLayer))
        return {
            "nodes": len(self.tree.nodes),
            "open_directories": folders,
            "open_files": files + len(self._sources),
        }

    # -- where the bytes are

    def source(self, ino: int) -> Source:
        """Where to read now. Ask again for every request: a copy-up moves the bytes."""
        node = self.tree.nodes.get(ino)
        if node is None:
            return self._numbered(ino)
        if node.upper and node.data is None:
            fd = self._read_fd(node)
            return Source(fd, 0, os.fstat(fd).st_size)
        held = self._sources.get(ino)
        if held is not None and held[0] == node.data and not self.tree.policy.changing:
            return held[2]
        return self._open(ino, node)

    def _numbered(self, ino: int) -> Source:
        """The source of a file that needs no node, since its number says all (see NodeTable)."""
        found = self.tree.nodes.numbered(ino)
        if found is None or not self.tree.nodes.known(ino):
            raise UnionError(errno.ESTALE, f"no node {ino:#x}")
        return found[1].source((ino & MASK) - INO_OFFSET)

    def _open(self, ino: int, node: Node) -> Source:
        if not node.is_reg:
            raise UnionError(errno.EISDIR if node.is_dir else errno.EINVAL)
        source = self.tree.open_source(node)
        assert node.data is not None
        if self.tree.nodes.tars[node.data[0]] is None:
            self._drop(ino)
            while len(self._sources) >= self._max_sources:
                self._drop(next(iter(self._sources)))
            self._sources[ino] = (node.data, node.data[0], source)
        return source

    def _drop(self, ino: int) -> None:
        held = self._sources.pop(ino, None)
        if held is not None:
            self.tree.layers[held[1]].release(held[2])

    def _read_fd(self, node: Node) -> int:
        if not node.is_reg:
            raise UnionError(errno.EISDIR if node.is_dir else errno.EINVAL)
        return self.tree.top.read_fd(node)

    def upper_fd(self, ino: int) -> int:
        """An O_RDWR descriptor of a file whose bytes are in the top layer."""
        node = self.tree.nodes[ino]
        if not node.is_reg:
            raise UnionError(errno.EISDIR if node.is_dir else errno.EINVAL)
        return self.tree.top.file_fd(node)

    def may_back(self, ino: int) -> bool:
        """Whether a file that is read could have a `backing_fd`: not if it may still be copied up."""
        node = self.tree.nodes.get(ino)
        return node is not None and (node.upper or self.tree.upper is None)

    def backing_fd(self, ino: int, write: bool) -> int | None:
        """A descriptor that holds exactly the file's bytes and that no copy-up will replace; None if there is none."""
        node = self.tree.nodes[ino]
        if node.fmt != stat.S_IFREG:
            return None
        if node.is_whole:
            fd = self.tree.top.file_fd(node) if write else self.tree.top.read_fd(node)
            return fd if self.tree.top.is_writable(node) else None
        if (
            write
            or self.tree.upper is not None
            or self.tree.nodes.tars[node.data[0] if node.data else 0] is not None
        ):
            return None
        return self.source(ino).fd

    # -- reading and writing

    def read(self, ino: int, offset: int, size: int) -> bytes:
        return read_source(self.source(ino), offset, size)

    def write(self, ino: int, offset: int, data: bytes | memoryview, kill_suidgid: bool = False) -> int:
        node = self._writable(ino)
        written = os.pwrite(self.tree.top.file_fd(node), data, offset)
        if kill_suidgid:
            self.tree.kill_suidgid(node)
        return written

    def _writable(self, ino: int) -> Node:
        node = self.tree.nodes[ino]
        if not node.is_reg:
            raise UnionError(errno.EISDIR if node.is_dir else errno.EINVAL)
        self.tree.copy_up(node)
        return self.tree.nodes[ino]

    def fallocate(self, ino: int, mode: int, offset: int, length: int) -> None:
        node = self._writable(ino)
        sysfd.fallocate(self.tree.top.file_fd(node), mode, offset, length)

    def lseek(self, ino: int, offset: int, whence: int) -> int:
        """SEEK_DATA and SEEK_HOLE; the kernel does the others itself."""
        source = self.source(ino)
        if whence not in (os.SEEK_DATA, os.SEEK_HOLE):
            raise UnionError(errno.EINVAL)
        if offset >= source.size or offset < 0:
            raise UnionError(errno.ENXIO)
        if source.extents is not None:
            return seek_extents(source, offset, whence)
        if source.start:
            return offset if whence == os.SEEK_DATA else source.size
        return os.lseek(source.fd, offset, whence)

    def copy_range(self, ino_in: int, off_in: int, ino_out: int, off_out: int, length: int) -> int:
        """copy_file_range(2); may copy less than `length`, and 0 only at the end of the input."""
        node = self._writable(ino_out)
        return copy_between(self.source(ino_in), off_in, self.tree.top.file_fd(node), off_out, length)

    def fsync(self, ino: int, datasync: bool) -> None:
        fd = self.sync_fd(ino)
        if fd is not None:
            (os.fdatasync if datasync else os.fsync)(fd)

    def sync_fd(self, ino: int) -> int | None:
        """The descriptor of what fsync of a file has to write out; None if nothing."""
        node = self.tree.nodes[ino]
        if not (node.upper and node.is_reg and self.tree.top.syncs):
            return None
        return self.tree.top.file_fd(node)

    def fsyncdir(self, ino: int) -> None:
        node = self.tree.nodes[ino]
        if node.upper and node.is_dir and self.tree.upper is not None:
            self.tree.upper.sync_name(self.tree.upper.dir_fd(node))


def read_source(source: Source, offset: int, size: int) -> bytes:
    """Up to `size` bytes from `offset` on; fewer only at the end."""
    size = min(size, source.size - offset)
    if size <= 0:
        return b""
    if source.extents is None:
        return os.pread(source.fd, size, source.start + offset)
    buffer = bytearray(size)
    for start, at, length in source.extents:
        first, last = max(start, offset), min(start + length, offset + size)
        if first < last:
            buffer[first - offset : last - offset] = os.pread(source.fd, last - first, at + first - start)
    return bytes(buffer)


def copy_between(source: Source, off_in: int, fd: int, off_out: int, length: int) -> int:
    """copy_file_range(2) from anywhere in a layer; may copy less than `length`, and 0 only at the end."""
    length = min(length, max(0, source.size - off_in))
    if source.extents is None and length:
        try:
            return os.copy_file_range(source.fd, fd, length, source.start + off_in, off_out)
        except OSError as e:
            if e.errno not in (errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
                raise
    data = read_source(source, off_in, min(length, COPY_CHUNK))
    return os.pwrite(fd, data, off_out)


def seek_extents(source: Source, offset: int, whence: int) -> int:
    """SEEK_DATA or SEEK_HOLE by the extents of a sparse file."""
    assert source.extents is not None
    for start, _, length in source.extents:
        if start + length <= offset or not length:
            continue
        if whence == os.SEEK_DATA:
            return max(start, offset)
        if start > offset:
            return offset
        offset = start + length
    if whence == os.SEEK_DATA:
        raise UnionError(errno.ENXIO)
    return min(offset, source.size)
