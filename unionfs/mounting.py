"""A mount while it comes to be, and while it is served: its connection, its door for questions, its guard."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress

from unionfs.annotations import TYPE_CHECKING
from unionfs.fuse.guard import Guard

if TYPE_CHECKING:
    import socket


class Mounting:
    """What is, or comes to be, mounted.

    `fd` is the connection; `device` the st_dev of what is mounted: of our tree, or of the kernel's overlayfs on it.
    `put_on_top` mounts that and gives its st_dev, in a thread, for it asks our tree.
    """

    def __init__(self, fd: int, device: int, put_on_top: Callable[[], int] | None = None) -> None:
        self.fd, self.device = fd, device
        self.guard = Guard(device)
        self.overlay = put_on_top is not None
        self._listener: socket.socket | None = None
        self._failure: BaseException | None = None
        self._thread: threading.Thread | None = None
        if put_on_top is not None:
            self._thread = threading.Thread(target=self._put, args=(put_on_top,), daemon=True)
            self._thread.start()

    def under_way(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def wait(self) -> None:
        """Until it is there. Raises what `put_on_top` has raised."""
        if self._thread is not None:
            self._thread.join()
        if self._failure is not None:
            raise self._failure

    def listen(self) -> socket.socket | None:
        """The socket for questions; None where there is no safe directory for one."""
        from unionfs import control

        if self._listener is None:
            self._listener = control.listen(self.device)
        return self._listener

    def close(self) -> None:
        if self._listener is not None:
            with suppress(OSError):
                os.unlink(self._listener.getsockname())
            self._listener.close()

    def _put(self, put_on_top: Callable[[], int]) -> None:
        try:
            self.device = put_on_top()
        except BaseException as e:
            self._failure = e
