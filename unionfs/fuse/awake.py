"""Keeps the processors from sleeping while requests follow each other closely.

Whoever asks waits for the reply, and whoever answers for the next request; meanwhile the processor of each has
nothing to do and halts. In a virtual machine that hands it to the host, and getting it back takes longer than
the request: a round trip is three times as long between two idle processors as on one. So while there are
many requests the server asks for a wake-up latency of 0 (Linux, Documentation/power/pm_qos_interface.rst).
The kernel takes the wish back by itself when the server ends, however it ends.

The wish is for all processors of the machine. So it is only made where idle processors go to a host, and where
there are few: elsewhere it would cost power and the speed of others.
"""

from __future__ import annotations

import os
from contextlib import suppress
from struct import pack

DEVICE = "/dev/cpu_dma_latency"
DRIVER = "/sys/devices/system/cpu/cpuidle/current_driver"
MOST_CPUS = 16

AT_ONCE = pack("=i", 0)  # µs
WHENEVER = pack("=i", -1)  # PM_QOS_DEFAULT_VALUE

WINDOW = 0.01
"""Seconds after which it is judged whether there are many requests."""

MANY = 8
"""Requests in that time: fewer are no reason to keep a machine awake."""

PATIENCE = 5
"""Windows in a row with fewer, after which the machine may sleep."""


class Awake:
    """Counts requests, and asks for processors that stay awake while there are many. Does nothing without `fd`."""

    __slots__ = ("_count", "_fd", "_few", "_since", "held", "times")

    def __init__(self, fd: int) -> None:
        """`fd`: of DEVICE, owned from now on; -1 where there is none to be used."""
        self._fd = fd
        self._count = self._few = 0
        self._since = 0.0
        self.held = False
        self.times = 0  # that it was asked for

    def served(self, requests: int, now: float) -> None:
        """`now` in seconds. While it is `held`, to be called with 0 requests too, every `WINDOW`."""
        self._count += requests
        if now - self._since < WINDOW:
            return
        self._few = 0 if self._count >= MANY else self._few + 1
        self._count, self._since = 0, now
        wanted = self._few < (PATIENCE if self.held else 1) and self._fd >= 0
        if wanted != self.held:
            self.held = wanted
            self.times += wanted
            with suppress(OSError):
                os.write(self._fd, AT_ONCE if wanted else WHENEVER)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd, self.held = -1, False


def open_device(wanted: bool | None) -> int:
    """A descriptor of DEVICE, -1 if it may not be used or need not. `wanted`: None decides by the machine."""
    if not _is_asked_for(wanted):
        return -1
    try:
        fd = os.open(DEVICE, os.O_WRONLY | os.O_CLOEXEC)
        os.write(fd, WHENEVER)
    except OSError:
        return -1
    return fd


def wakes_slowly(wanted: bool | None) -> bool:
    """Whether requests will wait for processors that sleep, with this option of `open_device`."""
    return idle_driver() != "none" and not (_is_asked_for(wanted) and os.access(DEVICE, os.W_OK))


def _is_asked_for(wanted: bool | None) -> bool:
    if wanted is not None:
        return wanted
    return idle_driver() == "haltpoll" and (os.cpu_count() or 1) in range(2, MOST_CPUS + 1)


def idle_driver() -> str:
    """What puts idle processors to sleep; "none" where they just halt, and wake quickly; "" if nobody says."""
    try:
        with open(DRIVER) as driver:
            return driver.read().strip()
    except OSError:
        return ""
