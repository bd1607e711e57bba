"""PURE: run options + image defaults + facts of the host -> an OCI runtime-spec config.json.

The same config is carried out by the built-in executor, crun and runc (runtime-spec 1.0: config.md,
config-linux.md). What could not be isolated is said in `Plan.notes`, one sentence each.
"""

from __future__ import annotations

from collections.abc import Mapping

from imagetool.errors import UsageError
from imagetool.runtime import capabilities, defaults
from imagetool.runtime.devices import Node
from imagetool.runtime.options import ImageDefaults, Mount, Resources, RunOptions
from imagetool.runtime.users import User
from unionfs.annotations import Any
from unionfs.namedtuple import NamedTuple

Spec = dict[str, Any]

_PERIOD = 100_000  # µs; the CFS period that Docker and the kernel default to


class Host(NamedTuple):
    """What the plan must know of the machine and of the caller."""

    container_id: str
    cgroup_version: int = 0  # 0: no cgroup may be made
    cgroup_path: str = ""  # "/imagetool/ID"
    rootless: bool = False  # in a user namespace, or about to be
    uid_map: tuple[
        tuple[int, int, int], ...
    ] = ()  # (inside, outside, size): the container gets a user namespace
    gid_map: tuple[tuple[int, int, int], ...] = ()
    single_id: bool = False  # no id but 0 exists inside
    capabilities: int = (1 << len(capabilities.NAMES)) - 1  # the bounding set
    devices: tuple[Node, ...] = ()  # what `RunOptions.devices` are
    limits_devices: bool = False  # whether rules for them hold
    files: Mapping[str, str] = {}  # target -> file on the host: /etc/hosts, /etc/hostname, /etc/resolv.conf
    seccomp: Mapping[str, Any] | None = None  # the profile for seccomp="default"; None: it cannot be loaded

    @property
    def guards_devices(self) -> bool:
        """Whether a device that a container sees may be no more to it than its rules, or its user, allow."""
        return self.limits_devices or self.rootless


class Plan(NamedTuple):
    spec: Spec
    notes: tuple[str, ...]


def plan(options: RunOptions, image: ImageDefaults, user: User, host: Host, rootfs: str = "rootfs") -> Plan:
    """The config.json for one container; UsageError if the options contradict each other."""
    notes: list[str] = []
    chroot = options.isolation == "chroot"
    spec: Spec = {
        "ociVersion": "1.0.2",
        "process": _process(options, image, user, host, notes),
        "root": {"path": rootfs, "readonly": options.readonly},
        "mounts": _mounts(options, host, chroot),
        "linux": _linux(options, host, chroot, notes),
        "annotations": {
            "imagetool.isolation": options.isolation,
            "imagetool.init": str(options.init).lower(),
        },
    }
    if _has_namespace(spec, "uts"):
        spec["hostname"] = options.hostname or host.container_id[:12]
        if options.domainname:
            spec["domainname"] = options.domainname
    return Plan(spec, tuple(notes))


def arguments(options: RunOptions, image: ImageDefaults) -> list[str]:
    """Docker's rule: a command replaces the image's; a new entrypoint drops the image's command, too."""
    entrypoint = image.entrypoint if options.entrypoint is None else options.entrypoint
    command = options.command or (image.command if options.entrypoint is None else ())
    words = [*(entrypoint if entrypoint != ("",) else ()), *command]
    if not words:
        raise UsageError(
            "no command specified", hint="name one after the image: the image has none of its own"
        )
    return words


def environment(options: RunOptions, image: ImageDefaults, home: str, hostname: str) -> list[str]:
    """PATH, HOSTNAME and TERM, then the image's, then the user's; HOME last, if nobody gave one."""
    rows = [f"PATH={defaults.PATH}", f"HOSTNAME={hostname}"]
    if options.tty:
        rows.append("TERM=xterm")
    merged = dict(row.partition("=")[::2] for row in (*rows, *image.env, *options.env))
    merged.setdefault("HOME", home)
    return [f"{name}={value}" for name, value in merged.items()]


def mountpoints(spec: Spec) -> list[tuple[str, bool]]:
    """(path, is not known to be a file) of every mount target: stubs for them need not be in the RW layer."""
    files = {"/etc/hosts", "/etc/hostname", "/etc/resolv.conf"}
    return [(m["destination"], m["destination"] not in files) for m in spec["mounts"]]


def _process(options: RunOptions, image: ImageDefaults, user: User, host: Host, notes: list[str]) -> Spec:
    hostname = options.hostname or host.container_id[:12]
    granted = capabilities.granted(
        options.cap_add, options.cap_drop, privileged=options.privileged, available=host.capabilities
    )
    if host.single_id and (user.uid or user.gid):
        notes.append(
            f"only one user id is available: running as root of the namespace, not as {user.uid}:{user.gid}"
        )
        user = User(home=user.home)
    effective = granted if user.uid == 0 else []
    process: Spec = {
        "terminal": options.tty,
        "user": {"uid": user.uid, "gid": user.gid, "umask": 0o022},
        "args": arguments(options, image),
        "env": environment(options, image, user.home, hostname),
        "cwd": _workdir(options.workdir or image.workdir),
        "capabilities": {
            "bounding": granted, "effective": effective, "permitted": effective,
            "inheritable": [], "ambient": [],
        },
        "noNewPrivileges": options.no_new_privileges,
        "rlimits": [_rlimit(*limit) for limit in options.ulimits],
    }  # fmt: skip
    if user.groups and not host.single_id:
        process["user"]["additionalGids"] = list(user.groups)
    if options.oom_score_adj is not None:
        process["oomScoreAdj"] = options.oom_score_adj
    return process


def _workdir(path: str) -> str:
    if path and not path.startswith("/"):
        raise UsageError(f"the working directory {path!r} is not an absolute path")
    return path or "/"


def _rlimit(name: str, soft: int, hard: int) -> Spec:
    unlimited = (1 << 64) - 1
    return {
        "type": f"RLIMIT_{name.upper()}",
        "soft": unlimited if soft < 0 else soft,
        "hard": unlimited if hard < 0 else hard,
    }


def _linux(options: RunOptions, host: Host, chroot: bool, notes: list[str]) -> Spec:
    namespaces = [{"type": "mount"}] if chroot else _namespaces(options, host)
    if chroot:
        notes.append("isolation is chroot: processes, network, IPC and host name are the host's")
    linux: Spec = {
        "namespaces": namespaces,
        "rootfsPropagation": "rslave",
        "sysctl": _sysctls(options, {n["type"] for n in namespaces}),
        "maskedPaths": [] if options.privileged else list(defaults.MASKED_PATHS),
        "readonlyPaths": [] if options.privileged else list(defaults.READONLY_PATHS),
    }
    if host.uid_map and not chroot:
        linux["uidMappings"] = [_id_row(*row) for row in host.uid_map]
        linux["gidMappings"] = [_id_row(*row) for row in host.gid_map]
    if host.devices:
        linux["devices"] = []  # they are bound, which needs no right to make nodes
    if any(not host.limits_devices and "rw" not in node.access for node in host.devices):
        notes.append(
            "devices may be read and written as their owners allow: no device cgroup can limit it here"
        )
    _seccomp(linux, options, host, notes)
    _cgroup(linux, options, host, notes)
    return linux


def _namespaces(options: RunOptions, host: Host) -> list[Spec]:
    wanted = {"pid": options.pid, "ipc": options.ipc, "uts": options.uts, "network": options.network}
    if options.network in ("none", "bridge"):
        wanted["network"] = ""
    rows: list[Spec] = [{"type": "mount"}]
    for kind, where in wanted.items():
        if where != "host":
            rows.append({"type": kind, "path": where} if where else {"type": kind})
    if host.cgroup_version:
        rows.append({"type": "cgroup"})
    if host.uid_map:
        rows.append({"type": "user"})
    return rows


def _sysctls(options: RunOptions, namespaces: set[str]) -> dict[str, str]:
    for name, _ in options.sysctls:
        own = [n for kind, names in defaults.NAMESPACED_SYSCTLS.items() if kind in namespaces for n in names]
        if "/" in name or not any(name == n or (n.endswith(".") and name.startswith(n)) for n in own):
            raise UsageError(f"sysctl {name!r} is not one that the container has for itself")
    return dict(options.sysctls)


def _id_row(inside: int, outside: int, size: int) -> Spec:
    return {"containerID": inside, "hostID": outside, "size": size}


def _seccomp(linux: Spec, options: RunOptions, host: Host, notes: list[str]) -> None:
    if options.privileged or options.seccomp == "unconfined":
        return
    profile = host.seccomp if options.seccomp == "default" else options.seccomp
    if isinstance(profile, str):
        raise UsageError(f"seccomp profile {profile!r} was not read")
    if profile is None:
        notes.append("system calls are not filtered: libseccomp's Python binding is not installed")
    else:
        linux["seccomp"] = dict(profile)


def _cgroup(linux: Spec, options: RunOptions, host: Host, notes: list[str]) -> None:
    asked = limits(options.resources)
    if not host.cgroup_version:
        if asked:
            notes.append("resource limits do not apply: no cgroup may be made here")
        return
    linux["cgroupsPath"] = host.cgroup_path
    linux["resources"] = asked | {"devices": _device_rules(options.privileged, host.devices)}


def limits(wanted: Resources) -> Spec:
    """The part of `linux.resources` that limits something."""
    cpu: Spec = {}
    if wanted.nano_cpus:
        cpu |= {"period": _PERIOD, "quota": wanted.nano_cpus * _PERIOD // 1_000_000_000}
    if wanted.cpu_shares:
        cpu["shares"] = wanted.cpu_shares
    if wanted.cpuset_cpus:
        cpu["cpus"] = wanted.cpuset_cpus
    if wanted.cpuset_mems:
        cpu["mems"] = wanted.cpuset_mems
    memory: Spec = {"limit": wanted.memory} if wanted.memory else {}
    if wanted.memory_swap or wanted.memory:
        memory["swap"] = wanted.memory_swap or 2 * wanted.memory
    pids: Spec = {"limit": wanted.pids} if wanted.pids > 0 else {}
    return {name: part for name, part in (("cpu", cpu), ("memory", memory), ("pids", pids)) if part}


def _device_rules(privileged: bool, nodes: tuple[Node, ...]) -> list[Spec]:
    if privileged:
        return [{"allow": True, "access": "rwm"}]
    rules: list[Spec] = [{"allow": False, "access": "rwm"}]
    for kind, major, minor, access in (
        *defaults.DEVICE_RULES,
        *((n.kind, n.major, n.minor, n.access) for n in nodes),
    ):
        row: Spec = {"allow": True, "type": kind, "access": access}
        if major is not None:
            row["major"] = major
        if minor is not None:
            row["minor"] = minor
        rules.append(row)
    return rules


def _mounts(options: RunOptions, host: Host, chroot: bool) -> list[Spec]:
    """The system's mounts, then the host's files, then the user's, parents before children.

    What the user's would cover is left out; but in a /dev of his there are terminals, and the devices he asks for.
    """
    # Read-only: a device opens for writing all the same, but the machine's node keeps its mode and owner.
    devices = [_entry(n.target, "bind", n.source, "bind", "nosuid", "noexec", "ro") for n in host.devices]
    files = [_entry(target, "bind", source, "bind", "private") for target, source in host.files.items()]
    asked = [
        _asked(m, devices=options.privileged or (m.target.rstrip("/") == "/dev" and host.guards_devices))
        for m in sorted(options.mounts, key=lambda m: m.target.rstrip("/").count("/"))
    ]
    targets = {m["destination"].rstrip("/") for m in asked}
    system = [
        m for m in _system_mounts(options, host, chroot) + devices + files if m["destination"] not in targets
    ]
    covered = [m for m in system if any(m["destination"].startswith(f"{target}/") for target in targets)]
    on_top = [m for m in covered if m["destination"] == "/dev/pts" or m in devices]
    return [*(m for m in system if m not in covered), *asked, *on_top]


def _system_mounts(options: RunOptions, host: Host, chroot: bool) -> list[Spec]:
    shm = options.shm_size or defaults.SHM_SIZE
    pts_group = () if host.single_id else ("gid=5",)
    sealed = ("nosuid", "noexec", "nodev")
    mounts = [
        _entry("/proc", "proc", "proc", *sealed),
        _entry("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
        _entry("/dev/pts", "devpts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666",
               "mode=0620", *pts_group),
        _entry("/dev/shm", "tmpfs", "shm", *sealed, "mode=1777", f"size={shm}"),
        _entry("/dev/mqueue", "mqueue", "mqueue", *sealed),
        _entry("/sys", "sysfs", "sysfs", *sealed, *(() if options.privileged else ("ro",))),
    ]  # fmt: skip
    by_type = {m["destination"]: m for m in mounts}
    if chroot:
        by_type["/proc"] = _entry("/proc", "bind", "/proc", "rbind", *sealed)
    if chroot or (host.rootless and options.network == "host"):  # sysfs belongs to who owns the network
        by_type["/sys"] = _entry("/sys", "bind", "/sys", "rbind", *sealed, "ro")
    if chroot or options.ipc == "host":
        by_type["/dev/shm"] = _entry("/dev/shm", "bind", "/dev/shm", "rbind", *sealed)
    if chroot:
        del by_type["/dev/mqueue"]
    elif (
        options.ipc == "host" and host.rootless
    ):  # root mounts the queues of the namespace it is in: the host's
        by_type["/dev/mqueue"] = _entry("/dev/mqueue", "bind", "/dev/mqueue", "bind", *sealed)
    if host.cgroup_version and not chroot:
        by_type["/sys/fs/cgroup"] = _entry("/sys/fs/cgroup", "cgroup", "cgroup", *sealed, "ro")
    return list(by_type.values())


def _asked(mount: Mount, *, devices: bool) -> Spec:
    """`devices`: those in it may be opened."""
    if mount.target.rstrip("/") == "/proc" or mount.target.startswith("/proc/"):
        raise UsageError(f"cannot mount on {mount.target}: it is the container's view of its processes")
    access = ("ro",) if mount.readonly else ("rw",)
    options = tuple(o for o in mount.options if o not in ("nocopy", "nonrecursive"))
    if mount.kind == "tmpfs":
        return _entry(mount.target, "tmpfs", "tmpfs", "nosuid", "nodev", *_without_noexec(options), *access)
    bind = "bind" if "nonrecursive" in mount.options else "rbind"
    spread = () if any(o.endswith(("private", "slave", "shared")) for o in options) else ("rprivate",)
    sealed = () if devices else ("nodev",)
    return _entry(mount.target, "bind", mount.source, bind, *sealed, *spread, *options, *access)


def _without_noexec(options: tuple[str, ...]) -> tuple[str, ...]:
    """tmpfs is noexec unless "exec" is asked for, as Docker has it."""
    return tuple(o for o in options if o != "exec") if "exec" in options else ("noexec", *options)


def _entry(target: str, kind: str, source: str, *options: str) -> Spec:
    return {"destination": target, "type": kind, "source": source, "options": list(options)}


def _has_namespace(spec: Spec, kind: str) -> bool:
    return any(n["type"] == kind and "path" not in n for n in spec["linux"]["namespaces"])
