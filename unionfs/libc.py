"""The C library's functions that Python has no words for.

ctypes takes longer to import than many a command takes: who calls them seldom imports this module in the function.
"""

from __future__ import annotations

import ctypes
import os

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def call(name: str, *arguments: int | bytes | ctypes.Array[ctypes.c_char] | None) -> int:
    """What the function returns. Raises OSError where that is negative. Whole numbers are passed as longs."""
    longs = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    result: int = getattr(_libc, name)(*longs)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


_libc.futimens.argtypes = (ctypes.c_int, ctypes.c_char_p)


def futimens(fd: int, times: bytes) -> None:
    """`times` are two of struct timespec. `call` would do it too, and take twice as long."""
    if _libc.futimens(fd, times) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


buffer = ctypes.create_string_buffer
"""Room of so many bytes, or with these, for a function to write to; `raw` has them."""
