"""The /dev/fuse descriptor: messages in, messages out, notifications, backing files.

It does not own the descriptor. Nothing here waits, with one exception: a notification may wait for locks that
the kernel holds while it waits for our reply to some request, so notifications belong in a worker thread.
"""

from __future__ import annotations

import errno
import os
import select
from collections.abc import Sequence
from fcntl import ioctl
from struct import pack

from unionfs.fuse import opcodes as op
from unionfs.fuse.abi import Buffer

_GONE = (errno.ENODEV, errno.ECONNABORTED)
_RETRY = (errno.EINTR, errno.ENOENT)  # ENOENT: the request was withdrawn while it was being read


class Unmounted(Exception):
    """The kernel has closed the connection: the mount is gone."""


class Device:
    def __init__(self, fd: int, size: int) -> None:
        """`size`: bytes of the longest message that can arrive."""
        os.set_blocking(fd, False)
        self.fd = fd
        poller = select.poll()
        poller.register(fd, select.POLLIN)
        self._poll = poller.poll
        self.buf = bytearray(size)
        self._into = [self.buf]

    def is_ready(self) -> bool:
        """Whether `receive` has something to tell. To ask is a third of the price of hearing that there is nothing."""
        return bool(self._poll(0))

    def receive(self) -> int:
        """Reads a message into `buf`: its length, 0 when there is none. Raises Unmounted."""
        try:
            return os.readv(self.fd, self._into)
        except BlockingIOError:
            return 0
        except OSError as error:
            if error.errno in _RETRY:
                return 0  # whoever waits for the descriptor now finds it readable if there is more
            if error.errno in _GONE:
                raise Unmounted from None
            raise

    def send(self, message: Buffer) -> None:
        """A reply whose request has been withdrawn, and one to a mount that is gone, is dropped."""
        try:
            os.write(self.fd, message)
        except OSError as error:
            _forgive(error)

    def send_parts(self, parts: Sequence[Buffer]) -> None:
        try:
            os.writev(self.fd, parts)
        except OSError as error:
            _forgive(error)

    def notify(self, *parts: Buffer) -> bool:
        """Sends a notification; False when the kernel knows no such inode or name, or the mount is gone."""
        try:
            os.writev(self.fd, parts)
        except OSError as error:
            if error.errno in (*_GONE, errno.ENOENT, errno.ENOTDIR):
                return False
            raise
        return True

    def backing_open(self, fd: int) -> int:
        """The backing id of a file to pass through to. Raises OSError where that cannot be: EPERM, ELOOP."""
        # In a bytearray, since with immutable bytes ioctl() gives those back and not the result.
        request = bytearray(pack("=iIQ", fd, 0, 0))
        return int(ioctl(self.fd, op.DEV_IOC_BACKING_OPEN, request, True))

    def backing_close(self, backing_id: int) -> None:
        ioctl(self.fd, op.DEV_IOC_BACKING_CLOSE, bytearray(pack("=I", backing_id)), True)


def _forgive(error: OSError) -> None:
    if error.errno not in (*_GONE, errno.ENOENT):
        raise error


_CAP_SYS_ADMIN = 1 << 21


def may_back() -> bool:
    """Whether the kernel would take backing files from this process: CAP_SYS_ADMIN on the machine itself."""
    try:
        with open("/proc/self/uid_map", "rb") as ids, open("/proc/self/status", "rb") as status:
            if ids.read().split() != [b"0", b"0", b"4294967295"]:
                return False
            capabilities = next(line for line in status if line.startswith(b"CapEff:"))
    except (OSError, StopIteration):
        return False
    return bool(int(capabilities.split()[1], 16) & _CAP_SYS_ADMIN)
