"""A server as a child of a program that has one thread: the fastest way to a mount, as the child need not start.

The child imports what it serves with while its parent goes on. It ends with the socket to its parent, or with the
mount.
"""

from __future__ import annotations

import os
import signal
import socket

from unionfs.annotations import NoReturn


class Child:
    """A mount that is under way. INVARIANT: `wait` or `end` is called once at least."""

    def __init__(self, words: str, target: str) -> None:
        """`words` are those of one -o. Only while this process has one thread: the child is a fork of it."""
        self._target = target
        self._connection, theirs = socket.socketpair()
        self.pid = os.fork()
        if self.pid == 0:
            _serve(words, target, theirs.detach())
        theirs.close()

    def wait(self) -> None:
        """Returns when the mount answers. Raises SetupError: there is none, and no child."""
        from unionfs.daemon import wait_until_mounted

        try:
            with self._connection.makefile("r", errors="surrogateescape") as reports:
                wait_until_mounted(reports.readline, self._target)
        except BaseException:
            self.end()
            raise

    def end(self) -> None:
        """The mount goes, unless somebody has files open there; returns when the child has ended."""
        self._connection.close()
        os.waitpid(self.pid, 0)

    def kill(self) -> None:
        """The same at once, and without a wait: for a mount that nobody writes to, or that is gone."""
        self._connection.close()
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, os.WNOHANG)


def _serve(words: str, target: str, control: int) -> NoReturn:
    try:
        from unionfs import daemon, options, serve, stack

        parsed = options.parse([words])
        daemon.be_child(lambda: serve.Job(parsed, stack.resolve(parsed, target), ""), control)
    finally:
        os._exit(1)
