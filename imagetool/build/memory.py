"""Content digests that are remembered for files that have not changed: known by device, inode, size and times.

A file that was changed a moment before it was hashed could change again without another time to show for it;
such a one is hashed again, as git does for its index ("racy git"). The memory may be lost at any time.
"""

from __future__ import annotations

import hashlib
import os
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from imagetool.store import disk

DIGEST_SIZE = 32
_MAGIC = b"imagetool contents 1\n"
_KEY = struct.Struct("=QQQqq")
_ROW = struct.Struct(f"={_KEY.size}s{DIGEST_SIZE}s")
_OTHERS = 10_000  # rows of files that this build did not look at: another Dockerfile may
_SHORT = 50_000_000  # ns: a kernel's clock for times of files ticks every 10 ms or oftener
_LONG = 2_000_000_000  # ns: file systems that only keep whole or even seconds
_SECOND = 1_000_000_000
_KEPT = 30 * 86400  # seconds that the memory of a context that nobody builds is kept


class Memory:
    """Digests of the files of one context. Give every file's stat(2) from before it was read."""

    def __init__(self, known: dict[bytes, bytes] | None = None) -> None:
        self._known = known or {}
        self._used: dict[bytes, bytes] = {}
        self.changed = False

    @staticmethod
    @contextmanager
    def open(directory: str, context: str) -> Iterator[Memory]:
        """The memory for the context at the path `context`, kept in `directory` (made if it is missing), and
        saved at the end if something is new. Whatever is wrong with the file, it is as if there were none."""
        name = hashlib.sha256(os.fsencode(os.path.realpath(context))).hexdigest()[:32]
        path = f"{directory}/{name}"
        memory = Memory(_load(path))
        yield memory
        with suppress(OSError):
            if memory.changed:
                _save(path, memory.rows())
            elif memory.used:
                os.utime(path)

    @property
    def used(self) -> bool:
        return bool(self._used)

    def get(self, info: os.stat_result) -> bytes | None:
        key = _KEY.pack(info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns)
        digest = self._known.get(key)
        if digest is None:
            return self._used.get(key)
        self._used[key] = digest
        return digest

    def put(self, info: os.stat_result, digest: bytes) -> None:
        mtime, ctime = info.st_mtime_ns, info.st_ctime_ns
        grain = _SHORT if mtime % _SECOND or ctime % _SECOND else _LONG
        if max(mtime, ctime) + grain >= time.time_ns():
            return
        key = _KEY.pack(info.st_dev, info.st_ino, info.st_size, mtime, ctime)
        self._used[key] = digest
        self.changed = True

    def rows(self) -> dict[bytes, bytes]:
        """What to keep: all that was used, and of the others the latest."""
        others = [(key, digest) for key, digest in self._known.items() if key not in self._used]
        return dict(others[-_OTHERS:]) | self._used


def _load(path: str) -> dict[bytes, bytes]:
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError:
        return {}
    body, check = data[len(_MAGIC) : -DIGEST_SIZE], data[-DIGEST_SIZE:]
    if not data.startswith(_MAGIC) or hashlib.blake2b(body, digest_size=DIGEST_SIZE).digest() != check:
        return {}
    return dict(_ROW.iter_unpack(body))


def _save(path: str, rows: dict[bytes, bytes]) -> None:
    body = b"".join(map(b"".join, rows.items()))
    check = hashlib.blake2b(body, digest_size=DIGEST_SIZE).digest()
    directory = os.path.dirname(path)
    os.makedirs(directory, mode=0o700, exist_ok=True)
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        with open(disk.create(temporary), "wb") as file:  # no fsync: a torn file is one that is not there
            file.writelines((_MAGIC, body, check))
        os.rename(temporary, path)
    except BaseException:
        disk.unlink(temporary)
        raise
    forget(directory)


def forget(directory: str, *, older: float = _KEPT) -> int:
    """Removes the memories of contexts that nobody has built for `older` seconds; their bytes."""
    size = 0
    with suppress(FileNotFoundError), os.scandir(directory) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):
                info = entry.stat(follow_symlinks=False)
                if time.time() - info.st_mtime >= older:
                    os.unlink(entry.path)
                    size += info.st_size
    return size
