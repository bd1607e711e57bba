"""The Python API: mounts as context managers, in plain and in trio programs.

The server is a process of its own, the command line's. In this process it would share the interpreter lock
with its own users, and a thread that holds the lock and touches the mount (an import, a memory-mapped file)
would wait for itself for ever. It lives as long as the socket between the two processes is open, so that no
mount outlives the program that made it, however that ends.
"""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from errno import EBUSY

from unionfs import control, interpreter, mountpoint
from unionfs.daemon import wait_until_mounted
from unionfs.errors import SetupError
from unionfs.options import escape, is_known

PathLike = str | bytes | os.PathLike[str] | os.PathLike[bytes]
Option = str | int | float | bool | None

_END_WAIT = 10.0  # seconds for a server to end after its mount is gone; longer only if files are still open


def mount(
    lowers: Iterable[PathLike],
    *,
    upper: PathLike | None = None,
    work: PathLike | None = None,
    target: PathLike | None = None,
    **options: Option,
) -> Mount:
    """Mounts `lowers` (directories and .tar files, topmost first) and returns when the mount answers.

    `upper` and `work` take the changes; without them the mount is read-only. `target` is an existing
    directory; None makes a temporary one. `options` are those of the command line: `volatile=True`,
    `timeout=1.5`, `noacl=True`; False and None leave an option out.

    Raises SetupError, and leaves nothing behind, when there can be no such mount.
    """
    return Mount(_words(lowers, upper, work, options), target)


@asynccontextmanager
async def mount_async(
    lowers: Iterable[PathLike],
    *,
    upper: PathLike | None = None,
    work: PathLike | None = None,
    target: PathLike | None = None,
    **options: Option,
) -> AsyncIterator[AsyncMount]:
    """`mount` for trio programs: `async with unionfs.mount_async(…) as m`. Nothing of it blocks the loop."""
    import trio

    words = _words(lowers, upper, work, options)
    mounted = await trio.to_thread.run_sync(Mount, words, target)
    try:
        yield AsyncMount(mounted)
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(mounted.close)


class Mount:
    """A mount of this process. A context manager; `close` ends it, and so does the end of the program."""

    def __init__(self, words: str, target: PathLike | None) -> None:
        temporary = tempfile.mkdtemp(prefix="unionfs-") if target is None else ""
        self.path: str = temporary or os.path.realpath(os.fsdecode(target or ""))
        """The mount point."""
        self._lock = threading.Lock()
        try:
            self._connection, self._server = _spawn(words, self.path)
        except BaseException:
            _remove(temporary)
            raise
        try:
            wait_until_mounted(_lines(self._connection), self.path)
            mounted = mountpoint.find(self.path)
            if mounted is None:
                raise SetupError(f"the mount on {self.path} is gone already")
        except BaseException:
            _abandon(self._connection, self._server, temporary)
            raise
        self._end = weakref.finalize(
            self, _close, os.getpid(), self._connection, self._server, mounted, temporary
        )

    @property
    def pid(self) -> int:
        """The process id of the server."""
        return self._server.pid

    def stats(self) -> dict[str, int]:
        """Counters of the server: requests by kind, what its techniques saved, sizes of its caches."""
        return self._ask("stats")

    def refresh(self) -> int:
        """Shows what was changed in the layers behind the mount; gives how much the kernel had cached."""
        return self._ask("refresh")["dropped"]

    def close(self) -> None:
        """Unmounts. Whoever has files open in the mount keeps them, and the server, until he is done."""
        self._end()

    def __enter__(self) -> Mount:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _ask(self, command: str) -> dict[str, int]:
        with self._lock:
            try:
                return control.ask_on(self._connection, command)
            except OSError as e:
                raise SetupError(f"the server of {self.path} does not answer: {e.strerror}") from e


class AsyncMount:
    """A Mount whose methods do not block a trio loop."""

    def __init__(self, mounted: Mount) -> None:
        self._mounted = mounted
        self.path = mounted.path
        self.pid = mounted.pid

    async def stats(self) -> dict[str, int]:
        """See Mount.stats."""
        import trio

        return await trio.to_thread.run_sync(self._mounted.stats)

    async def refresh(self) -> int:
        """See Mount.refresh."""
        import trio

        return await trio.to_thread.run_sync(self._mounted.refresh)


def _words(
    lowers: Iterable[PathLike], upper: PathLike | None, work: PathLike | None, options: dict[str, Option]
) -> str:
    """The arguments of `mount` as the words of one -o."""
    layers = [escape(os.fsdecode(path)) for path in lowers]
    if not layers:
        raise SetupError("there is nothing to mount", hint="give at least one layer")
    words = ["lowerdir=" + ":".join(layers)]
    if upper is not None:
        words.append("upperdir=" + escape(os.fsdecode(upper)))
    if work is not None:
        words.append("workdir=" + escape(os.fsdecode(work)))
    for name, value in options.items():
        if value is None or value is False:
            continue
        word = name if value is True else f"{name}={escape(str(value))}"
        if not is_known(word):
            raise SetupError(f"unknown mount option {word!r}", hint="see: unionfs --help")
        words.append(word)
    return ",".join(words)


def _spawn(words: str, target: str) -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """A server process, and the socket to it."""
    ours, theirs = socket.socketpair()
    with theirs:
        try:
            server = subprocess.Popen(
                interpreter.command("unionfs", "--control", str(theirs.fileno()), "-o", words, "--", target),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,  # a Ctrl-C is for the program, which then unmounts
                env=interpreter.environment(),
            )
        except BaseException:
            ours.close()
            raise
    return ours, server


def _lines(connection: socket.socket) -> Callable[[], str]:
    """A reader of the server's reports. It takes nothing beyond a line: what follows are answers."""

    def next_line() -> str:
        line = b""
        with suppress(OSError):
            while not line.endswith(b"\n") and (part := connection.recv(1)):
                line += part
        return line.decode(errors="surrogateescape")

    return next_line


def _close(
    maker: int,
    connection: socket.socket,
    server: subprocess.Popen[bytes],
    mounted: mountpoint.Mounted,
    temporary: str,
) -> None:
    if os.getpid() != maker:  # a fork of the program that ends: the mount is not its own
        return
    busy = False
    if mountpoint.find(mounted.target) == mounted:
        try:
            mountpoint.unmount(mounted.target)
        except OSError as e:
            busy = e.errno == EBUSY
            mountpoint.unmount_if_ours(mounted.target, mounted.device)
    connection.close()
    if not busy:
        with suppress(subprocess.TimeoutExpired):
            server.wait(_END_WAIT)
    _remove(temporary)


def _abandon(connection: socket.socket, server: subprocess.Popen[bytes], temporary: str) -> None:
    connection.close()
    server.terminate()
    try:
        server.wait(_END_WAIT)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
    _remove(temporary)


def _remove(temporary: str) -> None:
    if temporary:
        with suppress(OSError):
            os.rmdir(temporary)
