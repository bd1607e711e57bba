"""PURE: capability names and masks (include/uapi/linux/capability.h) and the set that a container gets."""

from __future__ import annotations

from collections.abc import Iterable

from imagetool.errors import UsageError


def _prefixed(words: str) -> tuple[str, ...]:
    return tuple("CAP_" + word for word in words.split())


NAMES = _prefixed(
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE "
    "NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT "
    "SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE "
    "AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ "
    "PERFMON BPF CHECKPOINT_RESTORE"
)
"""Index = number."""

_NUMBERS = {name: number for number, name in enumerate(NAMES)}

DEFAULT = _prefixed(
    "CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE "
    "SYS_CHROOT KILL AUDIT_WRITE"
)
"""What Docker gives to a container (docs: "Runtime privilege and Linux capabilities")."""


def mask(names: Iterable[str]) -> int:
    """Bit N for capability N. A name that this table does not know is an error: it cannot be granted."""
    total = 0
    for name in names:
        total |= 1 << _number(name)
    return total


def names(bits: int) -> list[str]:
    return [name for number, name in enumerate(NAMES) if bits >> number & 1]


def granted(add: Iterable[str], drop: Iterable[str], *, privileged: bool, available: int) -> list[str]:
    """The capabilities of a container, by number: the default, less `drop`, plus `add`, at most `available`.

    "ALL" stands for every one; with it the other list makes the exceptions, as with Docker.
    """
    adding, dropping = [_spelled(n) for n in add], [_spelled(n) for n in drop]
    every = (1 << len(NAMES)) - 1
    bits = every if privileged or "ALL" in adding else mask(DEFAULT)
    if "ALL" in dropping:
        bits = every if "ALL" in adding else 0
    bits &= ~mask(n for n in dropping if n != "ALL")
    bits |= mask(n for n in adding if n != "ALL")
    return names(bits & available)


def _spelled(name: str) -> str:
    upper = name.upper()
    return upper if upper == "ALL" or upper.startswith("CAP_") else "CAP_" + upper


def _number(name: str) -> int:
    try:
        return _NUMBERS[name]
    except KeyError:
        raise UsageError(f"unknown capability {name!r}", hint="names are those of capabilities(7)") from None
