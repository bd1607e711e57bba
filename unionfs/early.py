"""A server's first moments, and its whole life if nobody wants more: requests are served without trio.

To import trio takes longer than all else that a mount has to begin with. So that begins, in a thread, when something
is to be waited for: a signal, a question, work. Requests are answered meanwhile.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
from importlib import import_module
from types import FrameType

from unionfs.annotations import TYPE_CHECKING

if TYPE_CHECKING:
    import socket

    from unionfs.mounting import Mounting

_HUNG_UP = (
    () if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN else (signal.SIGHUP,)
)  # as nohup(1) wants it
ENDS = (signal.SIGTERM, signal.SIGINT, *_HUNG_UP)
SIGNALS = (*ENDS, signal.SIGUSR1)
LOOP = "unionfs.loop"
SWITCH = 0.0005  # seconds that the importing thread may keep the interpreter from a request


class Early:
    """What may end a server's first time. Signals that come while it lasts are sent again at its end, still blocked."""

    def __init__(self, mounting: Mounting, lifeline: socket.socket | None) -> None:
        self._mounting = mounting
        self._importing: threading.Thread | None = None
        self._interval = sys.getswitchinterval()
        self._noted: list[int] = []
        self._woken, self._waker = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.poller = select.poll()
        """For the server to wait with. What is ready but its own device is for the loop: `leave` it."""
        self.poller.register(self._woken, select.POLLIN)
        if lifeline is not None:
            self.poller.register(lifeline.fileno(), select.POLLIN)
        self._handlers = {number: signal.signal(number, self._note) for number in SIGNALS}
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._noted.append(number)

    def is_settled(self) -> bool:
        """Asked in every lull until it is so: all is mounted, and the door is open for questions."""
        if self._mounting.under_way():
            return False
        listener = self._mounting.listen()
        if listener is not None:
            self.poller.register(listener.fileno(), select.POLLIN)
        return True

    @property
    def wanted(self) -> bool:
        """Whether the loop is on its way."""
        return self._importing is not None

    def leave(self, fd: int) -> None:
        """Leaves what is ready on a descriptor to the loop."""
        self.poller.unregister(fd)
        self.want_loop()

    def want_loop(self) -> None:
        """Begins to import what the loop needs."""
        if self._importing is None:
            sys.setswitchinterval(SWITCH)
            self._importing = threading.Thread(target=import_module, args=(LOOP,), daemon=True)
            # It must get no signals: what is sent again in `end` would end the process, were it not over by then.
            signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
            self._importing.start()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    def is_over(self) -> bool:
        return self._importing is not None and not self._importing.is_alive()

    def end(self) -> None:
        """Leaves everything to the loop, as if nothing had come yet."""
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        signal.set_wakeup_fd(-1)
        for number in SIGNALS:
            signal.signal(number, self._handlers[number])
        for noted in self._noted:
            os.kill(os.getpid(), noted)
        os.close(self._woken)
        os.close(self._waker)
        if self._importing is not None:
            self._importing.join()
            sys.setswitchinterval(self._interval)
