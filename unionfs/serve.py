"""The life of the serving process: open the layers, mount, serve until the mount is gone, free everything.

Order matters. The layers are opened before the mount hides or covers them; signals wait from before the mount
until the server looks for them, so that none leaves a dead mount behind; trio is imported when it is needed.
"""

from __future__ import annotations

import gc
import os
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from importlib import import_module

from unionfs import journal, mountpoint
from unionfs.annotations import TYPE_CHECKING
from unionfs.early import SIGNALS, Early
from unionfs.errors import SetupError
from unionfs.fuse import awake
from unionfs.fuse.options import ServerOptions
from unionfs.model import MS_NODEV, MS_NOSUID, MS_RDONLY
from unionfs.mounting import Mounting
from unionfs.namedtuple import NamedTuple
from unionfs.options import MountOptions
from unionfs.stack import Places, Stack, open_stack, policy

if TYPE_CHECKING:
    import socket

    from unionfs.fuse.server import Server
    from unionfs.model import Policy

_WANTED_FILES = 1 << 20  # descriptors: one for every open directory and copied-up file of a busy mount
_COLLECT = 100_000  # objects between two looks for garbage: nodes stay, and hardly anything is in circles


class Job(NamedTuple):
    """One mount to be made and served. `reports` is where its maker reads "mounted" or "error: …"."""

    options: MountOptions
    places: Places
    source: str
    reports: int = -1  # descriptor; -1: nobody reads
    lifeline: socket.socket | None = None  # asks over it; its end ends the mount


def serve(job: Job) -> None:
    """Mounts and serves; returns when the mount is gone. Raises SetupError when there is to be none."""
    gc.disable()  # imports make nothing but what stays
    _load()
    os.umask(0)
    _raise_file_limit()
    chosen = policy(job.options)
    with closing(open_stack(job.places, chosen)) as stack, _signals_blocked():
        if chosen.covered:
            _serve_below_overlay(job, stack, chosen)
        else:
            _serve_mount(job, stack)


def _load() -> None:
    """What else imports late, for commands: Python may lie below the mount, and who serves would wait for himself."""
    import_module("unionfs.libc")
    journal.logger()


def _serve_mount(job: Job, stack: Stack) -> None:
    asked = request(job)
    fd = mountpoint.mount(asked)
    device = _device_of(asked.target)
    try:
        report(job.reports, "mounted")
        _run(job, stack, Mounting(fd, device))
    finally:
        os.close(fd)  # first: from now on nobody can wait for a reply, and so neither can the unmount
        mountpoint.unmount_if_ours(asked.target, device)


def _serve_below_overlay(job: Job, stack: Stack, chosen: Policy) -> None:
    """Nothing is mounted before the loop serves, since overlayfs asks for the root of our tree."""
    from unionfs import overlaytop

    asked, places = request(job), job.places
    metacopy = chosen.metacopy_from != sys.maxsize
    top = overlaytop.Top(places.upper, places.work, chosen.userxattr, chosen.volatile, metacopy)
    below = overlaytop.prepare(asked)

    def put_on_top() -> int:
        device = overlaytop.put_on(asked, top, below)
        report(job.reports, "mounted")
        return device

    mounting = Mounting(below.fd, below.device, put_on_top)
    try:
        _run(job, stack, mounting)
    finally:
        os.close(below.fd)
        with suppress(SetupError, OSError):  # raised by now
            mounting.wait()
        if mounting.device != below.device:
            mountpoint.unmount_if_ours(asked.target, mounting.device)


def request(job: Job) -> mountpoint.Request:
    """The mount to ask the kernel for, with the defaults of this process's privileges."""
    options, is_root = job.options, os.geteuid() == 0
    defaults = MS_NODEV if is_root else MS_NODEV | MS_NOSUID
    flags = (defaults | options.flags) & ~options.cleared
    return mountpoint.Request(
        target=job.places.target,
        source=options.fsname or job.source or "unionfs",
        subtype=options.subtype,
        flags=flags if job.places.upper else flags | MS_RDONLY,
        allow_other=is_root if options.allow_other is None else options.allow_other,
        default_permissions=options.default_permissions is not False,
        max_read=options.max_read,
        contexts=options.contexts,
        private=options.private,
    )


def report(descriptor: int, text: str) -> None:
    """Tells the maker of a mount one thing, in one line."""
    if descriptor >= 0:
        with suppress(OSError):  # it need not be there any more
            os.write(descriptor, text.replace("\n", " ").encode(errors="surrogateescape") + b"\n")


def _raise_file_limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _most_files() if hard == resource.RLIM_INFINITY else max(hard, min(_WANTED_FILES, _most_files()))
    for limit in (wanted, hard):
        with suppress(OSError, ValueError):  # the hard limit can only be raised with CAP_SYS_RESOURCE
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
            return


def _most_files() -> int:
    with open("/proc/sys/fs/nr_open", "rb") as limit:
        return int(limit.read())


@contextmanager
def _signals_blocked() -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _device_of(target: str) -> int:
    mounted = mountpoint.find(target)
    return mounted.device if mounted else -1


def _run(job: Job, stack: Stack, mounting: Mounting) -> None:
    with closing(mounting):
        _run_server(job, stack, mounting)


def _run_server(job: Job, stack: Stack, mounting: Mounting) -> None:
    server = _driver(job.options.driver)(
        mounting.fd, stack.tree, stack.files, server_options(job), journal.error
    )
    server.guard = mounting.guard
    gc.freeze()
    gc.set_threshold(_COLLECT)
    gc.enable()
    if job.options.driver == "kernel":
        early = Early(mounting, job.lifeline)
        try:
            served = server.begin(early)
        finally:
            early.end()
        if not served:
            mounting.wait()
            return
    import trio

    from unionfs.loop import main

    gc.freeze()  # what has been imported stays, and need not be looked at again
    trio.run(main, job, stack, server, mounting)


def _driver(name: str) -> type[Server]:
    """The driver's server class. Each is only imported where it is used."""
    module = {"kernel": "unionfs.fuse.server", "pyfuse3": "unionfs.fuse.pyfuse"}[name]
    try:
        found: type[Server] = import_module(module).Server
    except ImportError as e:
        raise SetupError(f"the driver {name} cannot be used: {e}", hint="try driver=kernel") from e
    return found


def _readahead(options: MountOptions, readonly: bool) -> int:
    """By default, only where a READ waits for a processor to wake up, and the mount needs no OPEN.

    Elsewhere a file is asked for sooner than it is pushed: the thread takes more of the interpreter's time than
    READ does, and where there is an OPEN anyway only one of two requests is saved.
    """
    if options.readahead is not None:
        return options.readahead
    return ServerOptions().readahead if readonly and awake.wakes_slowly(options.awake) else 0


def server_options(job: Job) -> ServerOptions:
    """The options of a mount that are the server's, with its own defaults for those not given."""
    options: MountOptions = job.options
    defaults = ServerOptions()
    readonly = bool(request(job).flags & MS_RDONLY) or options.top == "overlay"
    return ServerOptions(
        readonly=readonly,
        io=options.io,
        acl=options.acls and options.xattrs,
        timeout=options.timeout,
        writeback=options.writeback,
        poll=defaults.poll if options.poll is None else options.poll,
        readahead=_readahead(options, readonly),
        zero_open=options.zero_open,
        negative=options.negative,
        readdirplus=options.readdirplus,
        awake=options.awake,
        threads=options.threads,
    )
