"""Header blocks, numbers, PAX records and sparse maps: pure functions on bytes."""

from __future__ import annotations

import pytest

from tests.support.archives import header, record
from unionfs.layers import tarheader, tarpax, tarsparse
from unionfs.layers.tarheader import Damaged


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (b"0000644\0", 0o644),
        (b"   644 \0", 0o644),
        (b"0000644 ", 0o644),
        (b"00000644", 0o644),
        (b"644\0 \0\0\0", 0o644),
        (b"644\0junk", 0o644),
        (bytes(8), 0),
        (b" " * 8, 0),
        (b"\x80" + bytes(5) + b"\x01\x00", 256),
        (b"\x80" + bytes(2) + b"\x01" + bytes(8), 1 << 64),
        (b"\xff" * 12, -1),
        (b"\xff" * 11 + b"\xfe", -2),
    ],
)
def test_number(field, value):
    assert tarheader.number(field) == value


@pytest.mark.parametrize(
    "field", [b"0000648\0", b"-000001\0", b"+000001\0", b"0x00001\0", b"1_00000\0", b"junk\0\0\0\0"]
)
def test_number_that_is_none(field):
    with pytest.raises(Damaged, match="is not a number"):
        tarheader.number(field)


def test_checksum():
    block = header(b"name")
    assert tarheader.is_header(block)
    assert not tarheader.is_header(b"N" + block[1:])
    assert not tarheader.is_header(bytes(512))


def test_checksum_of_signed_characters():
    block = header("é".encode() * 10)
    total = sum(byte - 256 if byte > 127 else byte for byte in block[:148] + b" " * 8 + block[156:])
    assert tarheader.is_header(block[:148] + b"%06o\0 " % total + block[156:])


def test_checksum_beyond_the_modulus_of_adler():
    block = b"\xff" * 148 + b" " * 8 + b"\xff" * 356
    total = sum(block)
    assert total > 65521
    assert tarheader.is_header(block[:148] + b"%06o\0 " % total + block[156:])
    assert not tarheader.is_header(block[:148] + b"%06o\0 " % (total - 65521) + block[156:])


def test_pax_records():
    body = record(b"path", b"a\nb=c") + record(b"mtime", b"1.5") + record(b"empty", b"")
    assert list(tarpax.records(body)) == [(b"path", b"a\nb=c"), (b"mtime", b"1.5"), (b"empty", b"")]


@pytest.mark.parametrize(
    "body",
    [
        b"path=x\n",
        b"99 path=x\n",
        b"9 path=xy\n",
        b"11 path=x\n",
        b"0 path=x\n",
        b"3 \n",
        b"2 ",
        b"-10 path=x\n",
        b"10 path x\n",
        b"6 =xy\n",
        b"9999999999999999999 path=x\n",
        b"10 path=x\n\0\0",
    ],
)
def test_pax_records_malformed(body):
    with pytest.raises(Damaged, match="extended header"):
        list(tarpax.records(body))


@pytest.mark.parametrize(
    ("text", "time"),
    [
        (b"0", (0, 0)),
        (b"12.5", (12, 500_000_000)),
        (b"12.", (12, 0)),
        (b".25", (0, 250_000_000)),
        (b"1.0000000019", (1, 1)),
        (b"-1", (-1, 0)),
        (b"-1.25", (-2, 750_000_000)),
        (b"-0.5", (-1, 500_000_000)),
        (b"-1.0000000001", (-2, 999_999_999)),
        (b"9223372036854775807", (2**63 - 1, 0)),
    ],
)
def test_pax_time(text, time):
    assert tarpax.time(b"mtime", text) == time


@pytest.mark.parametrize(
    "text", [b"", b"-", b".", b"1e9", b"--1", b"1.2.3", b" 1", b"nan", b"9223372036854775808", b"1" * 65]
)
def test_pax_time_that_is_none(text):
    with pytest.raises(Damaged):
        tarpax.time(b"mtime", text)


def test_xattrs_of_both_forms():
    records = {
        b"SCHILY.xattr.user.a": b"2",
        b"LIBARCHIVE.xattr.user.a": b"Mg",
        b"SCHILY.xattr.user.b%20c": b"\0\1",
        b"LIBARCHIVE.xattr.user.b%20c": b"AAE",
        b"SCHILY.xattr.user.k%3Dv%25": b"\0",
        b"SCHILY.xattr.user.empty": b"",
        b"SCHILY.acl.access": b"user::rwx",
    }
    assert tarpax.xattrs(records) == {
        b"user.a": b"2",
        b"user.b c": b"\0\1",
        b"user.k=v%": b"\0",
        b"user.empty": b"",
    }


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (b"SCHILY.xattr.", b"x"),
        (b"SCHILY.xattr." + b"n" * 256, b"x"),
        (b"SCHILY.xattr.user.a", b"x" * 65537),
        (b"SCHILY.xattr.user.\0", b"x"),
        (b"LIBARCHIVE.xattr.user.a", b"A"),
    ],
)
def test_xattrs_that_are_not_legal(key, value):
    with pytest.raises(Damaged, match="extended attribute"):
        tarpax.xattrs({key: value})


def test_sparse_extents_join_neighbours_and_drop_empty_ones():
    pairs = [(0, 10), (10, 5), (100, 0), (200, 7), (300, 0)]
    assert tarsparse.extents(pairs, 1000, 22, 300) == ((0, 1000, 15), (200, 1015, 7))


@pytest.mark.parametrize(
    "pairs", [[(10, 5), (0, 5)], [(0, 10), (5, 10)], [(95, 10)], [(0, 50), (50, 20)], [(0, -1)], [(-5, 5)]]
)
def test_sparse_extents_inconsistent(pairs):
    with pytest.raises(Damaged, match="sparse map"):
        tarsparse.extents(pairs, 0, 60, 100)


@pytest.mark.parametrize(("major", "minor"), [(4096, 0), (0, 1 << 20)])
def test_device_out_of_range(major, minor):
    with pytest.raises(Damaged, match="out of range"):
        tarheader.device(b"%07o\0" % major, b"%07o\0" % minor)
