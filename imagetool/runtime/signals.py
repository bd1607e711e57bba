"""Signals that reach the caller go on to the container, as `--sig-proxy` has it."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from imagetool.errors import UsageError
from imagetool.runtime.base import Container

_OWN = {
    signal.SIGCHLD, signal.SIGWINCH, signal.SIGPIPE, signal.SIGURG, signal.SIGKILL, signal.SIGSTOP,
    signal.SIGTTIN, signal.SIGTTOU, signal.SIGTSTP, signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE,
    signal.SIGILL,
}  # fmt: skip


def number(text: str) -> int:
    """A signal by name ("SIGTERM", "term") or number; UsageError if there is none such."""
    name = text.strip().upper()
    match = re.fullmatch(r"(\d+)|(?:SIG)?([A-Z0-9]+)(?:(?<=RTMIN)(\+\d+)|(?<=RTMAX)(-\d+))?", name, re.ASCII)
    if match:
        plain, word, up, down = match.groups()
        known = signal.Signals.__members__.get(f"SIG{word}", 0)
        found = int(plain or known) + int(up or down or 0)
        if (plain or known) and found in signal.valid_signals():
            return found
    raise UsageError(f"invalid signal {text!r}", hint="a name such as SIGTERM, or its number")


@contextmanager
def passed_on(container: Container) -> Iterator[None]:
    """While this lasts, what is sent to the calling process is sent to the container instead."""
    before = {}
    for each in signal.valid_signals() - _OWN:
        before[each] = signal.signal(each, lambda n, _frame: container.signal(n))
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
