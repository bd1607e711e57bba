"""Damaged archives and damaged indexes: a LayerError or a layer that answers, never anything else."""

from __future__ import annotations

import struct
from pathlib import Path
from tempfile import TemporaryDirectory
from zlib import crc32

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.archives import (
    END,
    GNU,
    contents,
    directory,
    file,
    hardlink,
    header,
    long_name,
    octal,
    pax,
    summed,
    symlink,
)
from unionfs.errors import LayerError, UnionError
from unionfs.layers.tarball import TarLayer, open_tar_layer

SETTINGS = settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
VERSION = (b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.realsize", b"9999")
OLD = header(b"old", b"S", 512, magic=GNU)
ARCHIVE = b"".join(
    [
        directory(b"d/"),
        pax(
            (b"SCHILY.xattr.user.a", b"1"),
            (b"LIBARCHIVE.xattr.user.b", b"Mg"),
            (b"mtime", b"-1.5"),
            (b"atime", b"5"),
        ),
        file(b"d/f", b"data" * 200),
        hardlink(b"g", b"d/f"),
        long_name(b"n/" * 200, b"K"),
        symlink(b"l", b"x"),
        long_name(b"n" * 120),
        file(b"x"),
        pax((b"uid", b"7"), kind=b"g"),
        header(b"c", b"3", major=1, minor=3),
        file(b"d/.wh.gone"),
        pax(*VERSION) + file(b"sparse", b"2\n0\n4\n100\n2\n".ljust(512, b"\0") + b"aaaabb"),
        pax((b"GNU.sparse.size", b"99"), (b"GNU.sparse.map", b"5,3,20,4")) + file(b"sparse0", b"aaabbbb"),
        summed(OLD[:386] + octal(0, 12) + octal(512, 12) + bytes(73) + octal(1024, 12) + bytes(17))
        + b"z" * 512,
        header(b"h", b"1", 5, link=b"g"),
        END,
    ]
)
BLOCKS = len(ARCHIVE) // 512


def walk(layer: TarLayer) -> None:
    """Asks everything of every entry that can be reached."""
    for number in range(min(len(layer), 1000)):
        for question in (layer.entry, layer.path, layer.parent, layer.xattrs, layer.readlink, layer.source):
            answered(question, number)
        assert b"\0" not in (answered(layer.readlink, number) or b"")
        assert () not in (answered(layer.aliases, number + 2) or ()) or not number
        assert not any(b"\0" in name for name in answered(layer.xattrs, number) or ())
        answered(layer.names, number)
        for entry in answered(lambda parent: list(layer.scan(parent)), number) or []:
            assert entry.name
            answered(lambda parent, name=entry.name: layer.lookup(parent, name), number)
            if answered(layer.source, entry.handle) and entry.attr.size < 1 << 20:
                answered(lambda _, entry=entry: contents(layer, entry), 0)
        answered(lambda parent: layer.lookup(parent, b"f"), number)


def answered(question, argument):
    try:
        return question(argument)
    except (LayerError, UnionError):
        return None


def opened(tar: bytes, change=None) -> None:
    with TemporaryDirectory() as temporary:
        path = Path(temporary, "layer.tar")
        path.write_bytes(tar)
        message = str(path)
        try:
            with open_tar_layer(str(path)) as layer:
                walk(layer)
            if change is not None:
                where = path.with_suffix(".idx")
                where.write_bytes(change(bytearray(where.read_bytes())))
                with open_tar_layer(str(path)) as layer:
                    walk(layer)
        except LayerError as error:
            message = str(error)
        assert str(path) in message
        assert "\n" not in message


def test_the_archive_itself_is_sound():
    with TemporaryDirectory() as temporary:
        path = Path(temporary, "layer.tar")
        path.write_bytes(ARCHIVE)
        with open_tar_layer(str(path)) as layer:
            assert {b"d", b"g", b"l", b"c", b"sparse", b"sparse0", b"old", b"h"} <= set(layer.names(0))


EDITS = st.lists(
    st.tuples(st.integers(0, len(ARCHIVE) - 1), st.binary(min_size=1, max_size=12)), min_size=1, max_size=4
)


@SETTINGS
@given(edits=EDITS, summed_up=st.booleans())
def test_changed_bytes_of_an_archive(edits, summed_up):
    data = bytearray(ARCHIVE)
    for at, new in edits:
        data[at : at + len(new)] = new
        start = at - at % 512
        if summed_up and len(data[start : start + 512]) == 512:  # else the checksum finds nearly all of them
            data[start : start + 512] = summed(bytes(data[start : start + 512]))
    opened(bytes(data))


@SETTINGS
@given(length=st.integers(0, len(ARCHIVE)))
def test_truncated_archive(length):
    opened(ARCHIVE[:length])


@SETTINGS
@given(order=st.lists(st.integers(0, BLOCKS - 1), max_size=40))
def test_shuffled_blocks(order):
    opened(b"".join(ARCHIVE[512 * n : 512 * (n + 1)] for n in order))


@SETTINGS
@given(
    kind=st.sampled_from(b"xgLKXS1"),
    body=st.binary(max_size=600),
    text=st.text("0123456789 =\n,.-abc", max_size=600),
)
def test_extended_headers_of_anything(kind, body, text):
    for data in (body, text.encode()):
        part = header(b"x", bytes([kind]), len(data)) + data + bytes(-len(data) % 512)
        opened(part + file(b"f", b"x") + END)


@SETTINGS
@given(
    key=st.sampled_from(
        [b"path", b"linkpath", b"size", b"uid", b"mtime", b"GNU.sparse.map", b"GNU.sparse.size"]
    ),
    value=st.binary(max_size=40) | st.text("0123456789,.-/", max_size=30).map(str.encode),
    more=st.lists(
        st.sampled_from([*VERSION, (b"GNU.sparse.size", b"9"), (b"GNU.sparse.map", b"0,1")]), max_size=3
    ),
    kind=st.sampled_from([b"0", b"1", b"2", b"5", b"S"]),
)
def test_records_of_anything(key, value, more, kind):
    opened(pax((key, value), *more) + header(b"f", kind, 3, link=b"x") + b"1\n2".ljust(512, b"\0") + END)


@SETTINGS
@given(
    edits=st.lists(
        st.tuples(st.integers(0, 4000), st.sampled_from([1, 2, 4, 8]), st.integers(0, (1 << 64) - 1)),
        min_size=1,
        max_size=6,
    ),
    forged=st.booleans(),
    cut=st.none() | st.integers(0, 3000),
)
def test_damaged_index(edits, forged, cut):
    def change(data: bytearray) -> bytearray:
        for at, size, value in edits:
            at %= max(1, len(data) - size)
            data[at : at + size] = (value % (1 << 8 * size)).to_bytes(size, "little")
        if forged:  # also what the header's checksum would have found
            struct.pack_into("<I", data, 12, crc32(bytes(data[:12]) + bytes(4) + bytes(data[16:128])))
        return data[:cut]

    opened(ARCHIVE, change)
