"""The mounts of a RUN (`--mount`): binds, caches, tmpfs, secrets and agents as mounts of its container.

Secrets are kept in memory, in a mount that nobody but the build sees. A cache is a directory below ROOT/build/caches
whose name is a hash of its id, so that no id leads anywhere else.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import stat
from collections.abc import Callable, Mapping
from contextlib import ExitStack

from imagetool.build import agent, owners
from imagetool.build.runmount import RunMount
from imagetool.build.scratch import Scratch
from imagetool.build.secrets import Secret
from imagetool.build.workspace import Workspace
from imagetool.errors import NotFound, UsageError
from imagetool.runtime.inroot import open_in_root
from imagetool.runtime.options import Mount
from imagetool.store import disk
from imagetool.store.lock import locked, try_lock
from imagetool.store.store import Store
from unionfs.namedtuple import NamedTuple


class Prepared(NamedTuple):
    """`stubs`: (path, whether it is a directory) of each mount's place; `env`: variables that secrets are in."""

    mounts: tuple[Mount, ...] = ()
    stubs: tuple[tuple[str, bool], ...] = ()
    env: Mapping[str, str] = {}


class Mounts:
    """Prepares the mounts of a build's RUN steps."""

    def __init__(
        self,
        store: Store,
        workspace: Workspace,
        scratch: Scratch,
        secrets: Mapping[str, Secret],
        ssh: Mapping[str, str],
    ) -> None:
        self._caches = f"{store.layout.build}/caches"
        self._workspace, self._scratch, self._secrets, self._ssh = workspace, scratch, secrets, ssh

    def prepare(
        self,
        wanted: list[RunMount],
        workdir: str,
        root_of: Callable[[RunMount], str],
        fill: Callable[[RunMount, str], None],
        undo: ExitStack,
    ) -> Prepared:
        """What is to be mounted; `undo` gives it back. `root_of` is the directory that a bind's source is in;
        `fill` puts a new cache's first content into a directory. NotFound, UsageError."""
        mounts: list[Mount] = []
        env: dict[str, str] = {}
        for number, one in enumerate(wanted):
            target = _target(one, number, workdir)
            match one.kind:
                case "bind":
                    mounts.append(self._bind(one, target, root_of(one), undo))
                case "cache":
                    source = self._cache(one, fill, undo)
                    mounts.append(Mount("bind", source, target, one.readonly))
                case "tmpfs":
                    size = (f"size={one.size}",) if one.size else ()
                    mounts.append(Mount("tmpfs", "tmpfs", target, False, ("exec", *size)))
                case "secret":
                    self._secret(one, target, mounts, env)
                case "ssh":
                    self._agent(one, target, mounts, env, undo)
        return Prepared(
            tuple(mounts), tuple((m.target, m.kind != "bind" or os.path.isdir(m.source)) for m in mounts), env
        )

    def script(self, text: str, target: str) -> Mount:
        """A file that is executed at `target`, which is in a directory that no image has."""
        return Mount("bind", self._in_memory(RunMount("secret", mode=0o755), text.encode()), target, True)

    def _bind(self, one: RunMount, target: str, root: str, undo: ExitStack) -> Mount:
        source = beneath(root, one.source)
        if one.readonly:
            return Mount("bind", source, target, True, ("private", "nonrecursive"))
        if not os.path.isdir(source):
            raise UsageError(f"{one.source} is no directory: only directories can be mounted with rw")
        return Mount("bind", undo.enter_context(self._workspace.discarding(source)), target)

    def _cache(self, one: RunMount, fill: Callable[[RunMount, str], None], undo: ExitStack) -> str:
        name = hashlib.sha256(one.id.encode("utf-8", "surrogateescape")).hexdigest()[:32]
        with disk.errors("cannot use the cache of a RUN"):
            os.makedirs(self._caches, mode=0o700, exist_ok=True)
            path = f"{self._caches}/{name}"
            if one.sharing == "private":
                path = _first_free(path, undo)
            else:
                undo.enter_context(locked(f"{path}.lock", shared=one.sharing == "shared"))
            with locked(f"{path}.making"):
                if not os.path.isdir(path):
                    fresh = self._scratch.directory()
                    fill(one, fresh)
                    owners.give_here(fresh, one.uid, one.gid)
                    os.chmod(fresh, one.mode)
                    os.rename(fresh, path)
        return path

    def _secret(self, one: RunMount, target: str, mounts: list[Mount], env: dict[str, str]) -> None:
        known = self._secrets.get(one.id)
        if known is None:
            if one.required:
                raise NotFound(
                    f"secret {one.id} is required and not given", hint=f"--secret id={one.id},src=FILE"
                )
            return
        data = known.read(one.id)
        if one.env:
            env[one.env] = data.decode("utf-8", "surrogateescape")
        if one.target or not one.env:
            mounts.append(Mount("bind", self._in_memory(one, data), target, True))

    def _agent(
        self, one: RunMount, target: str, mounts: list[Mount], env: dict[str, str], undo: ExitStack
    ) -> None:
        path = self._ssh.get(one.id)
        if path is None:
            if one.required:
                raise NotFound(f"ssh agent {one.id} is required and not given", hint=f"--ssh {one.id}")
            return
        place = self._in_memory(one, None)
        undo.callback(agent.serve(place, path, one).close)
        mounts.append(Mount("bind", place, target))
        env.setdefault("SSH_AUTH_SOCK", target)

    def _in_memory(self, one: RunMount, data: bytes | None) -> str:
        """A file of the build's own tmpfs; None: a name for one that is not there yet."""
        path = f"{self._workspace.memory}/{os.urandom(8).hex()}"
        if data is not None:
            with open(disk.create(path), "wb") as file:
                file.write(data)
            owners.give_here(path, one.uid, one.gid)
            os.chmod(path, one.mode)
        return path


def beneath(root: str, path: str) -> str:
    """Where `path` is below the directory `root`, links resolved as if that were "/". NotFound."""
    top = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fd = open_in_root(top, path)
        try:
            found = os.readlink(f"/proc/self/fd/{fd}")
            if stat.S_ISDIR(os.fstat(fd).st_mode) or stat.S_ISREG(os.fstat(fd).st_mode):
                return found
        finally:
            os.close(fd)
    except OSError as error:
        raise NotFound(f"{path}: {error.strerror}") from error
    finally:
        os.close(top)
    raise UsageError(f"{path} is neither a directory nor a file")


def _target(one: RunMount, number: int, workdir: str) -> str:
    default = {"secret": f"/run/secrets/{one.id}", "ssh": f"/run/buildkit/ssh_agent.{number}"}.get(
        one.kind, ""
    )
    target = posixpath.normpath(posixpath.join(workdir, one.target or default)).replace("//", "/")
    if target == "/":
        raise UsageError(f"invalid mount target {one.target!r}: it is the root")
    return target


def _first_free(path: str, undo: ExitStack) -> str:
    """A cache of one's own: the first of several that nobody uses."""
    number = 0
    while (fd := try_lock(f"{path}-{number}.lock")) is None:
        number += 1
    undo.callback(os.close, fd)
    return f"{path}-{number}"
