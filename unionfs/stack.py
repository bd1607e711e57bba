"""From the options of a mount to its layers: what must hold before it is made, and the opening of it all.

`resolve` looks and changes nothing; `open_stack` opens. Both raise SetupError, each with a hint what to do.
"""

from __future__ import annotations

import fcntl
import os
import sys
import time
from contextlib import ExitStack

from unionfs import journal, sysfd, workdir
from unionfs.errors import SetupError
from unionfs.files import Files
from unionfs.layers.base import Layer
from unionfs.layers.directory import MAX_OPEN, DirLayer
from unionfs.layers.tarball import open_tar_layer
from unionfs.links import LOST, MOVED, THIN
from unionfs.model import Policy
from unionfs.mountpoint import may_mount, overlay_over
from unionfs.namedtuple import NamedTuple
from unionfs.options import MountOptions
from unionfs.tree import UnionTree
from unionfs.upper import Upper
from unionfs.whiteout import USER, Names

LOCK_WAIT = 2.0
"""Seconds to wait for a server that is on its way out: umount(8) returns before the last one has ended."""


class Places(NamedTuple):
    """Where everything is: absolute paths without links, so that they hold after a change of directory."""

    lowers: tuple[str, ...]  # topmost first
    upper: str  # "": a read-only mount
    work: str
    target: str


class Stack(NamedTuple):
    """An open stack of layers. Closing it frees the layers and the top layer for the next mount."""

    tree: UnionTree
    files: Files
    locks: tuple[int, ...]  # descriptors that hold the top layer

    def close(self) -> None:
        self.files.close()
        self.tree.close()
        for lock in self.locks:
            os.close(lock)


def resolve(options: MountOptions, target: str) -> Places:
    """Checks all that can be checked by looking, against the current directory."""
    if not options.lowers:
        raise SetupError("there is nothing to mount", hint="name at least one layer: -o lowerdir=DIRECTORY")
    if bool(options.upper) != bool(options.work):
        raise _unpaired(options)
    places = Places(
        tuple(_lower(path) for path in options.lowers),
        _directory(options.upper, "upper directory") if options.upper else "",
        _directory(options.work, "work directory") if options.work else "",
        _directory(target, "mount point"),
    )
    _refuse_nesting(places)
    _refuse_own_files(places.target)
    if places.upper and (other := overlay_over(places.upper)):  # which takes no lock that others could see
        text = f"the upper directory {places.upper} is in use by the overlayfs on {other}"
        raise SetupError(text, hint="unmount that one first, or give this one its own")
    if options.top == "overlay":
        from unionfs import overlaytop

        overlaytop.check(options)
    return places


def policy(options: MountOptions) -> Policy:
    """How the union treats its top layer, for this process's privileges."""
    userxattr = not _may_set_trusted() if options.userxattr is None else options.userxattr
    chosen = Policy(
        userxattr=userxattr,
        volatile=options.volatile,
        xattrs=options.xattrs,
        acl=options.acls,
        ids=options.ids,
        override=options.override,
        wh_files=options.wh_files,
        changing=options.timeout is not None,
        covered=options.top == "overlay",
    )
    return chosen if options.metacopy_from is None else chosen._replace(metacopy_from=options.metacopy_from)


def open_stack(places: Places, chosen: Policy) -> Stack:
    """Opens every layer and the top layer, and locks the latter against other mounts.

    A tree that is to be covered has no top layer: that is only made ready for the kernel.
    """
    with ExitStack() as undo:
        lowest = len(places.lowers) - 1
        room = sysfd.descriptor_limit() // (4 * len(places.lowers))
        layers = [_open_layer(path, chosen, undo, i == lowest, room) for i, path in enumerate(places.lowers)]
        upper, locks = None, []
        if places.upper:
            locks.append(_lock(places.upper, "upper directory"))
            undo.callback(os.close, locks[0])
            work = _lock(places.work, "work directory")
            if chosen.covered:
                locks.append(work)
                undo.callback(os.close, work)
                ready_for_kernel(locks[0], work, Names(chosen.userxattr))
            else:
                os.close(work)  # Upper takes it for good
                upper = Upper(os.fsencode(places.upper), os.fsencode(places.work), chosen)
                undo.callback(upper.close)
        tree = UnionTree(layers, upper, chosen)
        undo.pop_all()
        return Stack(tree, Files(tree), tuple(locks))


def ready_for_kernel(upper: int, work: int, names: Names) -> None:
    """Does to the top layer what the kernel's overlayfs leaves to others; both are descriptors of directories.

    What a mount has left in the work directory goes (the kernel would refuse to mount if that was a volatile
    one), and the next mount with a top layer of ours is told what the kernel does not note down.
    Raises SetupError for a top layer that the kernel would not show as we do.
    """
    in_namespace = names.prefix == USER.prefix  # where the kernel neither writes nor follows redirects
    if in_namespace and any(sysfd.getxattr(upper, b"", names.prefix + mark) for mark in (MOVED, THIN)):
        text = "the top layer has moved directories, or files without their data, from a mount with top=fuse"
        raise SetupError(text, hint="overlayfs follows them for root only: go on with top=fuse")
    try:
        workdir.clear(work)
        for mark in (LOST,) if in_namespace else (LOST, MOVED):
            sysfd.setxattr(upper, b"", names.prefix + mark, b"y")
    except OSError as e:
        hint = "put both on a local, writable file system with extended attributes"
        raise SetupError(f"the upper or the work directory cannot be changed: {e.strerror}", hint=hint) from e


def _open_layer(path: str, chosen: Policy, undo: ExitStack, lowest: bool, room: int) -> Layer:
    layer: Layer
    if os.path.isdir(path):
        layer = DirLayer(
            os.fsencode(path),
            userxattr=chosen.userxattr,
            override_key=chosen.override,
            wh_files=chosen.wh_files,
            lowest=lowest,
            max_open=min(MAX_OPEN, room),
        )
    else:
        layer = tar = open_tar_layer(path)
        if tar.warning:
            journal.logger().warning("%s", tar.warning)
    undo.callback(layer.close)
    return layer


def _may_set_trusted() -> bool:
    """trusted.* takes CAP_SYS_ADMIN of the first user namespace, whose map is the whole range (xattr(7))."""
    with open("/proc/self/uid_map", "rb") as table:
        return table.read().split() == [b"0", b"0", b"4294967295"] and may_mount()


def _unpaired(options: MountOptions) -> SetupError:
    if options.upper:
        beside = os.path.join(os.path.dirname(os.path.abspath(options.upper)), "work")
        hint = f"add workdir=, an empty directory on the same file system, for example {beside}"
        return SetupError(f"upperdir={options.upper} is given without a work directory", hint=hint)
    hint = "add upperdir=, or leave out workdir= for a read-only mount"
    return SetupError(f"workdir={options.work} is given without an upper directory", hint=hint)


def _directory(path: str, what: str) -> str:
    if not path:
        raise SetupError(f"the {what} has an empty name")
    real = os.path.realpath(path)
    if not os.path.lexists(real):
        raise SetupError(f"the {what} {path} does not exist", hint=f"mkdir -p {path}")
    if not os.path.isdir(real):
        raise SetupError(f"the {what} {path} is not a directory")
    return real


def _lower(path: str) -> str:
    real = os.path.realpath(path)
    if not os.path.lexists(real):
        raise SetupError(
            f"the layer {path} does not exist", hint="relative paths start at the current directory"
        )
    if os.path.isdir(real) or (os.path.isfile(real) and path.endswith(".tar")):
        return real
    compressed = path.endswith((".gz", ".tgz", ".zst", ".xz", ".bz2"))
    hint = "decompress it first" if compressed else "a tar layer ends in .tar"
    raise SetupError(f"the layer {path} is neither a directory nor an uncompressed .tar file", hint=hint)


def _refuse_nesting(places: Places) -> None:
    """A layer that holds another part of the mount would change under itself, or wait for itself."""
    for lower in places.lowers:
        if places.upper:
            _refuse_overlap(places.upper, "upper directory", lower, "layer")
            _refuse_overlap(places.work, "work directory", lower, "layer")
        if _is_inside(places.target, lower) and places.target != lower:
            raise _inside("mount point", places.target, "layer", lower)
    if places.upper:
        _refuse_overlap(places.work, "work directory", places.upper, "upper directory")
        _refuse_different_mounts(places)
        for whole, what in ((places.upper, "upper directory"), (places.work, "work directory")):
            if _is_inside(places.target, whole) and places.target != whole:
                raise _inside("mount point", places.target, what, whole)


def _refuse_different_mounts(places: Places) -> None:
    """rename(2) goes from the work directory to the upper directory, and not from one mount to another."""
    if os.stat(places.upper).st_dev != os.stat(places.work).st_dev:
        what = "are on different file systems"
    elif _mount_id(places.upper) != _mount_id(places.work):
        what = "are below different mounts of one file system"
    else:
        return
    beside = os.path.join(os.path.dirname(places.upper), "work")
    text = f"the upper directory {places.upper} and the work directory {places.work} {what}"
    raise SetupError(text, hint=f"put the work directory beside the upper one, for example {beside}")


def _mount_id(path: str) -> str:
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        with open(f"/proc/self/fdinfo/{fd}") as info:
            return next(line for line in info if line.startswith("mnt_id:"))
    finally:
        os.close(fd)


def _refuse_overlap(one: str, what: str, other: str, what_other: str) -> None:
    if _is_inside(one, other):
        raise _inside(what, one, what_other, other)
    if _is_inside(other, one):
        raise _inside(what_other, other, what, one)


def _inside(what: str, path: str, what_whole: str, whole: str) -> SetupError:
    relation = "is also the" if path == whole else "is inside the"
    text = f"the {what} {path} {relation} {what_whole}{'' if path == whole else ' ' + whole}"
    return SetupError(text, hint="each needs a directory of its own")


def _refuse_own_files(target: str) -> None:
    """Whoever serves a mount over his own files waits for himself as soon as he needs one of them."""
    modules = filter(None, sys.path)  # "" is the current directory, which is / when the server serves
    for place in (os.path.dirname(__file__), sys.prefix, sys.base_prefix, *modules):
        if _is_inside(os.path.realpath(place), target):
            hint = "mount elsewhere, or install the program elsewhere"
            raise SetupError(f"the mount point {target} holds files of this program, in {place}", hint=hint)


def _is_inside(path: str, whole: str) -> bool:
    return path == whole or path.startswith(whole.rstrip("/") + "/")


def _lock(path: str, what: str) -> int:
    """Takes the directory for this mount alone; gives the descriptor that holds it."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    deadline = time.monotonic() + LOCK_WAIT
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return fd
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(fd)
                hint = "unmount that one first, or give this one its own"
                raise SetupError(f"the {what} {path} is in use by another mount", hint=hint) from None
            time.sleep(0.01)
        except OSError:  # a file system without locks cannot tell
            return fd
