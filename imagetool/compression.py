"""Streams that are compressed, both ways, in bounded memory: gzip, zstd; bzip2 and xz to read only.

Both directions push: bytes go in with `feed`, pieces of at most a MiB come out through a callback.
gzip is ISA-L's where it is installed (2.4 times zlib's speed at reading, 10 times at writing), else zlib's.
A format is known by its first bytes, as in Docker: a layer's media type is often wrong about it.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Generator
from contextlib import suppress
from functools import partial

from imagetool.errors import Damaged, UsageError
from unionfs.annotations import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import zstandard

Sink = Callable[[bytes], object]

PIECE = 256 << 10
"""Bytes that a decoder gives at once at most, whatever the ratio: a small input can stand for gigabytes of zeros. What
is hashed, indexed and written next is then still in the processor's cache; with a MiB it took more page faults."""

_INPUT = 128 << 10
"""Bytes that a decoder takes at once: what it has no room for yet is copied after each piece."""

_WHOLE = 1 << 20
"""Bytes that an encoder takes at once. Part of what is written: another size gives other bytes."""

MAX_WINDOW = 1 << 27
"""zstd's own limit for streams (ZSTD_WINDOWLOG_LIMIT_DEFAULT): `zstd --ultra -22` needs it, --long=31 is refused."""

ZSTD_LEVEL = 3

_READ = 256 << 10
_WAITING = 4  # pieces

_GZIP_WITH_HEADER = 31  # zlib's wbits: 15 for the window, 16 for gzip's header and trailer

_MAGIC = (
    ("gzip", b"\x1f\x8b"),
    ("zstd", b"\x28\xb5\x2f\xfd"),
    ("bzip2", b"BZh"),
    ("xz", b"\xfd7zXZ\x00"),
    *(("zstd", bytes([0x50 + i]) + b"\x2a\x4d\x18") for i in range(16)),  # a skippable frame may come first
)
MAGIC_SIZE = 6


def detect(head: bytes) -> str:
    """`gzip`, `zstd`, `bzip2`, `xz` or `none` for a stream that starts with these (at least 6) bytes."""
    return next((name for name, magic in _MAGIC if head.startswith(magic)), "none")


class Decoder(Protocol):
    """Takes compressed bytes. Damaged, naming `what` it is, for bytes that are not of the format."""

    def feed(self, chunk: bytes | memoryview) -> None: ...

    def finish(self) -> None:
        """The input is complete: Damaged if it ends within a stream."""


class Encoder(Protocol):
    def feed(self, chunk: bytes | memoryview) -> None: ...

    def finish(self) -> None: ...


def decoder(compression: str, sink: Sink, what: str = "stream") -> Decoder:
    """A decoder for a name that `detect` gives."""
    match compression:
        case "none":
            return _Plain(sink)
        case "gzip":
            gzip = _gzip()[0]
            make = partial(gzip.decompressobj, wbits=_GZIP_WITH_HEADER)
            return _Members(make, sink, f"{what} (gzip)", gzip.error, zlib.error)
        case "zstd":
            return _Zstd(sink, f"{what} (zstd)")
        case "bzip2":
            import bz2

            return _Members(bz2.BZ2Decompressor, sink, f"{what} (bzip2)")
        case "xz":
            import lzma

            make = partial(lzma.LZMADecompressor, memlimit=MAX_WINDOW)
            return _Members(make, sink, f"{what} (xz)", lzma.LZMAError)
    raise UsageError(f"unknown compression {compression!r}")


def encoder(compression: str, sink: Sink) -> Encoder:
    """A reproducible encoder for `none`, `gzip`, `zstd` or `zstd:LEVEL`; UsageError for anything else."""
    name, _, level = compression.partition(":")
    if name == "none" and not level:
        return _Plain(sink)
    if name == "gzip" and not level:
        gzip, effort = _gzip()
        return _Encoder(gzip.compressobj(effort, wbits=_GZIP_WITH_HEADER), sink)
    if name == "zstd":
        return _Encoder(_zstd_compressor(level or str(ZSTD_LEVEL)).compressobj(), sink)
    raise UsageError(f"unknown compression {compression!r}", hint="use gzip, zstd, zstd:LEVEL or none")


class Sniffer:
    """A decoder that finds out from the first bytes which one it is. `compression` is "" until then."""

    def __init__(self, sink: Sink, what: str = "stream") -> None:
        self.compression = ""
        self._sink = sink
        self._what = what
        self._head = b""
        self._decoder: Decoder | None = None

    def feed(self, chunk: bytes | memoryview) -> None:
        if self._decoder is not None:
            self._decoder.feed(chunk)
            return
        self._head += chunk
        if len(self._head) >= MAGIC_SIZE:
            self._start()

    def finish(self) -> None:
        if self._decoder is None:
            self._start()
        assert self._decoder is not None
        self._decoder.finish()

    def _start(self) -> None:
        self.compression = detect(self._head)
        self._decoder = decoder(self.compression, self._sink, self._what)
        head, self._head = self._head, b""
        self._decoder.feed(head)


def decoded(read: Callable[[int], bytes], what: str = "stream") -> Generator[bytes, None, None]:
    """The pieces of a stream that is read with `read(size)`, decompressed whatever it is, in a thread of its own.

    Damaged as in `Decoder`; what `read` raises comes through. Close the generator to end the thread early.
    """
    import queue  # most commands only compress
    import threading

    pieces: queue.Queue[bytes | BaseException | None] = queue.Queue(_WAITING)
    stopped = threading.Event()

    def put(piece: bytes | BaseException | None) -> None:
        while not stopped.is_set():
            try:
                return pieces.put(piece, timeout=1)
            except queue.Full:
                continue
        raise EOFError

    def run() -> None:
        try:
            source = Sniffer(put, what)
            while chunk := read(_READ):
                source.feed(chunk)
            source.finish()
            put(None)
        except BaseException as error:  # it belongs to the thread that takes
            with suppress(EOFError):
                put(error)

    thread = threading.Thread(target=run, name="decode", daemon=True)
    thread.start()
    try:
        while (piece := pieces.get()) is not None:
            if isinstance(piece, BaseException):
                raise piece
            yield piece
    finally:
        stopped.set()
        with suppress(queue.Empty):
            pieces.get_nowait()
        thread.join()


class _Plain:
    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def feed(self, chunk: bytes | memoryview) -> None:
        for start in range(0, len(chunk), PIECE):
            self._sink(bytes(chunk[start : start + PIECE]))

    def finish(self) -> None:
        pass


class _Members:
    """One or more streams one after the other, each with its own checksum, as gzip(1), bzip2 and xz allow."""

    def __init__(self, make: Callable[[], Any], sink: Sink, what: str, *errors: type[Exception]) -> None:
        self._errors: tuple[type[Exception], ...] = (OSError, EOFError, ValueError, *errors)
        self._make = make
        self._sink = sink
        self._what = what
        self._stream = make()
        self._fresh = True  # no byte of the present stream has come

    def feed(self, chunk: bytes | memoryview) -> None:
        whole = memoryview(chunk)
        try:
            for start in range(0, len(whole), _INPUT):
                self._take(whole[start : start + _INPUT])
        except self._errors as error:
            raise Damaged(f"{self._what} is damaged: {error}") from error

    def _take(self, data: bytes | memoryview) -> None:
        while len(data):
            if self._stream.eof:
                self._stream, self._fresh = self._make(), True
            self._fresh = False
            data = self._step(data)

    def _step(self, data: bytes | memoryview) -> bytes:
        """Decodes into one piece, and gives back the input that is still to be done."""
        stream = self._stream
        piece = stream.decompress(data, PIECE)
        while piece:
            self._sink(piece)
            if stream.eof or (len(piece) < PIECE and not _pending(stream)):
                break
            piece = stream.decompress(_pending(stream), PIECE)
        rest: bytes = stream.unused_data if stream.eof else b""
        return rest

    def finish(self) -> None:
        if self._fresh:
            raise Damaged(f"{self._what} is empty")
        if not self._stream.eof:
            raise Damaged(f"{self._what} is truncated")


def _pending(stream: Any) -> bytes:
    """Input that a zlib object gave back for want of room; bz2 and lzma keep theirs inside."""
    rest: bytes = getattr(stream, "unconsumed_tail", b"")
    return rest


class _Zstd:
    """Any number of frames, skippable ones too.

    The library does not say whether the last frame is complete. So `finish` adds a small frame of its own:
    its content comes out unharmed exactly if the one before has ended.
    """

    _PROBE = b"end of the last frame"

    def __init__(self, sink: Sink, what: str) -> None:
        self.write = sink  # called by the library with each piece
        self._what = what
        import zstandard  # what is not compressed so need not wait for it

        self._library = zstandard
        library = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW)
        self._writer = library.stream_writer(self, write_size=PIECE, closefd=False)  # type: ignore[arg-type]

    def feed(self, chunk: bytes | memoryview) -> None:
        try:
            self._writer.write(chunk)
        except self._library.ZstdError as error:
            raise Damaged(f"{self._what} is damaged: {error}") from error

    def finish(self) -> None:
        seen: list[bytes] = []
        self.write = seen.append
        try:
            for byte in self._library.ZstdCompressor().compress(self._PROBE):
                self._writer.write(
                    bytes((byte,))
                )  # a whole frame at once is decoded even after half a header
        except self._library.ZstdError:
            seen.clear()
        if b"".join(seen) != self._PROBE:
            raise Damaged(f"{self._what} is truncated")


class _Encoder:
    """Feeds the library whole pieces: what ISA-L writes depends on how its input is cut."""

    def __init__(self, stream: Any, sink: Sink) -> None:
        self._stream = stream
        self._sink = sink
        self._gathered = bytearray()

    def feed(self, chunk: bytes | memoryview) -> None:
        self._gathered += chunk
        while len(self._gathered) >= _WHOLE:
            self._compress(bytes(self._gathered[:_WHOLE]))
            del self._gathered[:_WHOLE]

    def finish(self) -> None:
        self._compress(bytes(self._gathered))
        if piece := self._stream.flush():
            self._sink(piece)

    def _compress(self, data: bytes) -> None:
        if piece := self._stream.compress(data):
            self._sink(piece)


def _gzip() -> tuple[Any, int]:
    """A module like zlib, and the level to write with. Imported when there is something to read or to write."""
    try:
        from isal import isal_zlib
    except ImportError:  # no wheel for this machine
        return zlib, 6
    return isal_zlib, 3


def _zstd_compressor(level: str) -> zstandard.ZstdCompressor:
    import zstandard

    if not (level.isascii() and level.isdigit() and 1 <= int(level) <= zstandard.MAX_COMPRESSION_LEVEL):
        hint = f"a level is a number from 1 to {zstandard.MAX_COMPRESSION_LEVEL}"
        raise UsageError(f"invalid zstd level {level!r}", hint=hint)
    return zstandard.ZstdCompressor(level=int(level), write_checksum=True)
