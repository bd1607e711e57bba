"""Finding the index of a tar file: the one beside it if it is sound, else a new one, built and saved."""

from __future__ import annotations

import os
from errno import ENOENT

from unionfs.errors import LayerError
from unionfs.layers import index as fmt
from unionfs.layers.index import Index, TarId, Unusable
from unionfs.namedtuple import NamedTuple


class Obtained(NamedTuple):
    opened: Index
    rebuilt: str = ""  # why it was built; empty when the one that was there is sound
    warning: str = ""  # why it could not be saved and is held in memory


def index_path(tar: str) -> str:
    """Where the index of a tar is: NAME.idx for NAME.tar, else the whole name with .idx."""
    return tar.removesuffix(".tar") + ".idx"


def obtain(tar_fd: int, tar: str, path: str, *, verify: bool = False) -> Obtained:
    """The index at `path` of the tar called `tar`; `verify` reads every byte of it. LayerError, OSError."""
    try:
        return Obtained(_existing(path, tar_fd, verify))
    except Unusable as reason:
        return _build(tar_fd, tar, path)._replace(rebuilt=str(reason))


def _existing(path: str, tar_fd: int, verify: bool) -> Index:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise Unusable("there was none" if error.errno == ENOENT else str(error.strerror)) from None
    try:
        _check_owner(os.fstat(fd), os.fstat(tar_fd))
        index = Index(fd, TarId.of(tar_fd), path)
    except (OSError, ValueError) as error:
        raise Unusable(f"it could not be mapped: {error}") from None
    finally:
        os.close(fd)
    if verify and not index.verify():
        index.close()
        raise Unusable("its contents were damaged")
    return index


def _check_owner(index: os.stat_result, tar: os.stat_result) -> None:
    """An index says what the tar holds, and so must be nobody's who could not write the tar as well."""
    if index.st_uid not in (tar.st_uid, os.geteuid(), 0):
        raise Unusable("it belongs to somebody else")
    if index.st_mode & ~tar.st_mode & 0o002:
        raise Unusable("anybody can write it")


def _build(tar_fd: int, tar: str, path: str) -> Obtained:
    from unionfs.layers.indexer import build_from_file  # what a sound index never needs

    parts = build_from_file(tar_fd, tar)
    known = TarId.of(tar_fd)
    try:
        fmt.publish(path, parts)
        return Obtained(_existing(path, tar_fd, verify=False))
    except (OSError, Unusable) as error:
        reason = getattr(error, "strerror", None) or str(error)
    fd = fmt.in_memory(parts)
    try:
        return Obtained(Index(fd, known, path), warning=f"cannot save the index {path}: {reason}")
    except Unusable as error:
        raise LayerError(f"cannot use layer {tar}: {error}", hint="try again when it is complete") from None
    finally:
        os.close(fd)
