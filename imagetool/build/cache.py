"""The build cache: what a step made, below ROOT/build/steps, one small file named after the step's key.

It holds the layers that it names, as a reference does, until `prune` drops it. Builds at the same time share it: who
is first to need a key claims it and makes the result, the others wait and find it. Files are written whole and not
synced: one that a crash has torn is one that is not there.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from imagetool import digest as digests
from imagetool.build.flags import duration
from imagetool.digest import Digest
from imagetool.errors import Malformed, UsageError
from imagetool.spec import Descriptor
from imagetool.store import disk, gc, read
from imagetool.store.lease import Lease
from imagetool.store.lock import locked, try_lock
from imagetool.store.store import Store
from imagetool.store.usage import Usage
from unionfs.namedtuple import NamedTuple

_LOCK, _MAKING = ".lock", ".making"


class Result(NamedTuple):
    """What a step made, and when: a layer, or nothing but a change of the config."""

    created: str  # RFC 3339
    layer: Descriptor | None = None
    diff_id: Digest | None = None
    content: str = ""  # digest of what a COPY or ADD took in


class Cache:
    """The cache for one build: what it finds or keeps is held by the build's lease. For any number of threads."""

    def __init__(self, store: Store, lease: Lease, *, reading: bool = True) -> None:
        self._layout, self._lease, self._reading = store.layout, lease, reading

    def get(self, key: str) -> Result | None:
        """The result, with its layer complete and pinned; None where there is none, or it is not wanted."""
        found = _load(self._path(key)) if self._reading else None
        if found is None or found.layer is None or found.diff_id is None:
            return found
        self._lease.pin(found.layer.digest, found.diff_id)
        if not read.has_layer(self._layout, found.layer, found.diff_id):
            return None
        with suppress(OSError):  # others may prune
            os.utime(self._path(key))
        return found

    def put(self, key: str, made: Result) -> None:
        """Keeps a result whose layer is in the store."""
        layer = made.layer and [made.layer.media_type, made.layer.digest, made.layer.size, made.diff_id]
        roots = [made.layer.digest, made.diff_id] if made.layer else []
        row = {"created": made.created, "layer": layer, "content": made.content, gc.STEP_ROOTS: roots}
        with disk.errors("cannot write the build cache"):
            temporary = self._lease.temporary()
            with open(temporary, "x") as file:
                json.dump(row, file)
            os.rename(temporary, self._path(key))

    @contextmanager
    def claimed(self, key: str) -> Iterator[None]:
        """Within, nobody else works on this key. Waits for who does; what he has made can be found then."""
        with disk.errors("cannot lock the build cache"):
            fd = _wait_for(self._path(key) + _LOCK)
        try:
            yield
        finally:
            disk.unlink(self._path(key) + _LOCK)
            os.close(fd)

    def _path(self, key: str) -> str:
        return f"{self._layout.steps}/{key}"


def prune(store: Store, *, older: float = 0.0) -> int:
    """Drops the results that nobody has used for `older` seconds; how many. Their layers go with the next gc."""
    dropped = 0
    now = time.time()
    with disk.errors("cannot prune the build cache"):
        for name in os.listdir(store.layout.steps):
            path = f"{store.layout.steps}/{name}"
            if name.endswith(_LOCK):
                _drop_lock(path)
                continue
            with suppress(FileNotFoundError):
                if now - os.stat(path).st_mtime >= older:
                    os.unlink(path)
                    dropped += 1
    return dropped


def prune_mounts(store: Store) -> int:
    """Removes the caches of RUN steps that nobody uses now; bytes on disk."""
    from imagetool.serving import remove_tree

    size = 0
    directory = f"{store.layout.build}/caches"
    with disk.errors("cannot prune the caches of RUN steps"), suppress(FileNotFoundError):
        for name in os.listdir(directory):
            if name.endswith((_LOCK, _MAKING)):
                continue
            with locked(f"{directory}/{name}{_MAKING}"):
                lock = try_lock(f"{directory}/{name}{_LOCK}")
                if lock is not None:
                    size += _size(f"{directory}/{name}")
                    remove_tree(f"{directory}/{name}")
                    os.close(lock)
    return size


def usage(store: Store) -> Usage:
    """The row of `system df`: results of steps and caches of RUN, all of which can go. Layers are counted as such."""
    kept = sum(not name.endswith(_LOCK) for name in os.listdir(store.layout.steps))
    with suppress(FileNotFoundError):
        names = os.listdir(f"{store.layout.build}/caches")
        kept += sum(not name.endswith((_LOCK, _MAKING)) for name in names)
    size = _size(store.layout.build)
    return Usage("Build Cache", kept, 0, size, size)


def parse_until(filters: tuple[str, ...]) -> float:
    """Seconds of `until=24h`; 0 without one. UsageError."""
    seconds = 0.0
    for text in filters:
        key, _, value = text.partition("=")
        if key != "until":
            raise UsageError(f"invalid filter {text!r}", hint="until=24h")
        seconds = duration(value, lambda reason, _: UsageError(reason)) / 1e9
    return seconds


def _size(directory: str) -> int:
    total = 0
    for folder, _, files in os.walk(directory):
        for name in files:
            with suppress(OSError):
                total += os.lstat(f"{folder}/{name}").st_blocks * 512
    return total


def _load(path: str) -> Result | None:
    try:
        with open(path, "rb") as file:
            row = json.load(file)
        found = Result(str(row["created"]), content=str(row["content"]))
        if not row["layer"]:
            return found
        media_type, digest, size, diff_id = row["layer"]
        layer = Descriptor(media_type, digests.parse(digest), int(size))
        return found._replace(layer=layer, diff_id=digests.parse(diff_id))
    except (OSError, ValueError, KeyError, TypeError, Malformed):
        return None


def _wait_for(path: str) -> int:
    """The lock, on a file that is still at `path`: its last holder has taken that one away."""
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(fd), os.stat(path, follow_symlinks=False)):
                    return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)


def _drop_lock(path: str) -> None:
    """What a killed build has left; not what somebody holds."""
    with suppress(FileNotFoundError):
        fd = try_lock(path, create=False)
        if fd is not None:
            disk.unlink(path)
            os.close(fd)
