"""The log of a server: the file of log=, else standard error, else (a daemon) syslog(3).

logging comes in where it is first used: a server does so before it mounts, and who only starts one does without.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial

from unionfs.annotations import TYPE_CHECKING, TextIO
from unionfs.errors import SetupError

if TYPE_CHECKING:
    import logging

_waiting: list[Callable[[], None]] = []  # what is to be done before the first line


def set_up(path: str, *, foreground: bool, debug: bool) -> None:
    """Where lines go from now on. SetupError: the file cannot be written."""
    stream = _opened(path) if path else sys.stderr if foreground else None
    _waiting[:] = [partial(_attach, stream, debug=debug)]


def logger() -> logging.Logger:
    import logging

    while _waiting:
        _waiting.pop()()
    return logging.getLogger("unionfs")


def error(text: str) -> None:
    logger().error("%s", text)


def _opened(path: str) -> TextIO:
    try:
        return open(path, "a", errors="backslashreplace")
    except OSError as e:
        raise SetupError(f"cannot write the log {path}: {e.strerror}") from e


def _attach(stream: TextIO | None, *, debug: bool) -> None:
    import logging

    log = logging.getLogger("unionfs")
    handler = logging.StreamHandler(stream) if stream else _syslog()
    handler.setFormatter(logging.Formatter("unionfs[%(process)d]: %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.DEBUG if debug else logging.INFO)


def _syslog() -> logging.Handler:
    """logging.handlers has one too, which brings along sockets, queues and pickles."""
    import logging
    import syslog

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            priority = syslog.LOG_ERR if record.levelno >= logging.ERROR else syslog.LOG_INFO
            syslog.syslog(priority | syslog.LOG_DAEMON, self.format(record))

    return Handler()
