"""Stages of a stream that run at once, each in a thread of its own, with bounded memory between them.

Decompressing, hashing and writing all release the interpreter's lock, so the slowest stage is the bound.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

DEPTH = 4
"""Pieces that may wait before a stage; with pieces of a MiB, a stage holds at most five MiB."""


class Stage:
    """Calls `consume` for every piece, in order, in a thread. The first error ends it and comes back to `put`."""

    # INVARIANT: the thread takes from the queue until it sees None, also after an error: put() never hangs

    def __init__(self, consume: Callable[[bytes], object], name: str) -> None:
        self._consume = consume
        self._queue: queue.Queue[bytes | None] = queue.Queue(DEPTH)
        self._error: BaseException | None = None
        self._cancelled = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, piece: bytes) -> None:
        """Waits until there is room. Raises what `consume` raised for an earlier piece."""
        if self._error is not None:
            raise self._error
        self._queue.put(piece)

    def finish(self) -> None:
        """Returns when every piece has been consumed; raises what `consume` raised."""
        self._end()
        if self._error is not None:
            raise self._error

    def cancel(self) -> None:
        """Returns when the thread has ended; what it has not consumed is dropped, and so is its error."""
        self._cancelled = True
        self._end()

    def _end(self) -> None:
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()

    def _run(self) -> None:
        while (piece := self._queue.get()) is not None:
            if self._error is None and not self._cancelled:
                try:
                    self._consume(piece)
                except BaseException as error:  # it belongs to the thread that puts
                    self._error = error
