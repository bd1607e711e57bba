"""The push parser: chunks of any size, ends of any kind, extended headers, sparse files, limits."""

from __future__ import annotations

import io
import stat

import pytest

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
    open_layer,
    padded,
    pax,
    summed,
    symlink,
)
from unionfs.errors import LayerError
from unionfs.layers.tarheader import Member
from unionfs.layers.tarstream import TarStream


def members(*chunks: bytes) -> list[Member]:
    found: list[Member] = []
    stream = TarStream(found.append)
    for chunk in chunks:
        stream.feed(chunk)
    stream.close()
    return found


def refused(*chunks: bytes) -> str:
    with pytest.raises(LayerError) as caught:
        members(*chunks)
    return str(caught.value)


ARCHIVE = b"".join(
    [
        file(b"a", b"x" * 1500),
        header(b"maybe", b"1", 600, link=b"a"),
        long_name(b"n/" * 350),
        file(b"short", b"y"),
        pax((b"mtime", b"1.5"), (b"path", b"p/" * 500)),
        symlink(b"l", b"t"),
        header(b"link", b"1", 600, link=b"a"),
        padded(b"z" * 600),
        file(b"last", b""),
        END,
        b"junk after the end" * 100,
    ]
)


@pytest.mark.parametrize("size", [1, 7, 100, 511, 512, 513, 1000, 4096, 1 << 20])
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_chunks_of_any_size(size, kind):
    chunks = [kind(ARCHIVE[at : at + size]) for at in range(0, len(ARCHIVE), size)]
    found = members(*chunks)
    assert found == members(ARCHIVE)
    assert [member.name for member in found] == [
        b"a",
        b"maybe",
        b"n/" * 350,
        b"p/" * 500,
        b"link",
        b"last",
    ]
    assert ARCHIVE[found[2].data : found[2].data + 1] == b"y"


def test_skipping_instead_of_feeding():
    archive = file(b"a", b"x" * 10_000) + file(b"b", b"y") + END
    found: list[Member] = []
    stream = TarStream(found.append)
    stream.feed(archive[:512])
    assert stream.skippable == 10_240
    stream.skip(10_240)
    stream.feed(archive[10_752:])
    assert stream.offset == len(archive)
    stream.close()
    assert [member.data for member in found] == [512, 11_264]


@pytest.mark.parametrize("end", [b"", bytes(512), bytes(1024), bytes(10_240), END + b"anything"])
def test_ends_that_are_accepted(end):
    assert [member.name for member in members(file(b"a", b"x") + end)] == [b"a"]


def test_empty_archives():
    assert members(b"") == members(END) == members(bytes(512)) == []


@pytest.mark.parametrize("cut", [1, 511, 513, 600, 1023, 1025])
def test_truncated_archive(cut):
    message = refused((file(b"a", b"x" * 100) + file(b"b"))[:cut])
    assert f"truncated: it ends at byte {cut}" in message


@pytest.mark.parametrize(
    "part",
    [
        long_name(b"n"),
        long_name(b"n")[:512],
        pax((b"path", b"x")),
        pax((b"path", b"x"))[:600],
        header(b"s", b"S", magic=GNU)[:482] + b"\1" + bytes(29),
    ],
)
def test_truncated_between_headers_of_one_member(part):
    part = part if part[482:483] != b"\1" else summed(part)
    assert "truncated" in refused(file(b"a") + part)


def test_end_after_an_extended_header():
    assert "ends after an extended header" in refused(pax((b"path", b"x")) + END)


def test_single_zero_block_is_not_an_end():
    message = refused(file(b"a") + bytes(512) + file(b"b") + END)
    assert "at byte 1024: a zero block is followed by more data" in message


def test_wrong_checksum_names_member_and_offset():
    bad = b"B" + file(b"bad")[1:]
    message = refused(file(b"a", b"x") + bad + END)
    assert "member 'Bad' at byte 1024: the header checksum is wrong" in message


@pytest.mark.parametrize("data", [b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"BZh9", b"\xfd7zXZ\0"])
def test_compressed_data_are_recognised(data):
    message = refused(data.ljust(2000, b"x"))
    assert "compressed data" in message
    assert "uncompressed tar" in message


def test_no_tar_at_all():
    assert "not a tar archive" in refused(b"text " * 1000)


@pytest.mark.parametrize(
    "size",
    [b"\xff" * 12, b"\x80" + b"\xff" * 11, b"\x80\0\0\0\x40" + bytes(7), b"99999999999\0", b"-0000000001\0"],
)
def test_sizes_that_cannot_be(size):
    assert "member 'f' at byte 512" in refused(file(b"a") + header(b"f", size=size) + END)


def test_size_beyond_the_archive():
    assert "truncated" in refused(header(b"f", size=b"\x80\0\0\0\x20" + bytes(7)) + END)


def test_header_of_a_message_never_breaks_a_line():
    assert "\n" not in refused(symlink(b"new\nline", b"t") + b"x" * 512)


@pytest.mark.parametrize("kind", [b"x", b"g", b"L", b"K"])
def test_extended_headers_have_limits(kind):
    assert "too large" in refused(header(b"x", kind, (1 << 20) + 1))


def test_many_extended_headers_have_a_limit():
    assert "too large" in refused(pax((b"path", b"x" * 100_000)) * 12)


def test_global_records_have_a_limit():
    records = [(b"SCHILY.xattr.user.%d" % n, b"x") for n in range(100)]
    assert "global headers" in refused(pax(*records, kind=b"g"))


def test_malformed_record_names_member_and_offset():
    message = refused(file(b"a"), header(b"PaxHeaders/f", b"x", 9) + padded(b"99 a=b\n"))
    assert "member 'PaxHeaders/f' at byte 512: malformed record" in message


@pytest.mark.parametrize("key", [b"path", b"linkpath", b"GNU.sparse.name"])
def test_nul_in_a_name(key):
    assert "NUL" in refused(pax((key, b"a\0b")) + file(b"f"))


def test_solaris_extended_header():
    assert members(pax((b"path", b"x"), kind=b"X") + file(b"f"))[0].name == b"x"


def test_numbers_of_pax_that_are_none():
    for key, value in [
        (b"size", b"-1"),
        (b"uid", b"1.5"),
        (b"gid", b"x"),
        (b"size", b"9" * 30),
        (b"mtime", b"now"),
    ]:
        assert "member 'f' at byte 1024" in refused(pax((key, value)) + file(b"f"))


# -- sparse files: each form says the same file of 10,000 bytes with 512 x "a" at 0 and 100 x "b" at 5,120

PIECES = [(0, 512), (5120, 100)]
STORED = b"a" * 512 + b"b" * 100
SPARSE = b"a" * 512 + bytes(4608) + b"b" * 100 + bytes(4780)


def old_sparse(pieces, size, stored, *, in_header=4):
    head = header(b"s", b"S", len(stored), magic=GNU)
    first, rest = pieces[:in_header], pieces[in_header:]
    table = b"".join(octal(value, 12) for pair in first for value in pair).ljust(96, b"\0")
    head = head[:386] + table + bytes([bool(rest)]) + octal(size, 12) + bytes(17)
    blocks = [summed(head)]
    while rest:
        part, rest = rest[:21], rest[21:]
        table = b"".join(octal(value, 12) for pair in part for value in pair).ljust(504, b"\0")
        blocks.append(table + bytes([bool(rest)]) + bytes(7))
    return b"".join(blocks) + padded(stored)


def sparse_0_0(pieces, size, stored):
    pairs = [
        (b"GNU.sparse." + key, b"%d" % value)
        for pair in pieces
        for key, value in zip((b"offset", b"numbytes"), pair, strict=True)
    ]
    count = (b"GNU.sparse.size", b"%d" % size), (b"GNU.sparse.numblocks", b"%d" % len(pieces))
    return pax(*count, *pairs) + file(b"s", stored)


def sparse_0_1(pieces, size, stored):
    text = b",".join(b"%d" % value for pair in pieces for value in pair)
    records = (b"GNU.sparse.size", b"%d" % size), (b"GNU.sparse.name", b"s"), (b"GNU.sparse.map", text)
    return pax(*records, (b"path", b"GNUSparseFile.1/s")) + file(b"x", stored)


def sparse_1_0(pieces, size, stored):
    lines = [len(pieces), *(value for pair in pieces for value in pair)]
    data = padded(b"".join(b"%d\n" % line for line in lines)) + stored
    version = (b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0")
    records = (b"GNU.sparse.name", b"s"), (b"GNU.sparse.realsize", b"%d" % size)
    return pax(*version, *records) + file(b"GNUSparseFile.1/s", data)


FORMS = [old_sparse, sparse_0_0, sparse_0_1, sparse_1_0]


@pytest.mark.parametrize("form", FORMS)
def test_sparse_file(tmp_path, form):
    with open_layer(tmp_path, file(b"a", b"1"), form(PIECES, 10_000, STORED), file(b"z", b"2"), END) as layer:
        entry = layer.lookup(0, b"s")
        assert (entry.attr.size, entry.attr.blocks) == (10_000, 2)
        assert contents(layer, entry) == SPARSE
        assert [offset for offset, _, _ in layer.source(entry.handle).extents] == [0, 5120]
        assert contents(layer, layer.lookup(0, b"z")) == b"2"
        assert sorted(entry.name for entry in layer.scan(0)) == [b"a", b"s", b"z"]


@pytest.mark.parametrize("form", FORMS)
def test_sparse_file_of_many_pieces(tmp_path, form):
    pieces = [(1024 * n, 512) for n in range(100)]
    stored = b"".join(b"%03d " % n * 128 for n in range(100))
    with open_layer(tmp_path, form(pieces, 102_400, stored), file(b"z"), END) as layer:
        data = contents(layer, layer.lookup(0, b"s"))
        assert len(layer.source(layer.lookup(0, b"s").handle).extents) == 100
    for n in range(100):
        assert data[1024 * n : 1024 * (n + 1)] == b"%03d " % n * 128 + bytes(512)


@pytest.mark.parametrize("form", FORMS)
def test_sparse_file_that_is_one_hole(tmp_path, form):
    with open_layer(tmp_path, form([(1 << 32, 0)], 1 << 32, b""), file(b"z"), END) as layer:
        entry = layer.lookup(0, b"s")
        assert (entry.attr.size, entry.attr.blocks, layer.source(entry.handle).extents) == (1 << 32, 0, ())


def test_sparse_file_in_the_blocks_of_extension_only(tmp_path):
    with open_layer(tmp_path, old_sparse(PIECES, 10_000, STORED, in_header=1), END) as layer:
        assert contents(layer, layer.lookup(0, b"s")) == SPARSE


def test_sparse_file_and_its_hard_link(tmp_path):
    with open_layer(tmp_path, sparse_1_0(PIECES, 10_000, STORED), hardlink(b"t", b"s"), END) as layer:
        first, second = layer.lookup(0, b"s"), layer.lookup(0, b"t")
        assert first.attr == second.attr
        assert contents(layer, second) == SPARSE


def test_sparse_keywords_of_what_is_no_file_mean_nothing(tmp_path):
    records = pax((b"GNU.sparse.size", b"5"), (b"GNU.sparse.map", b"0,5"))
    with open_layer(tmp_path, records, symlink(b"l", b"t"), records, directory(b"d"), END) as layer:
        assert [stat.S_IFMT(entry.attr.mode) for entry in layer.scan(0)] == [stat.S_IFDIR, stat.S_IFLNK]
        assert [entry.attr.blocks for entry in layer.scan(0)] == [0, 1]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "pieces", [[(5120, 100), (0, 512)], [(0, 512), (100, 100)], [(9999, 100)], [(0, 512), (5120, 101)]]
)
def test_sparse_map_that_cannot_be(form, pieces):
    assert "sparse map is inconsistent" in refused(form(pieces, 10_000, STORED) + END)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"\n", "not a number"),
        (b"x\n0\n1\n", "not a number"),
        (b"1\n0\nx\n", "not a number"),
        (b"999999999\n", "more than"),
        (b"100\n", "longer than its data"),
        (b"0" * 600, "not a number"),
    ],
)
def test_sparse_map_before_the_data_that_is_damaged(text, problem):
    version = (b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.realsize", b"9")
    assert problem in refused(pax(*version) + file(b"s", text) + END)


@pytest.mark.parametrize(
    "records",
    [
        [(b"GNU.sparse.map", b"0,1,2"), (b"GNU.sparse.size", b"9")],
        [(b"GNU.sparse.map", b"0,1")],
        [(b"GNU.sparse.map", b"0,-1"), (b"GNU.sparse.size", b"9")],
        [(b"GNU.sparse.major", b"2"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.realsize", b"9")],
    ],
)
def test_sparse_records_that_are_damaged(records):
    assert "member 's' at byte 1024" in refused(pax(*records) + file(b"s", b"data") + END)


def test_old_sparse_map_has_a_limit():
    block = (octal(0, 12) + octal(0, 12)) * 21 + b"\1" + bytes(7)
    head = header(b"s", b"S", magic=GNU)
    head = summed(head[:482] + b"\1" + octal(0, 12) + bytes(17))
    assert "more than" in refused(head + block * 13_000)


def test_building_from_a_stream_copies_and_hashes():
    import hashlib

    from unionfs.layers.indexer import build

    out, digest = io.BytesIO(), hashlib.sha256()
    builder = build(io.BytesIO(ARCHIVE), out, [digest])
    assert out.getvalue() == ARCHIVE
    assert digest.digest() == hashlib.sha256(ARCHIVE).digest()
    assert builder.finish() is builder.finish()
