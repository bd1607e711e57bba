"""A container's files: the image's layers, stubs below them, and the RW layer, as one unionfs mount."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from contextlib import suppress

from imagetool.containers import limited, rootless
from imagetool.containers.record import Record
from imagetool.errors import StoreError
from imagetool.serving import serve
from imagetool.spec import Descriptor
from imagetool.store import disk
from imagetool.store.store import Store
from unionfs import mountpoint

STUBS = (("/proc", True), ("/sys", True), ("/dev", True), ("/etc/hosts", False), ("/etc/hostname", False),
          ("/etc/resolv.conf", False))  # fmt: skip


def source_of(container_id: str) -> str:
    """The name of the mount in /proc/self/mountinfo."""
    return f"imagetool:{container_id[:12]}"


def manifest_of(record: Record) -> Descriptor:
    from imagetool import digest as digests

    return Descriptor(record.media_type, digests.parse(record.manifest), record.size)


def lowers(store: Store, record: Record) -> list[str]:
    """The tars of the image, top first."""
    image = store.image(manifest_of(record))
    store.ensure_layers(image)
    return store.layer_tars(image)


def mount(store: Store, record: Record, directory: str) -> None:
    """Mounts on DIRECTORY/rootfs; the server outlives this process. SetupError, ImageToolError: there is no mount."""
    from unionfs.options import escape, is_known

    unmount(f"{directory}/rootfs")
    limited.attach(directory)
    with disk.errors("cannot prepare the container's files"):
        for name in ("top/upper", "top/work"):
            os.makedirs(f"{directory}/{name}", exist_ok=True)
        make_stubs(f"{directory}/stubs", mountpoints(record))
    layers = [escape(path) for path in [*lowers(store, record), f"{directory}/stubs"]]
    words = [
        f"lowerdir={':'.join(layers)}", f"upperdir={escape(directory)}/top/upper",
        f"workdir={escape(directory)}/top/work", f"fsname={source_of(record.id)}", "dev",
    ]  # fmt: skip
    if record.rootless:
        words.append("xattr_permissions=2,userxattr")
        if record.top == "overlay":
            raise StoreError("--top overlay is for root only", hint="use --top fuse")
    if rootless.active() and rootless.has_one_id():
        words.append("squash_to_uid=0,squash_to_gid=0")
    if record.top != "auto":
        if not is_known(f"top={record.top}"):
            raise StoreError(f"--top {record.top}: this unionfs has no such top layer", hint="use --top auto")
        words.append(f"top={record.top}")
    serve(",".join(words), f"{directory}/rootfs")


def mountpoints(record: Record) -> list[tuple[str, bool]]:
    """(path, whether it is a directory) of what is mounted in the container, but for what is in other mounts."""
    asked = [(m.target, m.kind != "bind" or os.path.isdir(m.source)) for m in record.options.mounts]
    devices = [(each.container, os.path.isdir(each.host)) for each in record.options.devices]
    return [*STUBS, *asked, *devices]


def make_stubs(directory: str, wanted: Iterable[tuple[str, bool]]) -> None:
    """Empty directories and files. Their parents belong to us, so that nothing leads out."""
    os.makedirs(directory, mode=0o755, exist_ok=True)
    for path, is_directory in wanted:
        names = [name for name in path.split("/") if name not in ("", ".", "..")]
        if not names:
            continue
        here = "/".join([directory, *names])
        with suppress(FileExistsError, NotADirectoryError):
            os.makedirs(here if is_directory else os.path.dirname(here), mode=0o755, exist_ok=True)
            if not is_directory:
                os.close(os.open(here, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))


def is_mounted(target: str) -> bool:
    found = mountpoint.find(target)
    return found is not None and found.source.startswith("imagetool:")


def unmount(target: str) -> None:
    """Takes our mounts off `target`, whoever still has files open there. StoreError."""
    target = os.path.realpath(target)
    while is_mounted(target):
        try:
            mountpoint.unmount(target, lazy=True)
        except OSError as error:
            raise StoreError(f"cannot unmount {target}: {error.strerror}") from error


def wait_until_free(directory: str) -> None:
    """The server holds the RW layer until it has ended: then all that was written is in it.

    Its mount is gone, and so is whoever used it. But whoever has made a mount namespace meanwhile, as `unshare -m`
    does, has a copy of the mount, and that would keep the server: it is told to go.
    """
    with suppress(FileNotFoundError):
        _see_off(f"{directory}/top/upper")


def upper_of(directory: str) -> int:
    """A descriptor for `see_off` of a container that is about to be removed, and has no time to wait; -1: no files."""
    with suppress(FileNotFoundError):
        return os.open(f"{directory}/top/upper", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    return -1


def see_off(upper: int) -> None:
    """The server of a container that is gone ends as well."""
    if upper >= 0:
        _see_off(f"/proc/self/fd/{upper}")
        os.close(upper)


def _see_off(upper: str) -> None:
    """What a server gets whose mount is gone, and the seconds that it then has. The second SIGTERM ends it at once."""
    from signal import SIGKILL, SIGTERM  # whoever only looks need not wait for it

    for number, seconds in ((0, 1.0), *[(SIGTERM, 1.0)] * 3, (SIGKILL, 5.0)):
        if number:
            _signal_holder(upper, number)
        if disk.wait_unlocked(upper, seconds):
            return


def _signal_holder(directory: str, number: int) -> None:
    """To who has locked the directory, as proc(5) locks says and his descriptors confirm."""
    from signal import pidfd_send_signal

    wanted = os.stat(directory)
    with open("/proc/locks") as table:
        rows = [line.split() for line in table]
    for pid in {int(row[4]) for row in rows if row[1] == "FLOCK" and row[5].endswith(f":{wanted.st_ino}")}:
        with suppress(OSError):  # it has ended
            process = os.pidfd_open(pid)
            try:
                there = (os.stat(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd"))
                if any(os.path.samestat(wanted, one) for one in there):
                    pidfd_send_signal(process, number)
            finally:
                os.close(process)


def sync(directory: str) -> None:
    """What processes have written is in the RW layer, and not only in the kernel's cache of the mount; and the layer
    is there to be read."""
    limited.attach(directory)
    found = mountpoint.find(os.path.realpath(f"{directory}/rootfs"))
    if found is not None and found.fstype != "overlay":  # which has no cache of its own
        disk.sync_mount(f"{directory}/rootfs")


def size(directory: str) -> int:
    """Bytes of the regular files of the RW layer, each inode once."""
    total, known = 0, set()
    with suppress(OSError, StoreError):
        sync(directory)
    for folder, _, files in os.walk(f"{directory}/top/upper"):
        for name in files:
            with suppress(OSError):
                found = os.lstat(f"{folder}/{name}")
                if stat.S_ISREG(found.st_mode) and found.st_ino not in known:
                    known.add(found.st_ino)
                    total += found.st_size
    return total
