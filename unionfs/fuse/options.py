"""What can be chosen about the kernel driver. Each technique that makes it fast has its switch here."""

from __future__ import annotations

from unionfs.namedtuple import NamedTuple


class ServerOptions(NamedTuple):
    """How a `Server` serves.

    `io`: "cached" (the kernel's page cache over READ and WRITE), "passthrough" (the kernel works on the top
    layer's files directly, where it can), or "auto".
    """

    readonly: bool = False  # mounted with MS_RDONLY; nothing can change
    io: str = "auto"
    acl: bool = True  # POSIX ACLs; the kernel then checks permissions itself
    timeout: float | None = None  # seconds that names and attributes stay cached; None: until told otherwise
    negative: bool = True  # names that do not exist are cached too
    zero_open: bool = True  # no OPEN, RELEASE, OPENDIR, RELEASEDIR, CREATE at all (never with passthrough)
    readdirplus: bool = True  # listings bring the attributes along
    writeback: bool | None = None  # the kernel collects writes; None: what is measured to be best
    readahead: int = 4 << 20  # bytes of following files that may be under way to the page cache; 0: none
    poll: int = 40  # µs to look for a next request before going to sleep; 0: none
    awake: bool | None = (
        None  # keep the processors from sleeping while there are many requests; None: see awake.py
    )
    threads: bool = True  # what may wait runs in worker threads
    without: int = 0  # INIT flags (opcodes.*) never to be asked for, to measure what they bring
    max_write: int = 1 << 20  # bytes in one WRITE, and in one READ
