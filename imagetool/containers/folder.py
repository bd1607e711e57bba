"""All containers of a store: made, found, named, removed."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress

from imagetool import digest as digests
from imagetool.containers import limited, record, rootfs
from imagetool.containers import state as states
from imagetool.containers.record import Record
from imagetool.containers.state import State
from imagetool.errors import Conflict, ImageToolError, NotFound, UsageError
from imagetool.serving import remove_tree
from imagetool.store import disk
from imagetool.store.lock import is_locked, locked, take_lock, try_lock
from imagetool.store.store import Store
from unionfs.namedtuple import NamedTuple


class Container(NamedTuple):
    """One container as it is now. `watched`: its monitor is there."""

    directory: str
    record: Record
    state: State
    watched: bool

    @property
    def id(self) -> str:
        return self.record.id

    @property
    def name(self) -> str:
        return self.record.name


def directory_of(store: Store, container_id: str) -> str:
    return f"{store.layout.containers}/{container_id}"


def load(store: Store, container_id: str) -> Container | None:
    directory = directory_of(store, container_id)
    found = record.load(directory)
    if found is None:
        return None
    watched = is_locked(f"{directory}/running")
    state = states.seen(directory, watched=watched)
    if state.running:
        from imagetool.runtime.cgroups import Cgroup

        state = state._replace(paused=Cgroup(found.cgroup).is_frozen())
    return Container(directory, found, state, watched)


def listing(store: Store) -> list[Container]:
    """All of them, the newest first. What is left of half-removed ones is cleared away."""
    found = []
    for name in os.listdir(store.layout.containers):
        try:
            container = load(store, name)
        except ImageToolError:  # damaged: `rm ID` says so; a list shows the others
            continue
        if container is not None:
            found.append(container)
        else:
            _sweep(directory_of(store, name))
    return sorted(found, key=lambda one: -one.record.created)


def find(store: Store, text: str) -> Container:
    """By /name or name, ID, or the beginning of one. NotFound, UsageError where several begin so."""
    there = listing(store)
    for chosen in ([one for one in there if text in (one.name, f"/{one.name}", one.id)],
                   [one for one in there if text and one.id.startswith(text)]):  # fmt: skip
        if len(chosen) > 1:
            raise UsageError(f"several containers have IDs that begin with {text}", hint="write more of it")
        if chosen:
            return chosen[0]
    for name in os.listdir(store.layout.containers):
        if text and name.startswith(text):
            load(store, name)  # says what is wrong with it
    raise NotFound(f"No such container: {text}", hint="see: imagetool ps -a")


def create(store: Store, asked: Record) -> Record:
    """Publishes a container, whole or not at all; a name is made up where it has none. Conflict."""
    with store.lease() as lease, naming(store), disk.errors("cannot make the container"):
        lease.pin(digests.parse(asked.manifest))
        taken = {one.name: one.id for one in listing(store)}
        if asked.name in taken:
            text = f'Conflict. The container name "/{asked.name}" is already in use by container "{taken[asked.name]}"'
            raise Conflict(text, hint="remove or rename that one, or choose another name")
        made = asked if asked.name else asked._replace(name=_choose(taken))
        temporary = lease.temporary()
        for name in ("rootfs", "top") if made.layer_size else ("rootfs", "top/upper", "top/work"):
            os.makedirs(f"{temporary}/{name}")
        if made.layer_size:
            limited.make(temporary, made.layer_size)
        with open(f"{temporary}/roots", "w") as file:
            file.write(f"{made.manifest}\n")
        record.save(temporary, made)
        os.rename(temporary, directory_of(store, made.id))
    return made


def _choose(taken: Collection[str]) -> str:
    from imagetool.containers import names

    return names.choose(taken)


def rename(store: Store, container: Container, name: str) -> None:
    """NotFound, Conflict, UsageError; nothing is changed then."""
    from imagetool.containers import names

    names.check(name)
    with naming(store):
        for one in listing(store):
            if one.name == name:
                raise Conflict(
                    f'Conflict. The container name "/{name}" is already in use by container "{one.id}"'
                )
        record.save(container.directory, container.record._replace(name=name))


def change(store: Store, container: Container, edit: Callable[[Record], Record]) -> Record:
    """Another record in place of the container's; gives it. NotFound when it has gone meanwhile."""
    with naming(store):
        found = record.load(container.directory)
        if found is None:
            raise NotFound(f"No such container: {container.name}")
        changed = edit(found)
        record.save(container.directory, changed)
    return changed


@contextmanager
def holding(container: Container) -> Iterator[None]:
    """The container's lock: it neither runs nor starts meanwhile. Conflict while somebody has it; NotFound."""
    with disk.errors("cannot lock the container"):
        try:
            lock = take_lock(f"{container.directory}/running")
        except FileNotFoundError:
            raise NotFound(f"No such container: {container.name}", hint="it has just been removed") from None
    if lock is None:
        raise Conflict(f"container {container.id[:12]} is in use", hint="try again when it has stopped")
    try:
        with suppress(ImageToolError):  # a full disk keeps nobody from removing
            states.settle(container.directory)
        yield
    finally:
        os.close(lock)


def volume_users(store: Store) -> dict[str, list[str]]:
    """Name of a volume -> IDs of the containers that have it, running or not."""
    found: dict[str, list[str]] = {}
    for one in listing(store):
        for name in dict.fromkeys(m.source for m in one.record.options.mounts if m.kind == "volume"):
            found.setdefault(name, []).append(one.id)
    return found


def remove(store: Store, container: Container, *, volumes: bool) -> None:
    """Takes it away with its RW layer and, if so wanted, its unnamed volumes; it does not run. Conflict."""
    from imagetool.containers import remains

    with holding(container):
        remains.clear(store, container.record)
        delete(store, container.record, volumes=volumes)


def delete(store: Store, gone: Record, *, volumes: bool) -> None:
    """The same for its monitor, which has left nothing. A crash leaves what the next listing clears away."""
    directory = directory_of(store, gone.id)
    rootfs.unmount(f"{directory}/rootfs")
    disk.unlink(f"{directory}/{record.FILE}")
    limited.detach(directory)
    remove_tree(directory)
    if volumes and gone.volumes:
        _remove_volumes(store, gone.volumes)


def _remove_volumes(store: Store, names: tuple[str, ...]) -> None:
    """Those that no other container has, by --volumes-from."""
    from imagetool.containers import volumes

    with naming(store):
        used = volume_users(store)
        for name in names:
            if name not in used:
                volumes.remove(store, name)


def _sweep(directory: str) -> None:
    """A directory without a record was being removed; whoever does it still has the lock."""
    try:
        lock = try_lock(f"{directory}/running", create=False)
    except FileNotFoundError:
        lock = -1
    except OSError:
        return
    if lock is None:
        return
    with suppress(ImageToolError):  # the next one tries again
        rootfs.unmount(f"{directory}/rootfs")
        limited.detach(directory)
        remove_tree(directory)
    if lock >= 0:
        os.close(lock)


@contextmanager
def naming(store: Store) -> Iterator[None]:
    """No container comes to be meanwhile, nor gets another name or record."""
    with disk.errors("cannot lock the containers"), locked(store.layout.lock("containers")):
        yield
