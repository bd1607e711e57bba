"""The INIT handshake: what the kernel offers and the options ask for, and what both will do. PURE."""

from __future__ import annotations

from unionfs.errors import SetupError
from unionfs.fuse import opcodes as op
from unionfs.fuse.abi import MAX_OVERHEAD, InitIn, InitOut
from unionfs.fuse.options import ServerOptions
from unionfs.namedtuple import NamedTuple

MINOR = 45
"""The latest minor protocol whose structures `abi` knows."""

OLDEST_MINOR = 31
"""Linux 5.4: the first with everything that is not asked of the kernel by a flag."""

STACK_DEPTH = 1
"""The files behind passthrough are on a plain file system; kernel overlayfs can still be put above us."""

_ALWAYS = (
    op.ASYNC_READ
    | op.BIG_WRITES
    | op.ASYNC_DIO
    | op.PARALLEL_DIROPS
    | op.CACHE_SYMLINKS
    | op.MAX_PAGES
    | op.HANDLE_KILLPRIV_V2
    | op.SETXATTR_EXT
    | op.INIT_EXT
    | op.DONT_MASK  # the core applies the umask, or the default ACL of the directory
)


class Session(NamedTuple):
    """What this mount does, after INIT."""

    minor: int
    flags: int  # INIT flags in effect
    max_write: int  # bytes
    page: int

    @property
    def passthrough(self) -> bool:
        return bool(self.flags & op.PASSTHROUGH)

    @property
    def zero_open(self) -> bool:
        return bool(self.flags & op.NO_OPEN_SUPPORT)

    @property
    def zero_opendir(self) -> bool:
        return bool(self.flags & op.NO_OPENDIR_SUPPORT)

    @property
    def setxattr_ext(self) -> bool:
        return bool(self.flags & op.SETXATTR_EXT)


def negotiate(asked: InitIn, options: ServerOptions, *, may_back: bool, page: int) -> tuple[Session, InitOut]:
    """`may_back`: whether the server may hand the kernel backing files; `page`: bytes of a memory page.

    Raises SetupError when the kernel is too old. No flag is answered that the kernel did not offer.
    """
    if (asked.major, asked.minor) < (7, OLDEST_MINOR):
        raise SetupError(
            f"the kernel speaks FUSE {asked.major}.{asked.minor}; at least 7.{OLDEST_MINOR} is needed",
            hint="use Linux 5.4 or later, or driver=pyfuse3",
        )
    flags = wanted(options, asked.flags, may_back=may_back) & asked.flags
    pages = options.max_write // page if flags & op.MAX_PAGES else 32
    session = Session(min(asked.minor, MINOR), flags, pages * page, page)
    return session, InitOut(
        minor=session.minor,
        max_readahead=asked.max_readahead,
        flags=flags,
        max_background=64,
        congestion_threshold=48,
        max_write=session.max_write,
        max_pages=pages,
        max_stack_depth=STACK_DEPTH if session.passthrough else 0,
    )


def wanted(options: ServerOptions, offered: int, *, may_back: bool) -> int:
    """The INIT flags that these options ask for."""
    flags = _ALWAYS
    if options.timeout is None:
        flags |= (
            op.EXPLICIT_INVAL_DATA
        )  # data change behind the kernel only through refresh(), which tells it
    else:
        flags |= op.AUTO_INVAL_DATA  # they have changed where attributes say so
    if options.readdirplus:
        flags |= op.DO_READDIRPLUS
    if options.zero_open and options.timeout is None:
        flags |= op.NO_OPENDIR_SUPPORT
    if options.acl:
        flags |= op.POSIX_ACL
    if passthrough(options, offered, may_back=may_back):
        flags |= op.PASSTHROUGH
    elif options.writeback and not options.readonly:
        flags |= op.WRITEBACK_CACHE
    if options.zero_open and not flags & op.PASSTHROUGH and offered & op.NO_OPEN_SUPPORT:
        flags |= op.NO_OPEN_SUPPORT
    else:
        flags |= op.ATOMIC_O_TRUNC  # without OPEN, the kernel would take a truncation for done
    return flags & ~options.without


def passthrough(options: ServerOptions, offered: int, *, may_back: bool) -> bool:
    if options.io == "cached" or not offered & op.PASSTHROUGH:
        return False
    return options.io == "passthrough" or (may_back and not options.readonly)


def buffer_size(options: ServerOptions) -> int:
    """Bytes of the buffer that requests are read into, known before INIT is."""
    return max(options.max_write, 32 * 4096) + MAX_OVERHEAD
