"""PURE: a runtime-spec config.json -> the request that the helper carries out step by step.

All names, flags and options are decided here, by the caller; the helper only acts (see `entry`, `rootfs`).
Sources: runtime-spec config.md (mounts), config-linux.md (namespaces), mount_setattr(2).
"""

from __future__ import annotations

import os
import resource
from collections.abc import Mapping, Sequence

from imagetool.errors import Malformed
from imagetool.runtime import capabilities, defaults, linux
from unionfs.annotations import Any

Request = dict[str, Any]

NAMESPACES = {
    "mount": linux.CLONE_NEWNS,
    "pid": linux.CLONE_NEWPID,
    "network": linux.CLONE_NEWNET,
    "ipc": linux.CLONE_NEWIPC,
    "uts": linux.CLONE_NEWUTS,
    "user": linux.CLONE_NEWUSER,
    "cgroup": linux.CLONE_NEWCGROUP,
}
_SET = {
    "ro": linux.ATTR_RDONLY, "nosuid": linux.ATTR_NOSUID, "nodev": linux.ATTR_NODEV,
    "noexec": linux.ATTR_NOEXEC, "noatime": linux.ATTR_NOATIME, "strictatime": linux.ATTR_STRICTATIME,
    "nodiratime": linux.ATTR_NODIRATIME,
}  # fmt: skip
_CLEAR = {
    "rw": linux.ATTR_RDONLY, "suid": linux.ATTR_NOSUID, "dev": linux.ATTR_NODEV, "exec": linux.ATTR_NOEXEC,
    "relatime": linux.ATTR_ATIME, "diratime": linux.ATTR_NODIRATIME,
}  # fmt: skip
_PROPAGATION = {"private": linux.MS_PRIVATE, "slave": linux.MS_SLAVE, "shared": linux.MS_SHARED}
_NOT_DATA = ("bind", "rbind", "newinstance", "defaults", "async", "nocopy")
_PINNED = ("/proc", "/sys", "/dev")  # below these no link is followed
_INFINITY = (1 << 64) - 1


def create(
    spec: Mapping[str, Any], bundle: str, seccomp: bytes = b"", hierarchies: Sequence[Sequence[str]] = ()
) -> Request:
    """The request for a new container. `seccomp` is the filter's BPF program; Malformed for a bad spec.

    `hierarchies`: the controllers of each, where cgroups are of version 1.
    """
    try:
        return _create(spec, bundle, seccomp, hierarchies)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Malformed(f"{bundle}/config.json breaks the runtime specification: {error!r}") from error


def join(
    process: Mapping[str, Any], pid: int, namespaces: int, *, chroot: bool, seccomp: bytes = b""
) -> Request:
    """The request for another process in the container whose first process is `pid`."""
    return {
        "process": _process(process, seccomp),
        "joins": [],
        "pidfd": (pid, namespaces),
        "join_root": f"/proc/{pid}/root" if chroot else "",
        "namespaces": 0,
        "forks": bool(namespaces & linux.CLONE_NEWPID),
        "init": False,
        "root": "",
    }


def private_namespaces(spec: Mapping[str, Any]) -> int:
    """The CLONE_ flags of the namespaces that the container has, made or joined."""
    return _flags(spec["linux"]["namespaces"])


def _create(
    spec: Mapping[str, Any], bundle: str, seccomp: bytes, hierarchies: Sequence[Sequence[str]]
) -> Request:
    part = spec["linux"]
    notes = spec.get("annotations", {})
    new = [n for n in part["namespaces"] if not n.get("path")]
    flags = _flags(new)
    mounts = spec.get("mounts", [])
    groups = [m["destination"] for m in mounts if m.get("type") == "cgroup" and hierarchies]
    restricted = bool(
        part.get("maskedPaths")
    )  # an unrestricted ("privileged") container opens devices itself
    return {
        "process": _process(spec["process"], seccomp),
        "joins": [(n["path"], NAMESPACES[n["type"]]) for n in part["namespaces"] if n.get("path")],
        "pidfd": None,
        "join_root": "",
        "namespaces": flags,
        "forks": any(n["type"] == "pid" for n in part["namespaces"]),
        "init": notes.get("imagetool.init") == "true",
        "ends_with_caller": notes.get("imagetool.ends-with") == "caller",
        "root": os.path.join(bundle, spec["root"]["path"]),
        "readonly": bool(spec["root"].get("readonly")),
        "nodev": restricted,
        "change_root": "move" if notes.get("imagetool.isolation") == "chroot" else "pivot",
        "mounts": [step for m in mounts for step in mount_step(m, bundle, hierarchies)],
        "devices": list(defaults.DEVICES),
        "symlinks": [*defaults.SYMLINKS, *(link for place in groups for link in _links(place, hierarchies))],
        "sealed": groups,
        "masked": list(part.get("maskedPaths", [])),
        "readonly_paths": list(part.get("readonlyPaths", [])),
        "hostname": spec.get("hostname", ""),
        "domainname": spec.get("domainname", ""),
        "sysctl": sorted(part.get("sysctl", {}).items()),
    }


def mount_step(
    mount: Mapping[str, Any], bundle: str, hierarchies: Sequence[Sequence[str]] = ()
) -> list[Request]:
    """One mount as `rootfs` takes it. An unknown option goes to the file system, as with mount(8).

    That of cgroups is many in version 1: a tmpfs, sealed in the end, with each hierarchy in it.
    """
    options, target = mount.get("options", []), mount["destination"]
    on, off, propagation = 0, 0, 0
    for option in options:
        on = (on | _SET.get(option, 0)) & ~_CLEAR.get(option, 0)
        off = (off | _CLEAR.get(option, 0)) & ~_SET.get(option, 0)
        propagation = _PROPAGATION.get(option.removeprefix("r"), propagation)
    links = not any(target == p or target.startswith(p + "/") for p in _PINNED)
    if mount.get("type") == "bind" or "bind" in options or "rbind" in options:
        source = os.path.join(bundle, mount["source"])
        recursive = "rbind" in options
        return [
            {"kind": "bind", "source": source, "target": target, "links": links, "on": on, "off": off,
             "recursive": recursive, "propagation": propagation}
        ]  # fmt: skip
    data = [o.partition("=") for o in options if o not in _SET and o not in _CLEAR and o not in _NOT_DATA
            and o.removeprefix("r") not in _PROPAGATION]  # fmt: skip
    rows = [(key.encode(), value.encode() if equals else None) for key, equals, value in data]
    if mount["type"] == "cgroup" and hierarchies:
        return _hierarchies({"target": target, "links": links, "options": rows, "on": on}, hierarchies)
    kind = "cgroup2" if mount["type"] == "cgroup" else mount["type"]
    return [{"kind": kind, "target": target, "links": links, "options": rows, "on": on}]


def _hierarchies(mount: Request, hierarchies: Sequence[Sequence[str]]) -> list[Request]:
    base = mount | {"kind": "tmpfs", "options": [(b"mode", b"755")], "on": mount["on"] & ~linux.ATTR_RDONLY}
    return [base] + [
        mount | {"kind": "cgroup", "target": f"{mount['target']}/{','.join(names)}",
                 "options": [(name.encode(), None) for name in names]}
        for names in hierarchies
    ]  # fmt: skip


def _links(place: str, hierarchies: Sequence[Sequence[str]]) -> list[tuple[str, str]]:
    """Controllers that are mounted together are found by the name of each."""
    return [(f"{place}/{name}", ",".join(names)) for names in hierarchies if len(names) > 1 for name in names]


def _process(process: Mapping[str, Any], seccomp: bytes) -> Request:
    user, granted = process["user"], process.get("capabilities", {})
    kinds = ("bounding", "effective", "permitted", "inheritable", "ambient")
    if not process["args"] or any(
        "\0" in word for word in (*process["args"], *process["env"], process["cwd"])
    ):
        raise ValueError("process: no arguments, or a NUL in them")
    return {
        "args": list(process["args"]),
        "env": dict(row.partition("=")[::2] for row in process.get("env", []) if "=" in row[1:]),
        "cwd": process["cwd"],
        "uid": user["uid"],
        "gid": user["gid"],
        "groups": list(user.get("additionalGids", [])),
        "umask": user.get("umask", 0o022),
        "capabilities": tuple(capabilities.mask(granted.get(kind, [])) for kind in kinds),
        "no_new_privs": bool(process.get("noNewPrivileges")),
        "rlimits": [_rlimit(row) for row in process.get("rlimits", [])],
        "terminal": bool(process.get("terminal")),
        "oom_score_adj": process.get("oomScoreAdj"),
        "seccomp": seccomp,
    }


def _rlimit(row: Mapping[str, Any]) -> tuple[int, int, int]:
    if not row["type"].startswith("RLIMIT_") or not hasattr(resource, row["type"]):
        raise ValueError(f"unknown resource limit {row['type']}")
    soft, hard = (resource.RLIM_INFINITY if v == _INFINITY else v for v in (row["soft"], row["hard"]))
    return getattr(resource, row["type"]), soft, hard


def _flags(namespaces: list[Mapping[str, Any]]) -> int:
    total = 0
    for row in namespaces:
        total |= NAMESPACES[row["type"]]
    return total
