"""The container's view of files: mounts, devices, masked paths, and the change of root. Runs in the helper.

Everything is attached by descriptor to a target that was resolved beneath the root, so that nothing in an
image decides where a mount lands. Nothing here is visible outside the mount namespace.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat

from imagetool.runtime import linux
from imagetool.runtime.inroot import open_in_root

if False:
    from collections.abc import Callable
    from typing import Any

_TIOCSPTLCK, _TIOCGPTPEER = 0x40045431, 0x5441
_DEVPTS_MAJOR = 136  # of a terminal's slave side; Documentation/admin-guide/devices.txt


def build(request: dict[str, Any]) -> int:
    """Attach the root and everything in it; answers the root's descriptor. Call in a new mount namespace."""
    here = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    linux.set_mount(here, propagation=linux.MS_SLAVE, recursive=True)  # nothing of ours reaches the host
    os.close(here)
    root = _attach_root(request["root"], request["nodev"])
    for mount in request["mounts"]:
        _explained(f"mounting {mount['kind']} on {mount['target']}", _mount, root, mount)
    own = any(mount["kind"] == "tmpfs" and mount["target"] == "/dev" for mount in request["mounts"])
    for path in request["devices"]:
        _explained(f"showing {path}", _make_device if own else _bind_device, root, path)
    for name, target in request["symlinks"]:
        _explained(f"making {name}", _symlink, root, name, target)
    for path in request["sealed"]:
        _explained(f"protecting {path}", _seal, root, path)
    for path in request["masked"]:
        _explained(f"masking {path}", _mask, root, path)
    for path in request["readonly_paths"]:
        _explained(f"protecting {path}", _make_readonly, root, path)
    return root


def _explained(what: str, step: Callable[..., None], *arguments: Any) -> None:
    try:
        step(*arguments)
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror} ({error.filename})", what) from error


def _make_device(root: int, path: str) -> None:
    """A node of the container's own, in its /dev, whose mode and owner are no others' affair.

    It is a mount by itself, as devices need not open elsewhere in /dev. Where none can be made: the machine's.
    """
    directory, _, name = path.rpartition("/")
    parent = open_in_root(root, directory, links=False)
    try:
        os.mknod(name, stat.S_IFCHR, os.stat(path).st_rdev, dir_fd=parent)
        os.chmod(name, 0o666, dir_fd=parent)
    except PermissionError:
        _bind_device(root, path)
        return
    finally:
        os.close(parent)
    place = open_in_root(root, path, links=False)
    tree = linux.clone_tree(b"", place)
    linux.set_mount(tree, off=linux.ATTR_NODEV)
    linux.attach(tree, place)
    _close(tree, place)


def _bind_device(root: int, path: str) -> None:
    """The machine's own: it opens, for writing too, but has to stay as it is."""
    _bind(root, path, path, links=False, on=linux.ATTR_RDONLY)


def open_terminal(root: int, uid: int) -> tuple[int, int]:
    """A new terminal of the container's own devpts, as (master, slave), shown as /dev/console."""
    pts = open_in_root(root, "dev/pts", links=False)
    try:
        master = os.open("ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC, dir_fd=pts)
    finally:
        os.close(pts)
    fcntl.ioctl(master, _TIOCSPTLCK, b"\0\0\0\0")
    slave = fcntl.ioctl(master, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    if os.major(os.fstat(slave).st_rdev) != _DEVPTS_MAJOR:
        raise OSError(errno.EPERM, "not a terminal of the container's own", "/dev/pts/ptmx")
    os.fchown(slave, uid, -1)
    return master, slave


def show_console(root: int, slave: int) -> None:
    target = open_in_root(root, "dev/console", make="file", links=False)
    tree = linux.clone_tree(b"", slave)
    linux.attach(tree, target)
    _close(tree, target)


def make_directory(root: int, path: str) -> None:
    """The working directory exists, as Docker makes it."""
    os.close(open_in_root(root, path, make="dir"))


def make_readonly(root: int) -> None:
    linux.set_mount(root, on=linux.ATTR_RDONLY)


def change_root(root: int, how: str) -> None:
    """how: "pivot" leaves nothing of the host behind; "move" covers it; "chroot" needs no namespace."""
    os.fchdir(root)
    if how == "pivot":
        linux.pivot_root(b".", b".")  # the old root now lies on top of the new one
        linux.umount(b".")
    elif how == "move":
        top = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        linux.attach(root, top)
        os.close(top)
    if how != "pivot":
        os.chroot(".")
    os.chdir("/")


def _attach_root(path: str, nodev: bool) -> int:
    place = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    tree = linux.clone_tree(os.fsencode(path), recursive=True)
    linux.set_mount(tree, on=linux.ATTR_NODEV if nodev else 0, propagation=linux.MS_PRIVATE, recursive=True)
    linux.attach(tree, place)
    os.close(place)
    return tree


def _mount(root: int, mount: dict[str, Any]) -> None:
    """One mount of the plan; the keys are those of `request.MountStep`."""
    if mount["kind"] == "bind":
        _bind(root, **{k: v for k, v in mount.items() if k != "kind"})
        return
    target = open_in_root(root, mount["target"], make="dir", links=mount["links"])
    _refuse_proc(root, target, mount["target"], mount["links"])
    tree = linux.new_filesystem(os.fsencode(mount["kind"]), mount["options"], mount["on"])
    linux.attach(tree, target)
    _close(tree, target)


def _bind(
    root: int,
    source: str,
    target: str,
    *,
    links: bool,
    on: int = 0,
    off: int = 0,
    recursive: bool = False,
    propagation: int = 0,
) -> None:
    tree = linux.clone_tree(os.fsencode(source), recursive=recursive)
    kind = "dir" if stat.S_ISDIR(os.fstat(tree).st_mode) else "file"
    place = open_in_root(root, target, make=kind, links=links)
    _refuse_proc(root, place, target, links)
    if on or off or propagation:
        linux.set_mount(tree, on=on, off=off, propagation=propagation, recursive=recursive)
    linux.attach(tree, place)
    _close(tree, place)


def _refuse_proc(root: int, place: int, target: str, links: bool) -> None:
    """A link in the image must not make a volume cover the container's /proc, where the masks are."""
    if not links:
        return
    try:
        proc = os.stat("proc/self", dir_fd=root, follow_symlinks=False)
    except OSError:
        return
    if os.fstat(place).st_dev == proc.st_dev != os.fstat(root).st_dev:
        raise OSError(errno.EPERM, "leads into /proc", target)


def _symlink(root: int, name: str, target: str) -> None:
    directory, _, last = name.rpartition("/")
    parent = open_in_root(root, directory, links=False)
    try:
        os.symlink(target, last, dir_fd=parent)
    except FileExistsError:
        pass
    finally:
        os.close(parent)


def _mask(root: int, path: str) -> None:
    place = _existing(root, path)
    if place is None:
        return
    if stat.S_ISDIR(os.fstat(place).st_mode):
        tree = linux.new_filesystem(b"tmpfs", [(b"size", b"0"), (b"mode", b"0555")], linux.ATTR_RDONLY)
    else:
        tree = linux.clone_tree(b"/dev/null")
        linux.set_mount(tree, on=linux.ATTR_RDONLY)  # it is the machine's, whose mode and owner must stay
    linux.attach(tree, place)
    _close(tree, place)


def _make_readonly(root: int, path: str) -> None:
    place = _existing(root, path)
    if place is None:
        return
    tree = linux.clone_tree(b"", place, recursive=True)
    linux.set_mount(tree, on=linux.ATTR_RDONLY, recursive=True)
    linux.attach(tree, place)
    _close(tree, place)


def _seal(root: int, path: str) -> None:
    place = open_in_root(root, path, links=False)
    linux.set_mount(place, on=linux.ATTR_RDONLY)
    os.close(place)


def _existing(root: int, path: str) -> int | None:
    try:
        return open_in_root(root, path, links=False)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _close(*fds: int) -> None:
    for fd in fds:
        os.close(fd)
