"""The wire format against an independent description of it: the structures of the kernel's header as ctypes."""

from __future__ import annotations

import ctypes
import os
import struct
from ctypes import c_int32, c_int64, c_uint16, c_uint32, c_uint64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unionfs.fuse import abi
from unionfs.fuse import opcodes as op
from unionfs.model import NOW, Attr, Caller, Change, Dirent

U32 = st.integers(0, 2**32 - 1)
U63 = st.integers(0, 2**63 - 1)
NAMES = st.binary(min_size=1, max_size=255).map(lambda b: b.replace(b"\0", b"x").replace(b"/", b"y"))


def structure(**fields: object) -> type[ctypes.Structure]:
    return type("S", (ctypes.Structure,), {"_fields_": list(fields.items())})


InHeader = structure(
    len=c_uint32, opcode=c_uint32, unique=c_uint64, nodeid=c_uint64, uid=c_uint32, gid=c_uint32, pid=c_uint32,
    total_extlen=c_uint16, padding=c_uint16,
)  # fmt: skip
OutHeader = structure(len=c_uint32, error=c_int32, unique=c_uint64)
FuseAttr = structure(
    ino=c_uint64, size=c_uint64, blocks=c_uint64, atime=c_int64, mtime=c_int64, ctime=c_int64,
    atimensec=c_uint32, mtimensec=c_uint32, ctimensec=c_uint32, mode=c_uint32, nlink=c_uint32, uid=c_uint32,
    gid=c_uint32, rdev=c_uint32, blksize=c_uint32, flags=c_uint32,
)  # fmt: skip
EntryOut = structure(
    nodeid=c_uint64, generation=c_uint64, entry_valid=c_uint64, attr_valid=c_uint64, entry_valid_nsec=c_uint32,
    attr_valid_nsec=c_uint32, attr=FuseAttr,
)  # fmt: skip
AttrOut = structure(attr_valid=c_uint64, attr_valid_nsec=c_uint32, dummy=c_uint32, attr=FuseAttr)
OpenOut = structure(fh=c_uint64, open_flags=c_uint32, backing_id=c_int32)
FuseDirent = structure(ino=c_uint64, off=c_uint64, namelen=c_uint32, type=c_uint32)
SetattrIn = structure(
    valid=c_uint32, padding=c_uint32, fh=c_uint64, size=c_uint64, lock_owner=c_uint64, atime=c_int64,
    mtime=c_int64, ctime=c_int64, atimensec=c_uint32, mtimensec=c_uint32, ctimensec=c_uint32, mode=c_uint32,
    unused4=c_uint32, uid=c_uint32, gid=c_uint32, unused5=c_uint32,
)  # fmt: skip
WriteIn = structure(
    fh=c_uint64, offset=c_uint64, size=c_uint32, write_flags=c_uint32, lock_owner=c_uint64, flags=c_uint32,
    padding=c_uint32,
)  # fmt: skip
InitIn = structure(
    major=c_uint32,
    minor=c_uint32,
    max_readahead=c_uint32,
    flags=c_uint32,
    flags2=c_uint32,
    unused=c_uint32 * 11,
)
InitOut = structure(
    major=c_uint32, minor=c_uint32, max_readahead=c_uint32, flags=c_uint32, max_background=c_uint16,
    congestion_threshold=c_uint16, max_write=c_uint32, time_gran=c_uint32, max_pages=c_uint16,
    map_alignment=c_uint16, flags2=c_uint32, max_stack_depth=c_uint32, request_timeout=c_uint16,
    unused=c_uint16 * 11,
)  # fmt: skip
Kstatfs = structure(
    blocks=c_uint64, bfree=c_uint64, bavail=c_uint64, files=c_uint64, ffree=c_uint64, bsize=c_uint32,
    namelen=c_uint32, frsize=c_uint32, padding=c_uint32, spare=c_uint32 * 6,
)  # fmt: skip
CopyIn = structure(
    fh_in=c_uint64, off_in=c_uint64, nodeid_out=c_uint64, fh_out=c_uint64, off_out=c_uint64, len=c_uint64,
    flags=c_uint64,
)  # fmt: skip
Fallocate = structure(fh=c_uint64, offset=c_uint64, length=c_uint64, mode=c_uint32, padding=c_uint32)
StoreOut = structure(nodeid=c_uint64, offset=c_uint64, size=c_uint32, padding=c_uint32)
InvalEntry = structure(parent=c_uint64, namelen=c_uint32, flags=c_uint32)

attrs = st.builds(
    Attr,
    *(U63, U63, U63),
    *[st.integers(-(2**63), 2**63 - 1)] * 3,
    *[U32] * 10,
)


def request(
    opcode: int, body: bytes, *, nodeid: int = 7, uid: int = 1000, gid: int = 100, pid: int = 42
) -> bytes:
    return bytes(InHeader(40 + len(body), opcode, 99, nodeid, uid, gid, pid, 0, 0)) + body


def reply(message: bytes | memoryview) -> tuple[ctypes.Structure, bytes]:
    message = bytes(message)
    head = OutHeader.from_buffer_copy(message)
    assert head.len == len(message)
    return head, message[16:]


def same_attr(given: Attr, found: ctypes.Structure) -> bool:
    return all(
        getattr(found, name) == getattr(given, name) for name in ("ino", "size", "atime", "ctimensec", "mode")
    )


def test_head() -> None:
    head = abi.head(request(op.LOOKUP, b"name\0"))
    assert head == abi.Head(45, op.LOOKUP, 99, 7, 1000, 100, 42, 0, 0)
    assert abi.text(request(op.LOOKUP, b"name\0"), abi.BODY, 45) == b"name"


@given(attrs)
def test_entry(attr: Attr) -> None:
    head, body = reply(abi.entry(5, attr, abi.Valid(3, 4)))
    out = EntryOut.from_buffer_copy(body)
    assert (head.unique, head.error, len(body)) == (5, 0, ctypes.sizeof(EntryOut))
    assert (out.nodeid, out.generation, out.entry_valid, out.attr_valid) == (attr.ino, 0, 3, 3)
    assert (out.entry_valid_nsec, out.attr_valid_nsec) == (4, 4)
    assert same_attr(attr, out.attr)
    assert (out.attr.rdev, out.attr.nlink, out.attr.blksize) == (attr.rdev, attr.nlink, attr.blksize)


@given(attrs)
def test_attr(attr: Attr) -> None:
    out = AttrOut.from_buffer_copy(reply(abi.attr(5, attr, abi.Valid(3, 4)))[1])
    assert (out.attr_valid, out.attr_valid_nsec) == (3, 4)
    assert same_attr(attr, out.attr)


def test_numbers_that_do_not_fit_are_cut_to_the_kernels() -> None:
    attr = Attr(1, 2, 3, *[0] * 6, 0o20600, 2**40, 0, 0, os.makedev(5000, 3), 2**35)
    out = EntryOut.from_buffer_copy(reply(abi.entry(5, attr, abi.FOREVER))[1])
    assert out.attr.nlink == out.attr.blksize == 2**32 - 1
    assert out.attr.rdev == os.makedev(5000, 3) & 0xFFFFFFFF
    assert AttrOut.from_buffer_copy(reply(abi.attr(5, attr, abi.FOREVER))[1]).attr.nlink == 2**32 - 1
    listing = abi.Listing(4096)
    listing.add_plus([(3, b"x", attr)])
    assert EntryOut.from_buffer_copy(reply(listing.reply(5))[1]).attr.nlink == 2**32 - 1


def test_no_entry_is_an_entry_without_a_node() -> None:
    out = EntryOut.from_buffer_copy(reply(abi.no_entry(5, abi.Valid(3, 4)))[1])
    assert (out.nodeid, out.entry_valid, out.entry_valid_nsec, out.attr_valid) == (0, 3, 4, 0)


def test_created_is_an_entry_and_an_open() -> None:
    attr = Attr(9, *[0] * 14)
    _, body = reply(abi.created(5, attr, abi.FOREVER, abi.Opened(2, op.FOPEN_PASSTHROUGH, 77)))
    out = OpenOut.from_buffer_copy(body, ctypes.sizeof(EntryOut))
    assert EntryOut.from_buffer_copy(body).nodeid == 9
    assert (out.fh, out.open_flags, out.backing_id) == (2, op.FOPEN_PASSTHROUGH, 77)
    assert reply(abi.opened(5, abi.Opened(2, 8, 77)))[1] == bytes(OpenOut(2, 8, 77))


@pytest.mark.parametrize(
    ("valid", "change"),
    [
        (0, Change(kill_suidgid=True)),
        (1, Change(mode=0o4711)),
        (2 | 4, Change(uid=11, gid=12)),
        (8, Change(size=13)),
        (8 | 64, Change(size=13, mtime=NOW)),
        (16 | 32, Change(atime=(-5, 21), mtime=(6, 22))),
        (16 | 32 | 128 | 256, Change(atime=NOW, mtime=NOW)),
        (1024, Change(ctime=(7, 23), kill_suidgid=True)),
        (8 | 2048, Change(size=13, kill_suidgid=True)),
    ],
)
def test_setattr(valid: int, change: Change) -> None:
    body = bytes(SetattrIn(valid, 0, 1, 13, 0, -5, 6, 7, 21, 22, 23, 0o104711, 0, 11, 12, 0))
    assert abi.setattr_in(request(op.SETATTR, body)) == change
    if valid & 8:
        assert abi.setattr_in(request(op.SETATTR, body), by_open=True).mtime == NOW


@given(NAMES, NAMES, U32)
def test_requests_with_names(one: bytes, two: bytes, flags: int) -> None:
    def parse(opcode: int, body: bytes) -> tuple[abi.Head, bytes]:
        message = request(opcode, body)
        return abi.head(message), message

    caller = Caller(1000, 100, 42, 0o22)
    names = one + b"\0" + two + b"\0"
    assert abi.rename_in(*parse(op.RENAME, struct.pack("=Q", 8) + names)) == (8, one, two, 0)
    assert abi.rename_in(*parse(op.RENAME2, struct.pack("=QII", 8, flags, 0) + names)) == (8, one, two, flags)
    head, message = parse(op.SYMLINK, names)
    assert abi.two_texts(message, abi.BODY, head.length) == (one, two)
    assert abi.link_in(*parse(op.LINK, struct.pack("=Q", 8) + one + b"\0")) == (8, one)
    mknod = struct.pack("=IIII", 0o100644, 5, 0o22, 0) + one + b"\0"
    assert abi.mknod_in(*parse(op.MKNOD, mknod)) == (one, 0o100644, caller, 5, 0, 0)
    mkdir = struct.pack("=II", 0o755, 0o22) + one + b"\0"
    assert abi.mkdir_in(*parse(op.MKDIR, mkdir)) == (one, 0o755, caller, 0, 0, 0)
    create = struct.pack("=IIII", os.O_RDWR, 0o644, 0o22, 1) + one + b"\0"
    assert abi.create_in(*parse(op.CREATE, create)) == (one, 0o644, caller, 0, os.O_RDWR, 1)


@given(NAMES, st.binary(max_size=300), st.booleans())
def test_setxattr(name: bytes, value: bytes, extended: bool) -> None:
    fixed = struct.pack("=II", len(value), 1) + (struct.pack("=II", 1, 0) if extended else b"")
    message = request(op.SETXATTR, fixed + name + b"\0" + value)
    assert abi.setxattr_in(abi.head(message), message, extended) == (name, value, 1, extended)


@given(U63, st.binary(max_size=100), st.booleans())
def test_write(offset: int, payload: bytes, kill: bool) -> None:
    body = bytes(WriteIn(1, offset, len(payload), 4 if kill else 1, 0, 0, 0))
    found = abi.write_in(request(op.WRITE, body + payload) + b"what an earlier request has left")
    assert (found[0], bytes(found[1]), found[2]) == (offset, payload, kill)


def test_requests_with_numbers() -> None:
    assert abi.read_in(request(op.READ, struct.pack("=QQIIQII", 1, 2, 3, 0, 0, 0, 0))) == (2, 3)
    assert abi.open_in(request(op.OPEN, struct.pack("=II", 2, 1))) == (2, 1)
    assert abi.release_in(request(op.RELEASE, struct.pack("=QIIQ", 2, 0, 0, 0))) == 2
    assert abi.fsync_in(request(op.FSYNC, struct.pack("=QII", 1, 1, 0))) is True
    assert abi.fsync_in(request(op.FSYNC, struct.pack("=QII", 1, 0, 0))) is False
    assert abi.lseek_in(request(op.LSEEK, struct.pack("=QQII", 1, 2, 3, 0))) == (2, 3)
    assert abi.fallocate_in(request(op.FALLOCATE, bytes(Fallocate(1, 2, 3, 4, 0)))) == (4, 2, 3)
    assert abi.copy_file_range_in(request(op.COPY_FILE_RANGE, bytes(CopyIn(1, 2, 3, 4, 5, 6, 0)))) == (
        2,
        3,
        5,
        6,
    )
    getxattr = request(op.GETXATTR, struct.pack("=II", 9, 0) + b"user.x\0")
    assert abi.getxattr_in(abi.head(getxattr), getxattr) == (9, b"user.x")


@given(st.lists(st.tuples(U63, U63), max_size=20))
def test_forgets(pairs: list[tuple[int, int]]) -> None:
    body = struct.pack("=II", len(pairs), 0) + b"".join(struct.pack("=QQ", *pair) for pair in pairs)
    assert list(abi.forgets(request(op.BATCH_FORGET, body) + b"rest of the buffer")) == pairs
    assert abi.forget_in(request(op.FORGET, struct.pack("=Q", 12))) == 12


def test_init() -> None:
    old = struct.pack("=IIII", 7, 31, 65536, 0xFFFFFFFF & ~op.INIT_EXT)
    assert abi.init_in(request(op.INIT, old), 56) == (7, 31, 65536, 0xFFFFFFFF & ~op.INIT_EXT)
    new = bytes(InitIn(7, 45, 65536, op.INIT_EXT | 1, 0x20))
    assert abi.init_in(request(op.INIT, new), 40 + len(new)).flags == op.INIT_EXT | 1 | op.PASSTHROUGH
    _, body = reply(
        abi.init(5, abi.InitOut(40, 65536, op.PASSTHROUGH | op.INIT_EXT, 64, 48, 1 << 20, 256, 1))
    )
    out = InitOut.from_buffer_copy(body)
    assert len(body) == ctypes.sizeof(InitOut) == 64
    assert (out.major, out.minor, out.max_readahead) == (7, 40, 65536)
    assert (out.flags, out.flags2) == (op.INIT_EXT, op.PASSTHROUGH >> 32)
    assert (out.max_background, out.congestion_threshold, out.max_write) == (64, 48, 1 << 20)
    assert (out.time_gran, out.max_pages, out.max_stack_depth, out.request_timeout) == (1, 256, 1, 0)
    assert InitOut.from_buffer_copy(reply(abi.init_major(5))[1]).major == 7


def test_statfs() -> None:
    real = os.statvfs("/")
    out = Kstatfs.from_buffer_copy(reply(abi.statfs(5, real))[1])
    assert (out.blocks, out.bfree, out.bavail, out.files) == (
        real.f_blocks,
        real.f_bfree,
        real.f_bavail,
        real.f_files,
    )
    assert (out.bsize, out.namelen, out.frsize) == (real.f_bsize, real.f_namemax, real.f_frsize)
    assert len(abi.statfs(5, real)) == 16 + ctypes.sizeof(Kstatfs)


def test_short_replies() -> None:
    assert reply(abi.error(5, 2))[0].error == -2
    assert reply(abi.done(5))[1] == b""
    assert reply(abi.data(5, b"abc"))[1] == b"abc"
    assert reply(abi.out_head(5, 3) + b"abc")[1] == b"abc"
    assert reply(abi.sized(5, 6))[1] == struct.pack("=II", 6, 0)
    assert reply(abi.offset(5, 2**40))[1] == struct.pack("=Q", 2**40)


def parse_rows(body: bytes, plus: bool) -> list[tuple[int, int, int, bytes, int]]:
    rows, at, skip = [], 0, ctypes.sizeof(EntryOut) if plus else 0
    while at < len(body):
        nodeid = EntryOut.from_buffer_copy(body, at).nodeid if plus else 0
        row = FuseDirent.from_buffer_copy(body, at + skip)
        name_at = at + skip + 24
        rows.append((row.ino, row.off, row.type, body[name_at : name_at + row.namelen], nodeid))
        at += skip + 24 + row.namelen + 7 & ~7
    return rows


@given(
    st.lists(st.tuples(U63, U63, NAMES, st.sampled_from([0o040755, 0o100644, 0o120777])), max_size=40),
    st.integers(24, 4096),
)
def test_listing_holds_whole_rows_only(given_rows: list[tuple[int, int, bytes, int]], size: int) -> None:
    listing, placed = abi.Listing(size), []
    for ino, cookie, name, mode in given_rows:
        if not listing.add(Dirent(cookie, name, ino, mode)):
            break
        placed.append((ino, cookie, mode >> 12, name, 0))
    body = reply(listing.reply(5))[1]
    assert len(body) <= size
    assert parse_rows(body, plus=False) == placed


@given(st.lists(st.tuples(attrs, U63, NAMES), max_size=20), st.integers(152, 4096))
def test_listing_with_attributes(given_rows: list[tuple[Attr, int, bytes]], size: int) -> None:
    listing = abi.Listing(size, abi.Valid(3, 4))
    listing.add_plus((cookie, name, attr) for attr, cookie, name in given_rows)
    body = reply(listing.reply(5))[1]
    rows = parse_rows(body, plus=True)
    known = [attr.ino if cookie > 2 and attr.mode else 0 for attr, cookie, _ in given_rows]
    assert (
        rows
        == [
            (attr.ino, cookie, attr.mode >> 12 & 15, name, nodeid)
            for (attr, cookie, name), nodeid in zip(given_rows, known, strict=True)
        ][: len(rows)]
    )
    assert listing.told == [nodeid for nodeid in known[: len(rows)] if nodeid]
    assert len(body) <= size
    if len(rows) < len(given_rows):
        assert len(body) + (152 + len(given_rows[len(rows)][2]) + 7 & ~7) > size


def test_notifications() -> None:
    head, body = reply(abi.store(8, 4096, 3) + b"abc")
    assert (head.unique, head.error, body) == (0, 4, bytes(StoreOut(8, 4096, 3, 0)) + b"abc")
    head, body = reply(abi.inval_entry(8, b"name"))
    assert (head.unique, head.error, body) == (0, 3, bytes(InvalEntry(8, 4, 0)) + b"name\0")
    head, body = reply(abi.inval_inode(8))
    assert (head.unique, head.error, body) == (0, 2, struct.pack("=Qqq", 8, 0, 0))


@pytest.mark.parametrize(
    ("seconds", "valid"), [(None, abi.FOREVER), (0, (0, 0)), (1.5, (1, 500_000_000)), (1e12, abi.FOREVER)]
)
def test_valid(seconds: float | None, valid: tuple[int, int]) -> None:
    assert abi.valid(seconds) == valid
