"""The FUSE wire format: requests out of bytes, replies into bytes. PURE.

Layouts are those of the kernel's include/uapi/linux/fuse.h, protocol 7.31 to 7.45, in the byte order of the
machine. A request is its `Head` and the buffer that holds the whole message; the functions that read requests
take that buffer. Whatever answers a request returns the complete message to write to the device.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from struct import Struct
from struct import error as StructError

from unionfs.fuse import opcodes as op
from unionfs.model import NOW, Attr, Caller, Change, Dirent
from unionfs.namedtuple import NamedTuple

Buffer = bytes | bytearray | memoryview

BODY = 40
"""Where a request's own fields begin: sizeof(struct fuse_in_header)."""

_HEAD = Struct("=IIQQIIIHH")
_unpack_head = _HEAD.unpack_from
_new = tuple.__new__
_OUT = Struct("=IiQ")
_ATTR = "QQQqqqIIIIIIIIII"  # struct fuse_attr; times are signed, as the kernel reads them
_ENTRY = Struct("=IiQ" + "QQQQII" + _ATTR)
_ATTR_OUT = Struct("=IiQ" + "QII" + _ATTR)
_CREATED = Struct("=IiQ" + "QQQQII" + _ATTR + "QIi")
_OPENED = Struct("=IiQ" + "QIi")
_SIZED = Struct("=IiQ" + "II")  # fuse_write_out, fuse_getxattr_out
_OFFSET = Struct("=IiQ" + "Q")  # fuse_lseek_out, fuse_copy_file_range_out
_STATFS = Struct("=IiQ" + "QQQQQIIII24x")
_INIT_OUT = Struct("=IiQ" + "IIIIHHIIHHIIH22x")
_DIRENT = Struct("=QQII")
_DIRENTPLUS = Struct("=QQQQII" + _ATTR + "QQII")
_pack_row = _DIRENTPLUS.pack_into
_STORE = Struct("=IiQ" + "QQII")
_INVAL_ENTRY = Struct("=IiQ" + "QII")
_INVAL_INODE = Struct("=IiQ" + "Qqq")

_INIT_IN = Struct("=IIII")
_SETATTR = Struct("=IIQQQqqqIIIIIII")
_U32 = Struct("=I")
_U64 = Struct("=Q")
_TWO32 = Struct("=II")
_FOUR32 = Struct("=IIII")
_TWO64 = Struct("=QQ")
_READ = Struct("=QQI")
_WRITE = Struct("=QQII")
_LSEEK = Struct("=QQI")
_FALLOCATE = Struct("=QQQI")
_COPY_RANGE = Struct("=QQQQQQQ")
_RENAME2 = Struct("=QI")

WRITE_DATA = BODY + 40
"""Where the data of a WRITE begin."""

MAX_OVERHEAD = 4096
"""Bytes of a message beside the data of a WRITE, rounded up to a page, as the kernel asks of a buffer."""


class Head(NamedTuple):
    """struct fuse_in_header. `length` is the length of the message in bytes."""

    length: int
    opcode: int
    unique: int
    nodeid: int
    uid: int
    gid: int
    pid: int
    extlen: int
    padding: int


class Valid(NamedTuple):
    """How long the kernel may keep an answer: whole seconds and nanoseconds."""

    sec: int
    nsec: int


FOREVER = Valid(10**9, 0)
"""31 years: the kernel turns it into jiffies, and larger values overflow where a long has 32 bits."""


def valid(seconds: float | None) -> Valid:
    """None means without limit."""
    if seconds is None or seconds >= FOREVER.sec:
        return FOREVER
    whole = int(seconds)
    return Valid(whole, int((seconds - whole) * 1e9))


# Requests


def head(buf: Buffer) -> Head:
    return _new(Head, _unpack_head(buf))


def text(buf: Buffer, start: int, end: int) -> bytes:
    """The one NUL-terminated string between two offsets."""
    return bytes(buf[start : end - 1])


def two_texts(buf: Buffer, start: int, end: int) -> tuple[bytes, bytes]:
    first, second, *_ = bytes(buf[start:end]).split(b"\0")
    return first, second


class InitIn(NamedTuple):
    major: int
    minor: int
    max_readahead: int
    flags: int


def init_in(buf: Buffer, length: int) -> InitIn:
    """The second word of flags exists from protocol 7.36 on, and only with INIT_EXT."""
    major, minor, max_readahead, flags = _INIT_IN.unpack_from(buf, BODY)
    if flags & op.INIT_EXT and length >= BODY + 20:
        flags |= _U32.unpack_from(buf, BODY + 16)[0] << 32
    return InitIn(major, minor, max_readahead, flags)


def forgets(buf: Buffer) -> Iterable[tuple[int, int]]:
    """BATCH_FORGET: (node id, lookups to take back)."""
    (count,) = _U32.unpack_from(buf, BODY)
    return _TWO64.iter_unpack(memoryview(buf)[BODY + 8 : BODY + 8 + 16 * count])


def forget_in(buf: Buffer) -> int:
    return int(_U64.unpack_from(buf, BODY)[0])


_TIMES = op.FATTR_ATIME | op.FATTR_ATIME_NOW | op.FATTR_MTIME | op.FATTR_MTIME_NOW | op.FATTR_CTIME
_CHANGES = op.FATTR_MODE | op.FATTR_UID | op.FATTR_GID | op.FATTR_SIZE | op.FATTR_ATIME | op.FATTR_MTIME


def setattr_in(buf: Buffer, *, by_open: bool = False) -> Change:
    """A truncation through an open file, O_TRUNC's too, changes the time even where it changes nothing else.

    The kernel leaves that to us (`update_mtime` in fs/fuse/dir.c). truncate(2) comes without FATTR_FH, but so does
    O_TRUNC where there is no OPEN: `by_open` takes it for that.
    """
    (valid, _, _, size, _, atime, mtime, ctime, atimensec, mtimensec, ctimensec, mode, _, uid, gid) = (
        _SETATTR.unpack_from(buf, BODY)
    )
    times: tuple[Time, Time, Time] = (None, None, None)
    if valid & _TIMES:
        times = (
            NOW if valid & op.FATTR_ATIME_NOW else (atime, atimensec) if valid & op.FATTR_ATIME else None,
            NOW if valid & op.FATTR_MTIME_NOW else (mtime, mtimensec) if valid & op.FATTR_MTIME else None,
            (ctime, ctimensec) if valid & op.FATTR_CTIME else None,
        )
    if valid & op.FATTR_SIZE and times[1] is None and (by_open or valid & op.FATTR_FH):
        times = (times[0], NOW, times[2])
    return Change(
        mode & 0o7777 if valid & op.FATTR_MODE else None,
        uid if valid & op.FATTR_UID else None,
        gid if valid & op.FATTR_GID else None,
        size if valid & op.FATTR_SIZE else None,
        *times,
        # chown(2) of nothing still clears them, and then nothing else is left of it (`fuse_setattr`).
        valid & op.FATTR_KILL_SUIDGID != 0 or not valid & _CHANGES,
    )


Time = tuple[int, int] | None


class MakeIn(NamedTuple):
    """MKNOD, MKDIR, CREATE, TMPFILE: what is not in the one is 0 here."""

    name: bytes
    mode: int
    caller: Caller
    rdev: int = 0
    flags: int = 0
    open_flags: int = 0


def mknod_in(head: Head, buf: Buffer) -> MakeIn:
    mode, rdev, umask, _ = _FOUR32.unpack_from(buf, BODY)
    return MakeIn(text(buf, BODY + 16, head.length), mode, caller(head, umask), rdev)


def mkdir_in(head: Head, buf: Buffer) -> MakeIn:
    mode, umask = _TWO32.unpack_from(buf, BODY)
    return MakeIn(text(buf, BODY + 8, head.length), mode, caller(head, umask))


def create_in(head: Head, buf: Buffer) -> MakeIn:
    flags, mode, umask, open_flags = _FOUR32.unpack_from(buf, BODY)
    return MakeIn(text(buf, BODY + 16, head.length), mode, caller(head, umask), 0, flags, open_flags)


def caller(head: Head, umask: int = 0) -> Caller:
    return Caller(head.uid, head.gid, head.pid, umask)


def link_in(head: Head, buf: Buffer) -> tuple[int, bytes]:
    """(the inode to link, its new name)."""
    return _U64.unpack_from(buf, BODY)[0], text(buf, BODY + 8, head.length)


def rename_in(head: Head, buf: Buffer) -> tuple[int, bytes, bytes, int]:
    """RENAME and RENAME2: (new parent, old name, new name, flags)."""
    if head.opcode == op.RENAME:
        (newdir,), flags, start = _U64.unpack_from(buf, BODY), 0, BODY + 8
    else:
        (newdir, flags), start = _RENAME2.unpack_from(buf, BODY), BODY + 16
    return newdir, *two_texts(buf, start, head.length), flags


def open_in(buf: Buffer) -> tuple[int, int]:
    """(flags of open(2), OPEN_KILL_SUIDGID or 0)."""
    flags, open_flags = _TWO32.unpack_from(buf, BODY)
    return flags, open_flags


def release_in(buf: Buffer) -> int:
    """The file handle; also of FLUSH."""
    return int(_U64.unpack_from(buf, BODY)[0])


def read_in(buf: Buffer) -> tuple[int, int]:
    """READ, READDIR and READDIRPLUS: (offset or cookie, bytes wanted)."""
    _, offset, size = _READ.unpack_from(buf, BODY)
    return offset, size


def write_in(buf: Buffer) -> tuple[int, memoryview, bool]:
    """(offset, data: a view of the buffer, whether setuid and setgid are to be cleared)."""
    _, offset, size, flags = _WRITE.unpack_from(buf, BODY)
    data = memoryview(buf)[WRITE_DATA : WRITE_DATA + size]
    return offset, data, bool(flags & op.WRITE_KILL_SUIDGID)


def fsync_in(buf: Buffer) -> bool:
    """FSYNC and FSYNCDIR: whether the data alone are enough."""
    return bool(_U32.unpack_from(buf, BODY + 8)[0] & op.FSYNC_FDATASYNC)


def setxattr_in(head: Head, buf: Buffer, extended: bool) -> tuple[bytes, bytes, int, bool]:
    """(name, value, XATTR_CREATE or XATTR_REPLACE or 0, whether setgid is to be cleared)."""
    size, flags = _TWO32.unpack_from(buf, BODY)
    kill = extended and _U32.unpack_from(buf, BODY + 8)[0] & op.SETXATTR_ACL_KILL_SGID
    start = BODY + (16 if extended else 8)
    name, _, _ = bytes(buf[start : head.length]).partition(b"\0")
    value_at = start + len(name) + 1
    return name, bytes(buf[value_at : value_at + size]), flags, bool(kill)


def getxattr_in(head: Head, buf: Buffer) -> tuple[int, bytes]:
    """GETXATTR and, with an empty name, LISTXATTR: (bytes there is room for; 0 asks for the size, name)."""
    (size,) = _U32.unpack_from(buf, BODY)
    return size, text(buf, BODY + 8, head.length)


def lseek_in(buf: Buffer) -> tuple[int, int]:
    _, offset, whence = _LSEEK.unpack_from(buf, BODY)
    return offset, whence


def fallocate_in(buf: Buffer) -> tuple[int, int, int]:
    """(mode, offset, length)."""
    _, offset, length, mode = _FALLOCATE.unpack_from(buf, BODY)
    return mode, offset, length


def copy_file_range_in(buf: Buffer) -> tuple[int, int, int, int]:
    """(offset in the request's node, the other node, offset there, bytes)."""
    _, off_in, node_out, _, off_out, length, _ = _COPY_RANGE.unpack_from(buf, BODY)
    return off_in, node_out, off_out, length


# Replies


def error(unique: int, errno: int) -> bytes:
    return _OUT.pack(16, -errno, unique)


def done(unique: int) -> bytes:
    return _OUT.pack(16, 0, unique)


def out_head(unique: int, size: int) -> bytes:
    """The header of a reply whose `size` bytes follow it."""
    return _OUT.pack(16 + size, 0, unique)


def data(unique: int, payload: Buffer) -> bytes:
    return _OUT.pack(16 + len(payload), 0, unique) + payload


def entry(unique: int, attr: Attr, valid: Valid) -> bytes:
    sec, nsec = valid
    try:
        return _ENTRY.pack(_ENTRY.size, 0, unique, attr.ino, 0, sec, sec, nsec, nsec, *attr)
    except StructError:
        return _ENTRY.pack(_ENTRY.size, 0, unique, attr.ino, 0, sec, sec, nsec, nsec, *_fit(attr))


def no_entry(unique: int, valid: Valid) -> bytes:
    """There is no such name, and the kernel may remember that."""
    return _ENTRY.pack(_ENTRY.size, 0, unique, 0, 0, valid.sec, 0, valid.nsec, *(0,) * 17)


def attr(unique: int, attr: Attr, valid: Valid) -> bytes:
    try:
        return _ATTR_OUT.pack(_ATTR_OUT.size, 0, unique, valid.sec, valid.nsec, 0, *attr)
    except StructError:
        return _ATTR_OUT.pack(_ATTR_OUT.size, 0, unique, valid.sec, valid.nsec, 0, *_fit(attr))


def created(unique: int, attr: Attr, valid: Valid, opened: Opened) -> bytes:
    sec, nsec = valid
    head = (_CREATED.size, 0, unique, attr.ino, 0, sec, sec, nsec, nsec)
    try:
        return _CREATED.pack(*head, *attr, *opened)
    except StructError:
        return _CREATED.pack(*head, *_fit(attr), *opened)


def _fit(attr: Attr) -> Attr:
    """`attr` with 32-bit fields that fit: device numbers as the kernel has them, counts at their limit."""
    cap = 0xFFFFFFFF
    return attr._replace(
        rdev=attr.rdev & cap, nlink=min(attr.nlink, cap), blksize=min(attr.blksize, cap), mode=attr.mode & cap
    )


class Opened(NamedTuple):
    """The answer to OPEN: what RELEASE will name it by, FOPEN_* flags, backing id or 0."""

    handle: int
    flags: int
    backing_id: int = 0


def opened(unique: int, answer: Opened) -> bytes:
    return _OPENED.pack(_OPENED.size, 0, unique, *answer)


def sized(unique: int, size: int) -> bytes:
    """WRITE (bytes written), GETXATTR and LISTXATTR (bytes needed)."""
    return _SIZED.pack(_SIZED.size, 0, unique, size, 0)


def offset(unique: int, value: int) -> bytes:
    """LSEEK (the offset found) and COPY_FILE_RANGE_64 (bytes copied)."""
    return _OFFSET.pack(_OFFSET.size, 0, unique, value)


def statfs(unique: int, st: os.statvfs_result) -> bytes:
    return _STATFS.pack(
        *(_STATFS.size, 0, unique),
        *(st.f_blocks, st.f_bfree, st.f_bavail, st.f_files, st.f_ffree),
        *(st.f_bsize, st.f_namemax, st.f_frsize, 0),
    )


class InitOut(NamedTuple):
    minor: int
    max_readahead: int
    flags: int
    max_background: int
    congestion_threshold: int
    max_write: int
    max_pages: int
    max_stack_depth: int


def init(unique: int, out: InitOut) -> bytes:
    """Times have a granularity of one nanosecond. Needs protocol 7.23, for the size of the reply."""
    return _INIT_OUT.pack(
        *(_INIT_OUT.size, 0, unique, 7, out.minor, out.max_readahead, out.flags & 0xFFFFFFFF),
        *(out.max_background, out.congestion_threshold, out.max_write, 1, out.max_pages, 0),
        *(out.flags >> 32, out.max_stack_depth, 0),
    )


def init_major(unique: int) -> bytes:
    """Answers a kernel with a later major protocol: it asks again with ours."""
    return _INIT_OUT.pack(_INIT_OUT.size, 0, unique, 7, *(0,) * 12)


class Listing:
    """A READDIR or READDIRPLUS reply in the making: rows are added until one no longer fits."""

    __slots__ = ("_buf", "_end", "_room", "_valid", "told")

    def __init__(self, size: int, valid: Valid = FOREVER) -> None:
        self._buf = bytearray(16)  # longer once there is a row: every second reply has none
        self._end = 16
        self._room = 16 + size
        self._valid = valid
        self.told: list[int] = []
        """The node ids that READDIRPLUS rows have told of: each is a lookup that the kernel counts."""

    @property
    def is_empty(self) -> bool:
        return self._end == 16

    def add(self, row: Dirent) -> bool:
        at, length = self._end, len(row.name)
        end = at + (24 + length + 7 & ~7)
        if end > self._room:
            return False
        if self.is_empty:
            self._buf = bytearray(self._room)
        _DIRENT.pack_into(self._buf, at, row.ino, row.cookie, length, row.mode >> 12 & 15)
        self._buf[at + 24 : at + 24 + length] = row.name
        self._end = end
        return True

    def add_plus(self, rows: Iterable[tuple[int, bytes, Attr]]) -> None:
        """Adds rows (cookie, name, attributes) while they fit.

        Of `.` and `..` (cookies 1 and 2), and of what has no mode, the kernel is told name and type only.
        """
        buf, at, room, told = self._buf, self._end, self._room, self.told
        sec, nsec = self._valid
        for cookie, name, attr in rows:
            length, ino, mode = len(name), attr[0], attr[9]
            end = at + (152 + length + 7 & ~7)
            if end > room:
                break
            if at == 16:
                self._buf = buf = bytearray(room)
            nodeid, kind = ino if cookie > 2 and mode else 0, mode >> 12 & 15
            try:
                _pack_row(buf, at, nodeid, 0, sec, sec, nsec, nsec, *attr, ino, cookie, length, kind)
            except StructError:
                _pack_row(buf, at, nodeid, 0, sec, sec, nsec, nsec, *_fit(attr), ino, cookie, length, kind)
            buf[at + 152 : at + 152 + length] = name
            self._end = at = end
            if nodeid:
                told.append(nodeid)

    def reply(self, unique: int) -> memoryview:
        _OUT.pack_into(self._buf, 0, self._end, 0, unique)
        return memoryview(self._buf)[: self._end]


# Notifications


def store(nodeid: int, offset: int, size: int) -> bytes:
    """The head of a NOTIFY_STORE; `size` bytes for the inode's page cache follow it."""
    return _STORE.pack(_STORE.size + size, op.NOTIFY_STORE, 0, nodeid, offset, size, 0)


def inval_entry(parent: int, name: bytes) -> bytes:
    head = _INVAL_ENTRY.pack(
        _INVAL_ENTRY.size + len(name) + 1, op.NOTIFY_INVAL_ENTRY, 0, parent, len(name), 0
    )
    return head + name + b"\0"


def inval_inode(nodeid: int) -> bytes:
    """Drops attributes and all cached data or rows of an inode."""
    return _INVAL_INODE.pack(_INVAL_INODE.size, op.NOTIFY_INVAL_INODE, 0, nodeid, 0, 0)
