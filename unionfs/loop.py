"""What runs on the trio loop of a serving process: the FUSE server, signals, and questions from outside."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress

import trio

from unionfs import control, journal, mountapi, mountpoint
from unionfs.annotations import TYPE_CHECKING
from unionfs.early import SIGNALS
from unionfs.fuse import abi
from unionfs.model import is_dir
from unionfs.mounting import Mounting
from unionfs.serve import Job
from unionfs.stack import Stack

if TYPE_CHECKING:
    from unionfs.fuse.server import Server

_LINE_LIMIT = 64  # bytes; questions are single words


async def main(job: Job, stack: Stack, server: Server, mounting: Mounting) -> None:
    """Serves until the kernel says that the mount is gone."""
    service = Service(server, stack, job.places.target, mounting)
    failure: Exception | None = None
    tried = trio.Event()  # the mount is there, or cannot be
    async with trio.open_nursery() as nursery:

        async def keep() -> None:
            nonlocal failure
            try:
                # In a thread, for it asks the server. If that ends the thread is freed by the end of the connection.
                await trio.to_thread.run_sync(mounting.wait, abandon_on_cancel=True)
            except Exception as e:
                failure = e
                nursery.cancel_scope.cancel()
                return
            finally:
                tried.set()
            nursery.start_soon(service.watch_signals)
            nursery.start_soon(_harmlessly, service.listen)
            if job.lifeline is not None:
                nursery.start_soon(_harmlessly, service.follow, job.lifeline)

        nursery.start_soon(keep)
        try:
            await server.serve()
            await tried.wait()  # a tree that overlayfs lets go of at once has a reason, which is on its way
        except Exception as e:  # to be raised as it is, not in a group
            failure = e
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


async def _harmlessly(task: Callable[..., Awaitable[None]], *args: object) -> None:
    """Runs what the mount can do without."""
    try:
        await task(*args)
    except Exception:
        journal.logger().exception("questions are not answered any more")


def _drop_cached(fd: int, known: list[tuple[int, bytes]]) -> int:
    """Has the kernel forget names, and inodes where the name is empty; gives how many it had."""
    dropped = 0
    for inode, name in known:
        message = abi.inval_entry(inode, name) if name else abi.inval_inode(inode)
        with suppress(OSError):  # it had forgotten by itself
            os.write(fd, message)
            dropped += 1
    return dropped


class Service:
    """A mount as its keeper sees it: it can be asked, told to look again, and told to go."""

    def __init__(self, server: Server, stack: Stack, target: str, mounting: Mounting) -> None:
        self.server = server
        self._stack, self._target, self._mounting = stack, target, mounting
        self._detached = False

    async def watch_signals(self) -> None:
        """SIGUSR1 logs the counters; SIGTERM, SIGINT and SIGHUP detach the mount, and a second one ends at once."""
        with trio.open_signal_receiver(*SIGNALS) as signals:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            async for number in signals:
                if number == signal.SIGUSR1:
                    journal.logger().info("counters: %s", json.dumps(self.stats()))
                elif self._detached:
                    self.server.stop()
                else:
                    await self.detach()

    async def detach(self) -> None:
        """Takes the mount off its directory; whoever still uses it is served until he is done."""
        self._detached = True
        await trio.to_thread.run_sync(mountpoint.unmount_if_ours, self._target, self._mounting.device)

    def stats(self) -> dict[str, int]:
        return self.server.stats() | self._stack.files.sizes()

    async def refresh(self) -> dict[str, int]:
        """Looks at the layers afresh, and has the kernel forget what it has cached of them."""
        self._mounting.guard.stands()
        await self.server.settle()
        self._stack.files.close()
        known = self._stack.tree.refresh()
        for inode in [inode for inode, name in known if not name]:
            known += self._names_in(inode)  # some of them may be cached as missing
            await trio.lowlevel.checkpoint()
        # In a thread: the kernel waits for our reply to others before it lets go of what they are using.
        dropped = await trio.to_thread.run_sync(_drop_cached, self._mounting.fd, known)
        if self._mounting.overlay:
            await trio.to_thread.run_sync(mountapi.reconfigure, self._target)
        return {"dropped": dropped}

    def _names_in(self, inode: int) -> list[tuple[int, bytes]]:
        tree = self._stack.tree
        try:
            if not is_dir(tree.getattr(inode).mode):
                return []
            return [(inode, row.name) for row in tree.readdir(inode, 0) if row.name not in (b".", b"..")]
        except OSError:  # the directory is gone by now
            return []

    async def listen(self) -> None:
        """Answers on the mount's socket, for `unionfs refresh`."""
        listener = self._mounting.listen()
        if listener is None:
            journal.logger().debug("no control socket: there is no safe directory for it")
            return
        accepting = trio.socket.from_stdlib_socket(listener)
        async with trio.open_nursery() as nursery:
            while True:
                connection, _ = await accepting.accept()
                nursery.start_soon(self._serve_guest, connection)

    async def follow(self, lifeline: socket.socket) -> None:
        """Answers whoever made this mount; when that process ends, so does the mount."""
        await self._answer(trio.SocketStream(trio.socket.from_stdlib_socket(lifeline)))
        await self.detach()

    async def _serve_guest(self, connection: trio.socket.SocketType) -> None:
        with connection:
            if control.peer_is_allowed(connection.getsockopt):
                await self._answer(trio.SocketStream(connection))

    async def _answer(self, stream: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError):
            line = b""
            while len(line) < _LINE_LIMIT and (part := await stream.receive_some(_LINE_LIMIT)):
                line += part
                while b"\n" in line:
                    command, _, line = line.partition(b"\n")
                    await stream.send_all(json.dumps(await self._obey(command)).encode() + b"\n")

    async def _obey(self, command: bytes) -> dict[str, object]:
        try:
            match command:
                case b"stats":
                    return dict(self.stats())
                case b"refresh":
                    return dict(await self.refresh())
            return {"error": f"unknown command {command!r}"}
        except Exception as e:  # a question must not end the mount
            journal.logger().exception("%s failed", command.decode(errors="replace"))
            return {"error": f"{type(e).__name__}: {e}"}
