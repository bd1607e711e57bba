"""Stages of a stream that run at once, each in a thread of its own, with bounded memory between them.

Decompressing, hashing and writing all release the interpreter's lock, so the slowest stage is the bound. A stream of
one piece needs no thread: to hand it over and back takes longer than most stages need for it.
"""

from __future__ import annotations

from collections.abc import Callable

from unionfs.annotations import TYPE_CHECKING

if TYPE_CHECKING:
    from queue import Queue
    from threading import Thread

DEPTH = 4
"""Pieces that may wait before a stage; with pieces of a MiB, a stage holds at most five MiB."""


class Stage:
    """Calls `consume` for every piece, in order, in a thread. The first error ends it and comes back to `put`."""

    # INVARIANT: the thread takes from the queue until it sees None, also after an error: put() never hangs
    # INVARIANT: without a thread, `_first` is all that was put

    def __init__(self, consume: Callable[[bytes], object], name: str) -> None:
        self._consume = consume
        self._name = name
        self._first: bytes | None = None
        self._queue: Queue[bytes | None]
        self._thread: Thread | None = None
        self._error: BaseException | None = None
        self._cancelled = False

    def put(self, piece: bytes) -> None:
        """Waits until there is room. Raises what `consume` raised for an earlier piece."""
        if self._error is not None:
            raise self._error
        if self._thread is None:
            if self._first is None:
                self._first = piece
                return
            self._start(self._first)
        self._queue.put(piece)

    def finish(self) -> None:
        """Returns when every piece has been consumed; raises what `consume` raised."""
        if self._thread is None and self._first is not None:
            self._consume(self._first)
        self._end()
        if self._error is not None:
            raise self._error

    def cancel(self) -> None:
        """Returns when the thread has ended; what it has not consumed is dropped, and so is its error."""
        self._cancelled = True
        self._end()

    def _start(self, first: bytes) -> None:
        import queue  # many a stream is short
        import threading

        self._queue = queue.Queue(DEPTH)
        self._queue.put(first)
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()

    def _end(self) -> None:
        self._first = None
        if self._thread is not None and self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()

    def _run(self) -> None:
        while (piece := self._queue.get()) is not None:
            if self._error is None and not self._cancelled:
                try:
                    self._consume(piece)
                except BaseException as error:  # it belongs to the thread that puts
                    self._error = error
