"""Hard links of lower files under the kernel's overlayfs: with `index=on` they stay one file, but only the names that
were changed come into the upper directory. A layer has no such index: before it is packed, the other names follow.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

from imagetool.runtime.inroot import open_in_root
from unionfs.layers.tarball import open_tar_layer

INDEX = "index"
"""In overlayfs's work directory: a name for every lower file with several that was copied up."""

_REDIRECT = "trusted.overlay.redirect"

Inode = tuple[int, int]


def are_kept(work: str) -> bool:
    """Whether the overlayfs that is mounted with this work directory has an index."""
    return os.path.isdir(f"{work}/{INDEX}")


def there_are(tars: Iterable[str]) -> bool:
    """Whether the layers have files with several names."""
    return next(_names(tars), None) is not None


def complete(root: str, upper: str, work: str, tars: Iterable[str]) -> None:
    """While the overlay is mounted at `root`: a file of the layers `tars` that has a name in `upper` has all there
    that the view shows. OSError."""
    if not _indexed(work):
        return
    top = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        moved: list[str] = []
        wanted = set(_inodes(top, _linked(upper, moved)))
        for path in (*_names(tars), *_below(root, moved)):
            _copy_up(top, path, wanted)
    finally:
        os.close(top)


def forget(work: str) -> None:
    """When it is unmounted: the index's names would count as names."""
    for name in _indexed(work):
        os.unlink(f"{work}/{INDEX}/{name}")


def _indexed(work: str) -> list[str]:
    with suppress(FileNotFoundError), os.scandir(f"{work}/{INDEX}") as entries:
        return [entry.name for entry in entries if not entry.is_dir(follow_symlinks=False)]
    return []


def _linked(upper: str, moved: list[str]) -> Iterator[str]:
    """Paths in the upper directory of what has several names; directories that were moved are added to `moved`."""
    for folder, directories, files in os.walk(upper):
        at = folder[len(upper) + 1 :]
        moved += [path for name in directories if _is_moved(f"{upper}/{(path := os.path.join(at, name))}")]
        for name in (*files, *directories):  # links to directories are among those
            info = os.lstat(f"{folder}/{name}")
            if info.st_nlink > 1 and not stat.S_ISDIR(info.st_mode):
                yield os.path.join(at, name)


def _is_moved(path: str) -> bool:
    with suppress(OSError):
        return bool(os.getxattr(path, _REDIRECT, follow_symlinks=False))
    return False


def _inodes(top: int, paths: Iterable[str]) -> Iterator[Inode]:
    """As the view has them."""
    for path in paths:
        folder, _, name = path.rpartition("/")
        fd = open_in_root(top, folder, links=False)
        try:
            info = os.stat(name, dir_fd=fd, follow_symlinks=False)
            yield info.st_dev, info.st_ino
        except FileNotFoundError:  # a whiteout, by a link: they have several names too
            continue
        finally:
            os.close(fd)


def _names(tars: Iterable[str]) -> Iterator[str]:
    """Every path that a layer has for a file with several."""
    for path in tars:
        with open_tar_layer(path) as layer:
            for names in layer.linked():
                yield os.fsdecode(b"/".join(names))


def _below(root: str, directories: Sequence[str]) -> Iterator[str]:
    """What is in directories that were moved: no layer knows it by that path."""
    for directory in directories:
        for folder, _, files in os.walk(f"{root}/{directory}"):
            for name in files:
                yield os.path.join(folder[len(root) + 1 :], name)


def _copy_up(top: int, path: str, wanted: set[Inode]) -> None:
    """A change of the owner to what it is: enough for overlayfs to give the upper file this name too."""
    folder, _, name = path.rpartition("/")
    try:
        fd = open_in_root(top, folder, links=False)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):  # the view has something else there
            return
        raise
    try:
        at = f"/proc/self/fd/{fd}/{name}"
        info = os.lstat(at)
        if (info.st_dev, info.st_ino) in wanted and not stat.S_ISDIR(info.st_mode):
            os.lchown(at, -1, -1)
    except FileNotFoundError:
        return
    finally:
        os.close(fd)
