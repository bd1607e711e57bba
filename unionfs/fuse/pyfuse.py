"""The portable driver: serves a union through libfuse, by pyfuse3.

The concurrency contract:

- Everything that touches the tree and the files runs on the loop. pyfuse3 runs each request as a task, so a
  handler is atomic towards all others from one await to the next; most have none.
- Handlers wait in `Work` only: for a thread (the bytes of a copy-up, fsync, reads that are not in the page
  cache), and for a copy-up of their inode that is under way. Threads have descriptors of their own.
- While an inode is copied up, requests that change it, or take a name from it, wait. Those that only look at it
  are served as it was before. After a wait nothing is carried over but the inode's number.
- A request that has been taken is answered, even when the loop is told to stop: its waiting is shielded.

One process serves one mount: pyfuse3 keeps its session in a global variable.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Awaitable, Callable
from inspect import iscoroutinefunction

import pyfuse3

from unionfs.annotations import TYPE_CHECKING, Any
from unionfs.errors import SetupError
from unionfs.fuse.options import ServerOptions
from unionfs.fuse.pyfuse_handlers import Handlers

if TYPE_CHECKING:
    from unionfs.files import Files
    from unionfs.tree import UnionTree

Log = Callable[[str], None]
Handler = Callable[..., Awaitable[Any]]

DEFAULTS = ServerOptions()


class Server:
    """Serves `tree` and `files` on `fd`, an open /dev/fuse that is mounted.

    The descriptor stays the caller's. `log` gets one line for each request that failed unexpectedly, and what
    pyfuse3 complains of. Of the options, those that the kernel driver alone can follow are passed over.
    """

    def __init__(
        self,
        fd: int,
        tree: UnionTree,
        files: Files,
        options: ServerOptions = DEFAULTS,
        log: Log | None = None,
    ) -> None:
        self._fd = fd
        self._log = log or logging.getLogger("unionfs").error
        self.guard: object = None  # pyfuse3 sends no notification that waits
        self._counts: dict[str, int] = {}
        self._handlers = contain(Handlers(tree, files, options), self._counts, self._log)
        self._serving = self._stopped = False

    async def serve(self) -> None:
        """Serves until the mount is gone. Raises SetupError when libfuse does not take the descriptor."""
        own = os.dup(self._fd)  # the session closes it
        complaints = _Complaints(self._log)
        logging.getLogger("pyfuse3").addHandler(complaints)
        try:
            self._begin(own)
            await self._loop()
        finally:
            logging.getLogger("pyfuse3").removeHandler(complaints)
            if self._serving:
                self._serving = False
                pyfuse3.close(unmount=False)
            else:
                os.close(own)

    def stop(self) -> None:
        """Ends `serve` without unmounting, once the work that is under way is done."""
        self._stopped = True
        if self._serving:
            pyfuse3.terminate()

    async def settle(self) -> None:
        """Nothing is on its way into the page cache: this driver stores nothing ahead."""

    def stats(self) -> dict[str, int]:
        """Requests served by name."""
        return dict(self._counts)

    def _begin(self, fd: int) -> None:
        # A request can be withdrawn between poll and read: a read that waits would stop the whole loop.
        os.set_blocking(fd, False)
        try:
            pyfuse3.init(self._handlers, f"/dev/fd/{fd}", set())
        except RuntimeError as e:
            raise SetupError(f"libfuse does not serve the mount: {e}", hint="try driver=kernel") from e
        self._serving = True

    async def _loop(self) -> None:
        again = not self._stopped
        while again:
            again = False
            try:
                await pyfuse3.main()
            except* BlockingIOError:  # nothing to read after all; pyfuse3 takes that for the end
                again = not self._stopped


def contain(handlers: Handlers, counts: dict[str, int], log: Log) -> Handlers:
    """Wraps every handler, since pyfuse3 ends the mount at whatever is not a FUSEError."""
    for name, method in vars(pyfuse3.Operations).items():
        if iscoroutinefunction(method):
            setattr(handlers, name, _contained(name, getattr(handlers, name), counts, log))
    return handlers


def _contained(name: str, method: Handler, counts: dict[str, int], log: Log) -> Handler:
    request = "readdirplus" if name == "readdir" else name  # all that pyfuse3 asks the kernel for

    async def handler(*args: Any) -> Any:
        counts[request] = counts.get(request, 0) + 1
        try:
            return await method(*args)
        except pyfuse3.FUSEError:
            raise
        except Exception as error:
            number = _errno(error, lambda text: log(f"{name} of {_subject(args)}: {text}"))
        if name != "forget":  # to which there is no answer
            raise pyfuse3.FUSEError(number)

    return handler


def _errno(error: Exception, log: Log) -> int:
    """What to answer; what is no OSError is EIO and a line in the log."""
    if isinstance(error, OSError) and error.errno:
        return error.errno
    log(str(error) if isinstance(error, SetupError) else repr(error))
    return errno.EIO


def _subject(args: tuple[Any, ...]) -> str:
    return f"node {args[0]:#x}" if args and isinstance(args[0], int) else "the file system"


class _Complaints(logging.Handler):
    """What pyfuse3 logs, as lines of the mount's log."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        self._log(f"pyfuse3: {record.getMessage()}")
