"""Images as directories: unionfs mounts with the layers' tars as lowers, kept in the store until they are undone.

    ROOT/mounts/ID/mount.json     what is mounted where; written before the mount is made
    ROOT/mounts/ID/roots          the manifest, so that nothing collects it
    ROOT/mounts/ID/merged         the mount point, unless another was given
    ROOT/mounts/ID/top/           upper and work directory of a temporary top layer

A mount carries the name `imagetool:ID`, by which it is known in /proc/self/mountinfo. What is recorded and not
mounted (a reboot, a killed server) is cleared away by whoever looks next; not, though, what another mount
namespace may have mounted.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress

from imagetool import reference
from imagetool.errors import Conflict, InvalidReference, NotFound, StoreError
from imagetool.serving import remove_tree, serve
from imagetool.spec import Descriptor
from imagetool.store import disk
from imagetool.store.lease import Lease
from imagetool.store.lock import try_lock
from imagetool.store.store import Store
from unionfs import mountpoint
from unionfs.annotations import Any
from unionfs.namedtuple import NamedTuple
from unionfs.options import escape

Option = str | int | float | bool | None

_SAFE = "nosuid,nodev"  # an image is not to be trusted with more; -o suid,dev turns them off
_END_WAIT = 5.0  # seconds for a server to let go of its top layer after its mount is gone


class Mount(NamedTuple):
    """One mounted image. `image` is what was asked for; `top` the directory that takes changes, "" for none."""

    id: str
    image: str
    manifest: str
    target: str
    top: str
    temporary: bool  # the top layer goes with the mount
    made: bool  # the mount point was made for it
    created: float  # seconds since 1970
    boot: str
    namespace: str  # of mounts, in which it was made

    @property
    def source(self) -> str:
        """The name of the mount in /proc/self/mountinfo."""
        return f"imagetool:{self.id}"

    def is_mounted(self) -> bool:
        found = mountpoint.find(self.target)
        return found is not None and found.source == self.source

    def is_elsewhere(self) -> bool:
        """Whether another mount namespace may have it: then its absence here says nothing."""
        return self.boot == _boot() and self.namespace != _namespace() and not self.is_mounted()


def attach(
    store: Store,
    manifest: Descriptor,
    image: str,
    target: str | None,
    *,
    top: str | None,
    rw: bool,
    options: str,
) -> Mount:
    """Mounts; the server outlives this process. Nothing is left where it fails. SetupError, ImageToolError."""
    name = os.urandom(6).hex()
    directory = f"{os.path.realpath(store.layout.mounts)}/{name}"
    with store.lease() as lease, disk.errors("cannot record the mount"):
        lease.pin(manifest.digest)
        tars = _tars(store, manifest)
        with ExitStack() as undo:
            place, made = _prepared(target, f"{directory}/merged")
            if made:
                undo.callback(os.rmdir, place)
            upper = os.path.abspath(top) if top else f"{directory}/top" if rw else ""
            facts = (image, manifest.digest, place, upper, bool(upper) and not top, made)
            mount = Mount(name, *facts, time.time(), _boot(), _namespace())
            lock = _record(lease, mount, directory)
            try:
                undo.callback(remove_tree, directory)
                serve(_words(tars, directory, mount, options), place)
            finally:
                os.close(lock)
            undo.pop_all()
    return mount


def _record(lease: Lease, mount: Mount, directory: str) -> int:
    """A new record appears with all that it has; the descriptor that keeps others from clearing it away.

    Nothing is synced: what a crash of the machine takes with it, it takes with the mount.
    """
    draft = lease.temporary()
    os.makedirs(f"{draft}/merged")
    for file, text in (("roots", f"{mount.manifest}\n"), ("mount.json", json.dumps(mount._asdict()))):
        with open(f"{draft}/{file}", "x", encoding="utf-8", errors="surrogateescape") as target:
            target.write(text)
    lock = try_lock(f"{draft}/lock")
    assert lock is not None  # nobody else knows the name
    os.rename(draft, directory)
    return lock


def detach(store: Store, mount: Mount, *, lazy: bool = False, force: bool = False) -> None:
    """Unmounts and forgets; a temporary top layer goes. Conflict while it is in use, unless `lazy`."""
    if mount.is_elsewhere() and not force:
        text = f"{mount.target} is mounted in another mount namespace"
        raise Conflict(text, hint="unmount it there; if nobody has it any more: --force")
    if mount.is_mounted():
        try:
            mountpoint.unmount(mount.target, lazy=lazy or force)
        except OSError as error:
            hint = "end what works in it, or unmount with --lazy"
            raise Conflict(f"cannot unmount {mount.target}: {error.strerror}", hint=hint) from error
    _wait_for_end(mount)
    _forget(store, mount)


def listing(store: Store) -> list[Mount]:
    """All mounts, the oldest first; records of those that are gone are cleared away."""
    found = []
    for name in os.listdir(store.layout.mounts):
        mount = _load(store, name)
        if mount is not None and (mount.is_mounted() or mount.is_elsewhere()):
            found.append(mount)
        else:
            _clear(store, name, mount)
    return sorted(found, key=lambda mount: mount.created)


def find(store: Store, text: str) -> list[Mount]:
    """The mounts that a directory, an ID (or its beginning) or an image's name means. NotFound."""
    there = listing(store)
    path = os.path.realpath(text)
    for chosen in (
        [mount for mount in there if mount.target == path],
        [mount for mount in there if _same_name(mount.image, text)],
        [mount for mount in there if len(text) > 3 and mount.id.startswith(text)],
    ):
        if chosen:
            return chosen
    raise NotFound(f"{text!r} is not mounted", hint="see: imagetool mounts")


def _same_name(one: str, other: str) -> bool:
    try:
        return one == other or reference.parse(one).tagged() == reference.parse(other).tagged()
    except InvalidReference:
        return False


@contextmanager
def temporary(
    store: Store,
    manifest: Descriptor,
    target: str | None,
    *,
    rw: bool,
    top: str | None,
    options: Mapping[str, Option],
) -> Iterator[str]:
    """A mount of this program, for a block; nothing is recorded, a lease keeps the layers."""
    import unionfs

    with store.lease() as lease:
        lease.pin(manifest.digest)
        lowers = _tars(store, manifest) or [_new_directory(lease)]
        holder = os.path.abspath(top) if top else _new_directory(lease) if rw else ""
        words: dict[str, Any] = {"nosuid": True, "nodev": True, **_top_options(holder), **options}
        try:
            with unionfs.mount(lowers, target=target, **_top_paths(holder), **words) as mounted:
                yield mounted.path
        finally:
            if holder and not top:
                remove_tree(holder)


def _tars(store: Store, manifest: Descriptor) -> list[str]:
    image = store.image(manifest)
    store.ensure_layers(image)
    return store.layer_tars(image)


def _new_directory(lease: Lease) -> str:
    path = lease.temporary()
    os.mkdir(path)
    return path


def _prepared(target: str | None, default: str) -> tuple[str, bool]:
    """The mount point without links, and whether it was made here."""
    if target is None:
        return default, False
    made = not os.path.lexists(target)
    if made:
        os.mkdir(target)
    return os.path.realpath(target), made


def _words(tars: list[str], directory: str, mount: Mount, options: str) -> str:
    """The words of unionfs's -o. An image without layers is an empty directory."""
    if not tars:
        os.mkdir(f"{directory}/empty")
    lowers = ":".join(escape(path) for path in tars or [f"{directory}/empty"])
    words = [f"lowerdir={lowers}", _SAFE, f"fsname={escape(mount.source)}"]
    words += [f"{key}dir={escape(str(path))}" for key, path in _top_paths(mount.top).items()]
    words += [f"{key}={value}" for key, value in _top_options(mount.top).items()]
    return ",".join([*words, *filter(None, [options])])


def _top_paths(top: str) -> dict[str, str]:
    """The two directories of a top layer, made where they are missing."""
    if not top:
        return {}
    paths = {"upper": f"{top}/upper", "work": f"{top}/work"}
    with disk.errors("cannot make the top layer"):
        for path in paths.values():
            os.makedirs(path, exist_ok=True)
    _require_attributes(paths["work"])
    return paths


def _top_options(top: str) -> dict[str, Option]:
    """Who may not give files away keeps their owners and modes in an attribute."""
    return {"xattr_permissions": 2} if top and os.geteuid() != 0 else {}


def _require_attributes(directory: str) -> None:
    """Whiteouts and opaque directories are marked with extended attributes: say at once where there are none."""
    import xattr  # type: ignore[import-untyped]

    key = "trusted.overlay.probe" if mountpoint.may_mount() and os.geteuid() == 0 else "user.overlay.probe"
    try:
        xattr.setxattr(directory, key, b"y")
        xattr.removexattr(directory, key)
    except PermissionError:  # root of a user namespace has the others
        return
    except OSError as error:
        text = f"{directory} is on a file system without extended attributes: {error.strerror}"
        raise StoreError(text, hint="give a top layer on another one with --top") from error


def _load(store: Store, name: str) -> Mount | None:
    """None for a record that is not whole."""
    try:
        with open(f"{store.layout.mounts}/{name}/mount.json", "rb") as file:
            return Mount(**json.load(file))
    except (OSError, ValueError, TypeError):
        return None


def _clear(store: Store, name: str, mount: Mount | None) -> None:
    """Takes away what is left of a mount, unless somebody is about to make it."""
    directory = f"{store.layout.mounts}/{name}"
    try:
        lock = try_lock(f"{directory}/lock", create=False)
    except (FileNotFoundError, NotADirectoryError):
        lock = -1
    if lock is None:
        return
    if mount is None or not mount.is_mounted():
        _forget(store, mount or Mount(name, "", "", "", "", False, False, 0, "", ""))
    if lock >= 0:
        os.close(lock)


def _forget(store: Store, mount: Mount) -> None:
    remove_tree(f"{store.layout.mounts}/{mount.id}")
    if mount.made:
        with suppress(OSError):
            os.rmdir(mount.target)


def _wait_for_end(mount: Mount) -> None:
    """The server holds its upper directory until it has ended."""
    if not mount.top:
        return
    import fcntl

    deadline = time.monotonic() + _END_WAIT
    with suppress(FileNotFoundError):
        fd = os.open(f"{mount.top}/upper", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            while time.monotonic() < deadline:
                with suppress(BlockingIOError):
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return
                time.sleep(0.01)
        finally:
            os.close(fd)


def _boot() -> str:
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def _namespace() -> str:
    return os.readlink("/proc/self/ns/mnt")
