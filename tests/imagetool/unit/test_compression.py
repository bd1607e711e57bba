"""Compressed streams: any pieces, bounded output, damage and truncation noticed."""

import bz2
import gzip
import io
import lzma
import os
import threading

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from imagetool import compression
from imagetool.compression import PIECE, Sniffer, decoded, detect, encoder
from imagetool.errors import Damaged, UsageError

COMPRESS = {
    "gzip": gzip.compress,
    "zstd": zstandard.ZstdCompressor(write_checksum=True).compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
}
KINDS = sorted(COMPRESS)


def decode(data: bytes, step: int = 1 << 16) -> list[bytes]:
    pieces: list[bytes] = []
    sniffer = Sniffer(pieces.append, "layer x")
    for start in range(0, len(data), step):
        sniffer.feed(data[start : start + step])
    sniffer.finish()
    return pieces


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.binary(max_size=3000), again=st.binary(max_size=300), step=st.integers(1, 4000))
def test_any_content_in_any_pieces(kind: str, data: bytes, again: bytes, step: int) -> None:
    members = COMPRESS[kind](data) + COMPRESS[kind](again)
    assert detect(members[:6]) == kind
    assert b"".join(decode(members, step)) == data + again


@given(st.binary(max_size=300), st.integers(1, 9))
def test_what_is_not_compressed_passes_through(data: bytes, step: int) -> None:
    if detect(data) == "none":
        assert b"".join(decode(data, step)) == data


@pytest.mark.parametrize("kind", KINDS)
def test_a_bomb_comes_out_in_small_pieces(kind: str) -> None:
    pieces = decode(COMPRESS[kind](bytes(40 << 20)))
    assert sum(map(len, pieces)) == 40 << 20
    assert max(map(len, pieces)) <= PIECE


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [0, 10, 100_000])
def test_every_truncation_is_noticed(kind: str, size: int) -> None:
    whole = COMPRESS[kind](os.urandom(size))
    for end in {*range(compression.MAGIC_SIZE, min(30, len(whole))), *range(len(whole) - 12, len(whole))}:
        if end >= compression.MAGIC_SIZE:
            with pytest.raises(Damaged, match=r"layer x \(.*\) is (truncated|damaged)"):
                decode(whole[:end])


@pytest.mark.parametrize("kind", KINDS)
def test_every_flipped_byte_is_noticed(kind: str) -> None:
    data = b"0123456789" * 5
    whole = COMPRESS[kind](data)
    for at in range(compression.MAGIC_SIZE, len(whole)):
        broken = bytearray(whole)
        broken[at] ^= 0x5A
        try:
            pieces = decode(bytes(broken))
        except Damaged:
            continue
        assert kind == "gzip"  # its header has a time, flags and a system that nobody checks
        assert b"".join(pieces) == data


@pytest.mark.parametrize("kind", KINDS)
def test_garbage_after_the_end_is_noticed(kind: str) -> None:
    with pytest.raises(Damaged):
        decode(COMPRESS[kind](b"abc") + b"garbage")


def test_a_zstd_window_beyond_the_limit_is_refused() -> None:
    parameters = zstandard.ZstdCompressionParameters.from_level(1, window_log=28, enable_ldm=True)
    stream = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    with pytest.raises(Damaged):
        decode(stream.compress(os.urandom(1000)) + stream.flush())


def test_frames_that_are_skipped() -> None:
    skipped = b"\x53\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"hello"
    assert b"".join(decode(skipped + COMPRESS["zstd"](b"abc") + skipped, 3)) == b"abc"


@pytest.mark.parametrize("kind", ["none", "gzip", "zstd", "zstd:1", "zstd:19"])
def test_an_encoder_is_reproducible_and_reads_back(kind: str) -> None:
    data = b"".join(b"%d\n" % number for number in range(400_000))
    results = []
    for step in (1 << 16, 7777):
        out = bytearray()
        stream = encoder(kind, out.extend)
        for start in range(0, len(data), step):
            stream.feed(data[start : start + step])
        stream.finish()
        assert b"".join(decode(bytes(out))) == data
        results.append(bytes(out))
    assert len(results[0]) < len(data) or kind == "none"
    assert results[0] == results[1]


@pytest.mark.parametrize("kind", ["", "lz4", "gzip:9", "zstd:0", "zstd:99", "zstd:x", "zstd:-1", "none:1"])
def test_a_bad_compression_is_refused(kind: str) -> None:
    with pytest.raises(UsageError):
        encoder(kind, print)


def test_decoding_by_pulling() -> None:
    data = os.urandom(3 << 20)
    assert b"".join(decoded(io.BytesIO(gzip.compress(data, 1)).read)) == data


def test_an_error_of_the_reader_comes_through_and_the_thread_ends() -> None:
    before = threading.active_count()

    def read(size: int) -> bytes:
        raise ConnectionError("cut")

    with pytest.raises(ConnectionError, match="cut"):
        list(decoded(read))
    with pytest.raises(Damaged):
        list(decoded(io.BytesIO(gzip.compress(b"abc")[:-1]).read))
    pieces = decoded(io.BytesIO(bytes(100 << 20)).read)
    next(pieces)
    pieces.close()
    assert threading.active_count() == before
