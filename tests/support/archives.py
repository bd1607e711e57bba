"""Tar archives made by hand, block by block, and what a layer shows of them."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import NamedTuple

from unionfs.layers.base import Entry
from unionfs.layers.tarball import TarLayer, open_tar_layer

END = bytes(1024)
USTAR = b"ustar\x0000"
GNU = b"ustar  \x00"
V7 = bytes(8)


def header(
    name: bytes,
    kind: bytes = b"0",
    size: int | bytes = 0,
    *,
    mode: int | bytes = 0o644,
    uid: int | bytes = 0,
    gid: int | bytes = 0,
    mtime: int | bytes = 0,
    link: bytes = b"",
    magic: bytes = USTAR,
    major: int = 0,
    minor: int = 0,
    prefix: bytes = b"",
) -> bytes:
    """One header block with a right checksum. Numbers may be given as the bytes of their field."""
    fields = [(mode, 8), (uid, 8), (gid, 8), (size, 12), (mtime, 12)]
    numbers = b"".join(octal(value, width) for value, width in fields)
    devices = octal(major, 8) + octal(minor, 8)
    block = name.ljust(100, b"\0") + numbers + b" " * 8 + kind + link.ljust(100, b"\0") + magic + bytes(64)
    return summed((block + devices + prefix.ljust(155, b"\0")).ljust(512, b"\0"))


def octal(value: int | bytes, width: int) -> bytes:
    return value.ljust(width, b"\0") if isinstance(value, bytes) else b"%0*o\0" % (width - 1, value)


def summed(block: bytes) -> bytes:
    """The block with its checksum field filled in."""
    total = sum(block[:148]) + 8 * 32 + sum(block[156:])
    return block[:148] + b"%06o\0 " % total + block[156:]


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


def file(name: bytes, data: bytes = b"", **fields: int | bytes) -> bytes:
    return header(name, b"0", len(data), **fields) + padded(data)  # type: ignore[arg-type]


def directory(name: bytes, **fields: int | bytes) -> bytes:
    return header(name, b"5", **{"mode": 0o755, **fields})  # type: ignore[arg-type]


def hardlink(name: bytes, target: bytes) -> bytes:
    return header(name, b"1", link=target)


def symlink(name: bytes, target: bytes) -> bytes:
    return header(name, b"2", link=target, mode=0o777)


def long_name(name: bytes, kind: bytes = b"L") -> bytes:
    return header(b"././@LongLink", kind, len(name) + 1, magic=GNU) + padded(name + b"\0")


def record(key: bytes, value: bytes) -> bytes:
    """`LENGTH KEY=VALUE\\n`, where the length counts itself."""
    size = len(key) + len(value) + 3
    while size != len(b"%d" % size) + len(key) + len(value) + 3:
        size = len(b"%d" % size) + len(key) + len(value) + 3
    return b"%d %s=%s\n" % (size, key, value)


def pax(*records: tuple[bytes, bytes], kind: bytes = b"x") -> bytes:
    body = b"".join(record(key, value) for key, value in records)
    return header(b"PaxHeaders/x", kind, len(body)) + padded(body)


def open_layer(folder: Path, *parts: bytes) -> TarLayer:
    path = folder / "layer.tar"
    path.write_bytes(b"".join(parts))
    return open_tar_layer(str(path))


def contents(layer: TarLayer, entry: Entry) -> bytes:
    """The bytes of a file, read as a driver reads them."""
    source = layer.source(entry.handle)
    if source.extents is None:
        return os.pread(source.fd, source.size, source.start)
    data = bytearray(source.size)
    for offset, where, length in source.extents:
        data[offset : offset + length] = os.pread(source.fd, length, where)
    return bytes(data)


class Seen(NamedTuple):
    """What can be compared between a layer, a file system and an archive."""

    type: int
    mode: int
    uid: int
    gid: int
    mtime: int  # in nanoseconds
    data: bytes  # of a file, or the target of a link
    rdev: int
    group: tuple[bytes, ...]  # every path of the same inode


def entries(layer: TarLayer) -> dict[bytes, Entry]:
    """Every entry by its path, the root's is empty; checks what a layer promises on the way."""
    found = {b"": layer.root}
    queue = [b""]
    for folder in queue:
        parent = found[folder].handle
        below = list(layer.scan(parent))
        assert [entry.name for entry in below] == sorted({entry.name for entry in below})
        assert list(layer.scan(parent, 1)) == below[1:]
        for entry in below:
            assert layer.lookup(parent, entry.name) == entry == layer.entry(entry.handle)
            assert layer.parent(entry.handle) == parent
            path = b"/".join(layer.path(entry.handle))
            assert path == (folder + b"/" + entry.name if folder else entry.name)
            found[path] = entry
            if stat.S_ISDIR(entry.attr.mode):
                queue.append(path)
    assert len(found) == len(layer)
    return found


def seen(layer: TarLayer) -> dict[bytes, Seen]:
    """The tree of a layer without whiteouts, as plain facts."""
    result = {}
    for path, entry in entries(layer).items():
        attr, data = entry.attr, b""
        if stat.S_ISREG(attr.mode):
            data = contents(layer, entry)
        elif stat.S_ISLNK(attr.mode):
            data = layer.readlink(entry.handle)
        group = tuple(b"/".join(names) for names in layer.aliases(attr.ino))
        assert len(group) == attr.nlink or stat.S_ISDIR(attr.mode)
        assert len(data) == attr.size
        time = attr.mtime * 10**9 + attr.mtimensec
        facts = stat.S_IFMT(attr.mode), stat.S_IMODE(attr.mode), attr.uid, attr.gid, time, data, attr.rdev
        result[path] = Seen(*facts, group)
    return result
