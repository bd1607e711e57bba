"""The files of a build's stages as directories, in a mount namespace of the build's own.

The layers of an image are one read-only unionfs mount, made once for all stages that stand on them. A step that
changes files gets the kernel's overlayfs over it (`top=overlay`), which costs a millisecond: its upper directory is
packed into the step's layer, and is then the next step's lower one. Where overlayfs cannot be had (`top=fuse`), each
such step has a unionfs mount over the layers that are packed. Nobody else sees any of these mounts, and all of them
end with the process, whatever its end.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import count

from imagetool.archive.tree import opened
from imagetool.build import guard, hardlinks, owners
from imagetool.build.scratch import Scratch
from imagetool.build.state import State
from imagetool.digest import Digest
from imagetool.errors import StoreError
from imagetool.runtime import linux
from imagetool.spec import Descriptor
from imagetool.store import disk
from imagetool.store.lease import Lease
from imagetool.store.store import Store
from unionfs import mountapi, mountpoint
from unionfs.errors import SetupError
from unionfs.layers.tarball import open_tar_layer
from unionfs.model import MS_NODEV, MS_NOSUID, ROOT_ID
from unionfs.namedtuple import NamedTuple
from unionfs.options import escape

MOST_FRESH = 10
"""Upper directories that are stacked; then the layers are mounted anew. fsconfig(2) takes 255 bytes of lowerdir."""

_END_WAIT = 10.0  # seconds for a server to let go of the upper directory after its mount is gone

Layers = Sequence[tuple[Descriptor, Digest]]


class Top(NamedTuple):
    """A writable root, and the directory in overlayfs's format that has nothing but what was changed.

    `stacks`: the kernel can have it below the next step.
    """

    root: str
    upper: str
    stacks: bool = True


class Workspace:
    """Made while the process has one thread, which gets a mount namespace. `top`: "auto", "fuse" or "overlay"."""

    def __init__(
        self, store: Store, lease: Lease, scratch: Scratch, top: str, meanwhile: Callable[[], object]
    ) -> None:
        """`meanwhile` is called while a mount is being made: for imports that will be needed."""
        self._meanwhile = meanwhile
        self._store, self._lease, self._scratch = store, lease, scratch
        self._top = owners.top(top)
        self._lock = threading.Lock()
        self._locks: dict[object, threading.Lock] = {}
        self._views: dict[object, str] = {}
        self._places = count(1)
        _enter_namespace()
        scratch.remover = guard.start(scratch.prefix)
        _become_reaper(scratch)
        self.memory = self._in_memory()
        """A directory that is only in memory, and that nobody else can enter."""

    def view(self, state: State) -> str:
        """The files of a state, read-only."""
        fresh = self._fresh(state)
        if not fresh:
            return self._base(state.layers)
        return self._once(fresh, lambda: self._read_only(state, fresh))

    @contextmanager
    def changing(self, state: State, stubs: Sequence[str] = ()) -> Iterator[Top]:
        """A root with the files of a state that can be changed. The change is whole when the block has ended.

        `stubs` are directories below everything else: places for mounts, which leave no trace in the change.
        """
        upper = self._scratch.directory()
        below = list(stubs) or [self.place()] * (not state.layers)
        if self._top != "fuse" and not (stubs and self._needs_union(state)):
            lowers = [*self._lowers(state), *below]
            _take_root(lowers[0], upper)
            work = self._scratch.directory()
            mounted = self._overlay(lowers, upper, work)
            if mounted is not None and stubs and state.fresh and self._breaks_links(state, work):
                _unmount(mounted)
                work = self._scratch.directory()
                mounted = self._overlay([self._base(state.layers), *below], upper, work)
            if mounted is not None:
                try:
                    yield Top(mounted, upper)
                    with disk.errors("cannot write the build's files"):
                        hardlinks.complete(mounted, upper, work, self._tars(state.layers))
                finally:
                    _unmount(mounted)
                hardlinks.forget(work)
                return
        work = self._scratch.directory()
        with self._union(state, below, upper, work) as root:
            yield Top(root, upper, stacks=not owners.is_unindexed())
        _wait_until_free(upper)

    @contextmanager
    def discarding(self, directory: str) -> Iterator[str]:
        """A writable view of a directory, whose changes nobody keeps."""
        mounted = self._overlay([directory], self._scratch.directory(), self._scratch.directory())
        if mounted is None:
            raise StoreError("a mount with rw needs the kernel's overlayfs", hint="leave out rw")
        try:
            yield mounted
        finally:
            _unmount(mounted)

    def place(self) -> str:
        """A new empty directory in memory, mode 0755: to mount on, or for small files."""
        path = f"{self.memory}/{next(self._places)}"
        os.mkdir(path, 0o755)
        return path

    # --- inside

    def _in_memory(self) -> str:
        target = self._scratch.directory()
        try:
            mount = mountapi.make("tmpfs", [("source", guard.SOURCE), ("mode", "0700")], MS_NODEV | MS_NOSUID)
            try:
                mountapi.attach(mount, target)
            finally:
                os.close(mount)
        except OSError as error:
            raise StoreError(f"cannot mount a tmpfs for the build: {error.strerror}") from error
        self._scratch.callback(_unmount, target)
        return target

    def _fresh(self, state: State) -> tuple[str, ...]:
        return state.fresh if len(state.fresh) <= MOST_FRESH and self._top != "fuse" else ()

    def _lowers(self, state: State) -> list[str]:
        fresh = self._fresh(state)
        layers = state.layers[: len(state.layers) - len(fresh)]
        return [*fresh, *([self._base(layers)] if layers else [])]

    def _base(self, layers: Layers) -> str:
        if not layers:
            return self._once((), self.place)
        return self._once(tuple(diff_id for _, diff_id in layers), lambda: self._mount_layers(layers))

    def _once(self, key: object, make: Callable[[], str]) -> str:
        """What `make` gives, made by the first who asks; others wait for it."""
        with self._lock:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            if key not in self._views:
                self._views[key] = make()
            return self._views[key]

    def _mount_layers(self, layers: Layers) -> str:
        target = self.place()
        tars = self._tars(layers)
        words = [f"lowerdir={':'.join(map(escape, tars))}", *owners.mount_words(changing=False)]
        self._scratch.callback(self._serve(words, target, reading=True))
        return target

    def _tars(self, layers: Layers) -> list[str]:
        """Top first; what was lost of them is built again."""
        for blob, diff_id in layers:
            if not self._store.has_layer(blob, diff_id):
                self._store.build_layer(self._lease, blob, diff_id)
        return [self._store.layout.layer_tar(diff_id) for _, diff_id in reversed(layers)]

    def _breaks_links(self, state: State, work: str) -> bool:
        """Whether a command may change a file under one of its names only. The kernel tells file systems apart by
        their UUID: ours have none, and some disks have none either."""
        if hardlinks.are_kept(work) or ("index", "on") not in owners.overlay_words(changing=True):
            return False  # in a user namespace there is no index, whatever is below
        return hardlinks.there_are(self._tars(state.layers))

    def _needs_union(self, state: State) -> bool:
        """The same, where that is known before a mount."""
        return self._top == "auto" and owners.is_unindexed() and hardlinks.there_are(self._tars(state.layers))

    def _read_only(self, state: State, fresh: tuple[str, ...]) -> str:
        lowers = self._lowers(state)
        if len(lowers) == 1:  # overlayfs without an upper directory takes two at least
            lowers.append(self.place())
        target = self._overlay(lowers, "", "")
        assert target is not None  # there are fresh directories: it has worked before
        self._scratch.callback(_unmount, target)
        return target

    def _overlay(self, lowers: Sequence[str], upper: str, work: str) -> str | None:
        """Where overlayfs is mounted; None where there is none and that is no error."""
        target = self.place()
        try:
            mount = _overlayfs(lowers, upper, work)
        except OSError as error:
            if self._top == "auto":
                self._top = "fuse"
                return None
            text = f"cannot mount the kernel's overlayfs: {error.strerror}"
            raise StoreError(text, hint="use --top fuse") from error
        try:
            mountapi.attach(mount, target)
        finally:
            os.close(mount)
        return target

    @contextmanager
    def _union(self, state: State, below: Sequence[str], upper: str, work: str) -> Iterator[str]:
        target = self.place()
        lowers = [*self._tars(state.layers), *below]
        _take_root_of_tars(lowers, upper)
        words = [f"lowerdir={':'.join(map(escape, lowers))}", f"upperdir={escape(upper)}", "dev", "volatile"]
        end = self._serve([*words, f"workdir={escape(work)}", *owners.mount_words(changing=True)], target)
        try:
            yield target
            with disk.errors("cannot write the build's files"):
                disk.sync_mount(target)
        finally:
            end()

    def _serve(self, words: Sequence[str], target: str, *, reading: bool = False) -> Callable[[], None]:
        """Mounts; the function that takes the mount away again. Who only reads need not be let finish. SetupError."""
        text = ",".join([*words, f"fsname={guard.SOURCE}"])
        if not _may_fork():
            from unionfs import api

            return api.Mount(text, target).close
        from unionfs.child import Child

        child = Child(text, target)
        self._meanwhile()
        child.wait()

        def end() -> None:
            _unmount(target)
            child.kill() if reading else child.end()

        return end


def _enter_namespace() -> None:
    try:
        mountpoint.enter_private_namespace()
    except OSError as error:
        text = f"cannot make a mount namespace for the build: {error.strerror}"
        raise StoreError(text, hint="be root") from error


def _become_reaper(scratch: Scratch) -> None:
    """Whoever starts a container makes this process its reaper for a moment: with several at once, for all the time."""
    if not linux.is_subreaper():
        linux.prctl(linux.PR_SET_CHILD_SUBREAPER, 1)
        scratch.callback(linux.prctl, linux.PR_SET_CHILD_SUBREAPER, 0)


def _may_fork() -> bool:
    """A fork copies the locks of threads that are at work; those called build-… only ever wait."""
    busy = [one for one in threading.enumerate() if not one.name.startswith("build-")]
    return busy == [threading.current_thread()] and "trio" not in sys.modules


def _overlayfs(lowers: Sequence[str], upper: str, work: str) -> int:
    """A new overlayfs, as a descriptor of its root; its directories are named by descriptors, whatever their paths."""
    with ExitStack() as opened:

        def name(path: str) -> str:
            fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            opened.callback(os.close, fd)
            return f"/proc/self/fd/{fd}"

        words: list[tuple[str, str | None]] = [("source", guard.SOURCE)]
        words.append(("lowerdir", ":".join(map(name, lowers))))
        if upper:
            words += [("upperdir", name(upper)), ("workdir", name(work)), ("volatile", None)]
        words += owners.overlay_words(changing=bool(upper))
        return mountapi.make("overlay", words, 0)


def _take_root(below: str, upper: str) -> None:
    """The upper directory is the root: it has to look like the one below."""
    found = os.stat(below)
    _set_root(upper, found.st_uid, found.st_gid, found.st_mode, found.st_mtime_ns)


def _take_root_of_tars(lowers: Sequence[str], upper: str) -> None:
    """The same, by the layers themselves: nothing of them is mounted."""
    layers = [open_tar_layer(path) for path in lowers if path.endswith(".tar")]
    if not layers:
        return _take_root(lowers[0], upper)
    with opened(layers) as tree:
        root = tree.union.getattr(ROOT_ID)
    _set_root(upper, root.uid, root.gid, root.mode, root.mtime * 10**9 + root.mtimensec)


def _set_root(upper: str, uid: int, gid: int, mode: int, mtime: int) -> None:
    os.chmod(upper, mode & 0o7777)
    owners.give(upper, uid, gid)
    os.utime(upper, ns=(mtime, mtime))


def _unmount(target: str) -> None:
    with suppress(OSError):  # it may be gone already
        mountpoint.unmount(target, lazy=True)


def _wait_until_free(upper: str) -> None:
    """A server holds its upper directory until it has ended: then all that was written is in it."""
    if not disk.wait_unlocked(upper, _END_WAIT):
        raise SetupError("the server of a build step's files does not end")
