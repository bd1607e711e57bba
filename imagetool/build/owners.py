"""Owners in a build of who is not root: what the user namespace has ids for is real on disk, the rest is noted.

With ranges in /etc/subuid every owner is real. With one id, the files of a step are that user's, and whose they are
in the image is in an attribute of theirs (`unionfs.override`): the mount of a step keeps it for the image's own
files, and `give` makes it for those that a COPY or a WORKDIR brings. Only a symbolic link can have none.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from imagetool.containers import rootless
from imagetool.errors import StoreError

if TYPE_CHECKING:
    from imagetool.archive.pack import Options

Words = list[tuple[str, str | None]]


def are_noted() -> bool:
    """Whether this process is in a user namespace with one id."""
    return rootless.active() and rootless.has_one_id()


def top(asked: str) -> str:
    """Who is to keep the changes of steps: the kernel's overlayfs has no notes. StoreError."""
    if not are_noted():
        return asked
    if asked == "overlay":
        raise StoreError(
            "--top overlay takes more than one user id", hint="use --top fuse; or see /etc/subuid"
        )
    return "fuse"


def reading(epoch: int | None) -> Options:
    """How the upper directory of a step is read."""
    from imagetool.archive.pack import Options
    from unionfs.override import CONTAINERS

    return Options(rootless.active(), CONTAINERS if are_noted() else b"", epoch)


def mount_words(*, changing: bool) -> list[str]:
    """Options of a union in which steps work."""
    words = ["userxattr"] if rootless.active() and changing else []
    if are_noted():
        words += ["squash_to_uid=0,squash_to_gid=0", *["xattr_permissions=2"] * changing]
    return words


def overlay_words(*, changing: bool) -> Words:
    """Options of the kernel's overlayfs, which in a user namespace writes neither redirects nor files without data."""
    if rootless.active():
        return [("index", "off"), ("userxattr", None)]
    index = "on" if changing else "off"  # a change of a lower file is one under all its names (`hardlinks`)
    return [("index", index), ("redirect_dir", "on"), ("metacopy", "on")]


def give(path: str, uid: int, gid: int) -> None:
    """chown(2) of a file or directory that no mount shows. OSError."""
    if are_noted():
        _note(path, uid, gid)
    else:
        os.chown(path, uid, gid)


def _note(path: str, uid: int, gid: int) -> None:
    from unionfs.override import CONTAINERS, Override, render

    name = os.fsdecode(CONTAINERS)
    mode = os.stat(path, follow_symlinks=False).st_mode
    os.setxattr(path, name, render(Override(uid, gid, stat.S_IMODE(mode))), follow_symlinks=False)
