"""Which inodes a request changes, so that it can wait for work that is under way on one of them. PURE."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from unionfs.fuse import abi
from unionfs.fuse import opcodes as op
from unionfs.fuse.abi import BODY, Buffer, Head
from unionfs.fuse.opens import for_writing

_OWN = frozenset({op.WRITE, op.SETATTR, op.SETXATTR, op.REMOVEXATTR, op.FALLOCATE, op.FSYNC})

Child = Callable[[int, bytes], int]
"""(parent, name) -> the node id behind a name, or 0."""


def changed(head: Head, buf: Buffer, child: Child) -> Iterator[int]:
    """The node ids that the request changes or takes a name from. Creating a name changes no known inode."""
    opcode = head.opcode
    if opcode in _OWN or (opcode == op.OPEN and for_writing(abi.open_in(buf)[0])):
        yield head.nodeid
    elif opcode == op.LINK:
        yield abi.link_in(head, buf)[0]
    elif opcode in (op.COPY_FILE_RANGE, op.COPY_FILE_RANGE_64):
        yield abi.copy_file_range_in(buf)[1]
    elif opcode in (op.UNLINK, op.RMDIR):
        yield child(head.nodeid, abi.text(buf, BODY, head.length))
    elif opcode in (op.RENAME, op.RENAME2):
        newparent, name, newname, _ = abi.rename_in(head, buf)
        yield child(head.nodeid, name)
        yield child(newparent, newname)
