"""top=overlay: the kernel's overlayfs is the top layer, over our tree of all layers, which is read-only then.

What is written never comes to the server, and what was copied up does not any more. The tree is mounted nowhere:
overlayfs holds it, so one umount(8) ends both. The top layer on disk is the same as with top=fuse.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from errno import EBUSY, EINVAL, ENODEV, EPERM

from unionfs import mountapi, mountpoint
from unionfs.errors import SetupError
from unionfs.model import MS_NODEV, MS_NOSUID, MS_RDONLY
from unionfs.mountpoint import Request
from unionfs.namedtuple import NamedTuple
from unionfs.options import MountOptions

_WAY_OUT = "or use top=fuse"


class Top(NamedTuple):
    """What overlayfs is to be mounted with. `upper` and `work` are absolute paths without links."""

    upper: str
    work: str
    userxattr: bool
    volatile: bool = False
    metacopy: bool = True


class Below(NamedTuple):
    """Our tree as a file system that is attached nowhere, and that nobody serves yet."""

    fd: int  # of /dev/fuse
    root: int  # of the detached mount
    device: int  # its st_dev


def check(options: MountOptions) -> None:
    """Refuses what overlayfs has no words for. Raises SetupError."""
    if not options.upper:
        hint = "add upperdir= and workdir=, or leave out top=overlay"
        raise SetupError("top=overlay without an upper directory: nothing would be on top", hint=hint)
    for word, asked in _impossible(options).items():
        if asked:
            hint = f"leave out {word}, {_WAY_OUT}"
            raise SetupError(
                f"{word} does not go with top=overlay: the kernel's overlayfs cannot do it", hint=hint
            )
    if not mountpoint.may_mount():
        hint = f"be root, or root of a user namespace (unshare -rm), {_WAY_OUT}"
        raise SetupError("top=overlay takes the right to mount overlayfs", hint=hint)


def _impossible(options: MountOptions) -> dict[str, bool]:
    metacopy = options.metacopy_from
    return {
        "uidmapping=": bool(options.uids),
        "gidmapping=": bool(options.gids),
        "squash_to_root": options.squash_to_root,
        "squash_to_uid=": options.squash_uid is not None,
        "squash_to_gid=": options.squash_gid is not None,
        "xattr_permissions=": bool(options.override),
        "noxattrs": not options.xattrs,
        "noacl": not options.acl,
        "noallow_other": options.allow_other is False,
        "nodefault_permissions": options.default_permissions is False,
        "driver=pyfuse3": options.driver != "kernel",
        f"io={options.io}": options.io != "auto",
        "writeback=on": bool(options.writeback),
        f"metacopy={metacopy}": metacopy is not None and metacopy != sys.maxsize,
        "context=": bool(options.contexts) and not mountpoint.has_selinux(),
    }


def prepare(request: Request) -> Below:
    """Makes the file system of our tree. Raises SetupError."""
    fd = mountpoint.open_device()
    words: list[tuple[str, str | None]] = [("source", request.source), ("fd", str(fd)), ("rootmode", "40000")]
    words += [("user_id", str(os.getuid())), ("group_id", str(os.getgid()))]
    words += [("default_permissions", None), ("allow_other", None)]
    words += [("subtype", request.subtype)] * bool(request.subtype)
    words += [("max_read", str(request.max_read))] * (request.max_read is not None)
    try:
        root = mountapi.make("fuse", words, MS_RDONLY | MS_NODEV | MS_NOSUID)
    except OSError as e:
        os.close(fd)
        raise SetupError(f"cannot make a FUSE file system: {e.strerror}", hint=_hint(e.errno)) from e
    return Below(fd, root, mountapi.device_of(root))


def put_on(request: Request, top: Top, below: Below) -> int:
    """Mounts overlayfs on the target, over a tree that is being served; gives the st_dev of the mount.

    For a thread: overlayfs looks at the tree. Closes `below.root`. Raises SetupError, with nothing mounted.
    """
    try:
        mount = _make(request, top, below.root)
    except OSError as e:
        text = f"cannot mount the kernel's overlayfs on {request.target}: {e.strerror}"
        raise SetupError(text, hint=_hint(e.errno)) from e
    finally:
        os.close(below.root)
    try:
        return _attach(request, top, mount)
    finally:
        os.close(mount)


def _make(request: Request, top: Top, root: int) -> int:
    opened = {path: os.open(path, os.O_PATH | os.O_CLOEXEC) for path in (top.upper, top.work)}
    try:
        words = _words(request, top, root, opened)
        try:
            return mountapi.make("overlay", words, request.flags)
        except OSError as e:
            if e.errno != EINVAL:
                raise
        # Before Linux 6.15 a layer has to be attached somewhere, in the mount namespace of whoever mounts.
        return in_private_namespace(lambda: _make_over_attached(request, words, root))
    finally:
        for fd in opened.values():
            os.close(fd)


def _make_over_attached(request: Request, words: list[tuple[str, str | None]], root: int) -> int:
    mountapi.attach(root, request.target)
    return mountapi.make("overlay", words, request.flags)


def _words(request: Request, top: Top, root: int, opened: dict[str, int]) -> list[tuple[str, str | None]]:
    words: list[tuple[str, str | None]] = [("source", request.source), ("lowerdir", f"/proc/self/fd/{root}")]
    for word, path in (("upperdir", top.upper), ("workdir", top.work)):
        words.append((word, path if _is_plain(path) else f"/proc/self/fd/{opened[path]}"))
    # One st_dev for all files: ours and the top layer's inode numbers do not meet.
    words += [("xino", "on"), ("index", "off")]
    if top.userxattr:  # which excludes the other two
        words.append(("userxattr", None))
    else:
        words += [("redirect_dir", "on"), ("metacopy", "on" if top.metacopy else "off")]
    if top.volatile:
        words.append(("volatile", None))
    for context in request.contexts:
        word, _, value = context.partition("=")
        words.append((word, value.strip('"')))
    return words


def _is_plain(path: str) -> bool:
    """Whether each kernel takes the path as it is."""
    return len(os.fsencode(path)) <= mountapi.VALUE_LIMIT and not set(path) & set("\\,:")


def _attach(request: Request, top: Top, mount: int) -> int:
    """Checks what the kernel does not call an error, then shows the mount."""
    if not request.flags & MS_RDONLY and os.statvfs(mount).f_flag & os.ST_RDONLY:
        text = f"the kernel's overlayfs cannot write in {top.work}"
        raise SetupError(
            text, hint=f"put the upper and the work directory on another file system, {_WAY_OUT}"
        )
    try:
        mountapi.attach(mount, request.target)
    except OSError as e:
        raise SetupError(f"cannot mount on {request.target}: {e.strerror}", hint=_hint(e.errno)) from e
    if request.private:
        mountpoint.make_private(request.target)
    return os.fstat(mount).st_dev


def in_private_namespace(function: Callable[[], int]) -> int:
    """Runs `function` where what it attaches is seen by nobody, and goes at its end."""
    results: list[int] = []
    errors: list[OSError] = []

    def run() -> None:
        try:
            mountpoint.enter_private_namespace()
            results.append(function())
        except OSError as e:
            errors.append(e)

    thread = threading.Thread(target=run)  # of its own: there is no way back from the namespace
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def _hint(code: int | None) -> str:
    return {
        ENODEV: f"load the kernel module: modprobe overlay, {_WAY_OUT}",
        EPERM: f"this container or user namespace does not allow it, {_WAY_OUT}",
        EBUSY: f"another overlayfs has the upper or the work directory: unmount it, {_WAY_OUT}",
        EINVAL: "the upper directory must be on a local file system (not overlayfs, FUSE or NFS), "
        + _WAY_OUT,
    }.get(code or 0, f"the kernel's log may say more: dmesg, {_WAY_OUT}")
