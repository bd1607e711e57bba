"""PURE: what `run` and `build` ask of a container, and the spellings of Docker's options for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from imagetool.errors import UsageError
from imagetool.runtime.devices import Device
from unionfs.annotations import Any
from unionfs.namedtuple import NamedTuple

_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_MOUNT_KEYS = {
    "type": "type", "source": "source", "src": "source", "target": "target", "destination": "target",
    "dst": "target", "readonly": "readonly", "ro": "readonly", "bind-propagation": "propagation",
    "tmpfs-size": "size", "tmpfs-mode": "mode", "bind-nonrecursive": "nonrecursive",
    "volume-nocopy": "nocopy",
}  # fmt: skip
_LEAST_MEMORY = 6 << 20
_PROPAGATION = ("private", "rprivate", "slave", "rslave", "shared", "rshared")


class Mount(NamedTuple):
    """A mount that the user asks for. A volume's `source` is its name until the caller puts a path there."""

    kind: str  # "bind", "volume" or "tmpfs"
    source: str
    target: str  # absolute
    readonly: bool = False
    options: tuple[str, ...] = ()  # of the runtime-spec: "nosuid", "size=1048576", "rslave", …


class Resources(NamedTuple):
    """Limits of a container; 0 and "" mean none."""

    memory: int = 0  # bytes
    memory_swap: int = 0  # bytes of memory and swap; -1: unlimited swap
    nano_cpus: int = 0  # CPUs in units of 1e-9
    cpu_shares: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    pids: int = 0


class RunOptions(NamedTuple):
    """How a container is to run, beyond what its image says."""

    command: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] | None = None
    env: tuple[str, ...] = ()  # "NAME=value"
    workdir: str = ""
    user: str = ""
    hostname: str = ""
    domainname: str = ""
    tty: bool = False
    init: bool = False
    readonly: bool = False
    privileged: bool = False
    no_new_privileges: bool = False
    seccomp: str | Mapping[str, Any] = "default"  # or "unconfined", or an OCI `linux.seccomp` object
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    mounts: tuple[Mount, ...] = ()
    devices: tuple[Device, ...] = ()
    resources: Resources = Resources()
    ulimits: tuple[tuple[str, int, int], ...] = ()  # name, soft, hard; -1: unlimited
    sysctls: tuple[tuple[str, str], ...] = ()
    shm_size: int = 0
    oom_score_adj: int | None = None
    network: str = "bridge"  # "none", "host", "bridge", "container:ID", or the path of a network namespace
    pid: str = ""  # "host", "container:ID" or the path of a namespace; likewise ipc and uts
    ipc: str = ""
    uts: str = ""
    isolation: str = "namespace"  # or "chroot"


class ImageDefaults(NamedTuple):
    """The part of an image's config that a container starts from (image-spec config.md)."""

    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    workdir: str = ""
    user: str = ""
    stop_signal: str = ""

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> ImageDefaults:
        """`config` is the "config" object of an image's configuration; absent and null are the same."""
        return cls(
            tuple(config.get("Entrypoint") or ()),
            tuple(config.get("Cmd") or ()),
            tuple(config.get("Env") or ()),
            config.get("WorkingDir") or "",
            config.get("User") or "",
            config.get("StopSignal") or "",
        )


def parse_size(text: str) -> int:
    """Bytes from "64m", "1.5g", "4096": units of 1024, in any case, with or without "b"."""
    low = text.strip().lower()
    number = low.rstrip("bkmgti")
    unit = low[len(number) :].removesuffix("b").removesuffix("i")
    try:
        size = float(number) * _UNITS[unit]
        if not 0 <= size < 1 << 63:
            raise ValueError
    except (KeyError, ValueError):
        raise UsageError(f"invalid size {text!r}", hint="write a number and b, k, m or g: 512m") from None
    return int(size)


def parse_memory(text: str) -> int:
    """`--memory`; "" and "0" are no limit. Docker's least is ours: in less nothing starts."""
    size = parse_size(text or "0")
    if 0 < size < _LEAST_MEMORY:
        raise UsageError(f"memory limit {text} is too small", hint="Minimum memory limit allowed is 6MB")
    return size


def parse_swap(text: str) -> int:
    """`--memory-swap`: bytes of memory and swap; "-1" is unlimited swap, "" and "0" are nothing asked."""
    return -1 if text == "-1" else parse_size(text or "0")


def parse_cpus(text: str) -> int:
    """`--cpus 1.5` as nano CPUs."""
    try:
        value = float(text)
        if not 0 < value < 1e6:
            raise ValueError
    except ValueError:
        raise UsageError(f"invalid number of CPUs {text!r}", hint="a positive number such as 1.5") from None
    return round(value * 1_000_000_000)


def parse_ulimit(text: str) -> tuple[str, int, int]:
    """`--ulimit NAME=SOFT[:HARD]`; -1 is unlimited."""
    name, equals, values = text.partition("=")
    soft, colon, hard = values.partition(":")
    try:
        limits = int(soft), int(hard if colon else soft)
        if not name or not equals or min(limits) < -1:
            raise ValueError
    except ValueError:
        raise UsageError(
            f"invalid ulimit {text!r}", hint="NAME=SOFT[:HARD], such as nofile=1024:2048"
        ) from None
    import resource  # few containers have limits of their own

    if not hasattr(resource, f"RLIMIT_{name.upper()}"):
        raise UsageError(f"invalid ulimit type: {name}", hint="those of getrlimit(2), such as nofile")
    if limits[1] != -1 and (limits[0] == -1 or limits[0] > limits[1]):
        raise UsageError(f"ulimit {text!r}: the soft limit is above the hard one")
    return name.lower(), *limits


def parse_volume(text: str) -> Mount:
    """`-v [SOURCE:]TARGET[:OPTIONS]`: a path is a bind, a name a volume, no source an unnamed volume."""
    parts = text.split(":")
    if len(parts) > 3 or not parts[-1] or not all(parts[:2]):
        raise UsageError(f"invalid volume {text!r}", hint="SOURCE:TARGET[:ro]")
    source, target = ("", parts[0]) if len(parts) == 1 else (parts[0], parts[1])
    words = parts[2].split(",") if len(parts) == 3 else []
    extra = tuple(w for w in words if w in _PROPAGATION or w in ("nosuid", "nodev", "noexec", "nocopy"))
    unknown = [w for w in words if w not in (*extra, "ro", "rw", "z", "Z")]
    if unknown:
        raise UsageError(f"invalid volume {text!r}: unknown option {unknown[0]!r}")
    kind = "bind" if source.startswith(("/", ".", "~")) else "volume"
    return Mount(kind, source, _absolute(target, text), "ro" in words, extra)


def parse_mount(text: str) -> Mount:
    """`--mount type=bind|volume|tmpfs,source=…,target=…[,readonly]…`"""
    given: dict[str, str] = {}
    for field in text.split(","):
        key, equals, value = field.partition("=")
        if key not in _MOUNT_KEYS:
            raise UsageError(f"invalid mount {text!r}: unknown key {key!r}")
        given[_MOUNT_KEYS[key]] = value if equals else "true"
    kind, target = given.get("type", "volume"), given.get("target", "")
    if kind not in ("bind", "volume", "tmpfs"):
        raise UsageError(f"invalid mount {text!r}: type {kind!r} is none of bind, volume, tmpfs")
    if not target or (kind == "bind" and not given.get("source")):
        raise UsageError(f"invalid mount {text!r}", hint="a target is needed, and for a bind a source")
    return Mount(
        kind, given.get("source", ""), _absolute(target, text), given.get("readonly") in ("true", "1"),
        tuple(_mount_options(given, text)),
    )  # fmt: skip


def parse_tmpfs(text: str) -> Mount:
    """`--tmpfs TARGET[:OPTIONS]`"""
    target, _, options = text.partition(":")
    return Mount("tmpfs", "tmpfs", _absolute(target, text), False, tuple(o for o in options.split(",") if o))


def parse_env_file(text: str, host: Mapping[str, str]) -> list[str]:
    """The lines of an `--env-file`: "NAME=value", or "NAME" for the caller's value; "#" starts a comment."""
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        line = line.lstrip()
        if line and not line.startswith("#"):
            name = line.partition("=")[0]
            if not name or any(c.isspace() for c in name):
                raise UsageError(f"environment file, line {number}: invalid name {name!r}")
            rows.append(line)
    return env_from_host(rows, host)


def env_from_host(rows: Sequence[str], host: Mapping[str, str]) -> list[str]:
    """`-e NAME` takes the caller's value, and nothing if there is none; `-e NAME=value` stays."""
    named = [(row, row.partition("=")) for row in rows]
    if any(not parts[0] for _, parts in named):
        raise UsageError("an environment variable needs a name")
    return [row if "=" in row else f"{row}={host[row]}" for row, _ in named if "=" in row or row in host]


def parse_security_options(options: Sequence[str]) -> dict[str, Any]:
    """`--security-opt` as keyword arguments of RunOptions; a seccomp profile is left as its file's name."""
    found: dict[str, Any] = {}
    for text in options:
        key, _, value = (text if "=" in text else text.replace(":", "=", 1)).partition("=")
        if key == "no-new-privileges" and value in ("", "true", "false"):
            found["no_new_privileges"] = value != "false"
        elif key == "seccomp" and value:
            found["seccomp"] = value
        elif (key, value) not in (
            ("label", "disable"),
            ("apparmor", "unconfined"),
        ):  # these two are so anyway
            raise UsageError(f"unsupported security option {text!r}", hint="no-new-privileges, seccomp=…")
    return found


def _mount_options(given: Mapping[str, str], text: str) -> list[str]:
    options = []
    if "size" in given:
        options.append(f"size={parse_size(given['size'])}")
    if "mode" in given:
        options.append(f"mode={given['mode']}")
    if "propagation" in given:
        if given["propagation"] not in _PROPAGATION:
            raise UsageError(f"invalid mount {text!r}: no propagation {given['propagation']!r}")
        options.append(given["propagation"])
    return options + [name for name in ("nonrecursive", "nocopy") if given.get(name) in ("true", "1")]


def _absolute(target: str, text: str) -> str:
    if not target.startswith("/") or target.strip("/") in ("", ".", ".."):
        raise UsageError(f"invalid mount {text!r}: the target must be an absolute path, and not /")
    return target
