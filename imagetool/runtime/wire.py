"""Messages between an executor and the helper it starts: one marshal value each, after its length.

Both ends are the same interpreter and trust each other until the container's command is executed; marshal is
used because the helper then needs neither json nor re, which would double its start.
"""

from __future__ import annotations

import marshal
import os

if False:  # TYPE_CHECKING without importing typing
    from typing import Any

_LENGTH = 4


def send(fd: int, message: tuple[Any, ...]) -> None:
    body = marshal.dumps(message)
    data = memoryview(len(body).to_bytes(_LENGTH, "big") + body)
    while data:
        data = data[os.write(fd, data) :]


def receive(fd: int) -> tuple[Any, ...] | None:
    """The next message; None when the other end has gone, or was replaced by the command."""
    head = _exactly(fd, _LENGTH)
    if head is None:
        return None
    body = _exactly(fd, int.from_bytes(head, "big"))
    message: tuple[Any, ...] | None = None if body is None else marshal.loads(body)
    return message


def _exactly(fd: int, size: int) -> bytes | None:
    data = b""
    while len(data) < size:
        try:
            part = os.read(fd, size - len(data))
        except ConnectionResetError:
            return None
        if not part:
            return None
        data += part
    return data
