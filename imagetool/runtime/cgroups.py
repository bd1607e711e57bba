"""Control groups, versions 1 and 2: limits, the members' end, removal.

A container's cgroup has the same path below every hierarchy. Sources: Documentation/admin-guide/cgroup-v1,
cgroup-v2.rst; the conversions of shares and swap are those of the OCI runtimes.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Mapping

from imagetool.runtime.errors import SandboxError
from unionfs.annotations import Any
from unionfs.namedtuple import NamedTuple

ROOT = "/sys/fs/cgroup"
V1 = ("cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "pids")
V2 = ("cpu", "cpuset", "memory", "pids")


class Setting(NamedTuple):
    """One value to write: the v1 controller ("" in v2), the file, the text."""

    controller: str
    file: str
    text: str


def version() -> int:
    """2, 1, or 0 if no cgroup can be made by this process."""
    if os.path.exists(f"{ROOT}/cgroup.controllers"):
        return 2 if os.access(ROOT, os.W_OK) and _delegated() else 0
    return 1 if any(os.access(f"{ROOT}/{name}", os.W_OK) and _is_mounted(name) for name in V1) else 0


def hierarchies() -> list[tuple[str, ...]]:
    """Version 1: the controllers for which containers have cgroups, those together that are mounted so; else none."""
    if version() != 1:
        return []
    rows = [tuple(line.split(":")[1].split(",")) for line in _read("/proc/self/cgroup").splitlines()]
    return [names for names in rows if any(name in V1 and _is_mounted(name) for name in names)]


def settings_v1(resources: Mapping[str, Any]) -> list[Setting]:
    """PURE: runtime-spec `linux.resources` for version 1; device rules in their order."""
    cpu, memory, pids = (resources.get(k, {}) for k in ("cpu", "memory", "pids"))
    rows = [
        ("memory", "memory.limit_in_bytes", memory.get("limit")),
        ("memory", "memory.memsw.limit_in_bytes", memory.get("swap")),
        ("cpu", "cpu.shares", cpu.get("shares")),
        ("cpu", "cpu.cfs_period_us", cpu.get("period")),
        ("cpu", "cpu.cfs_quota_us", cpu.get("quota")),
        ("cpuset", "cpuset.cpus", cpu.get("cpus")),
        ("cpuset", "cpuset.mems", cpu.get("mems")),
        ("pids", "pids.max", pids.get("limit")),
    ]
    plain = [Setting(controller, file, str(value)) for controller, file, value in rows if value is not None]
    return plain + [_device(row) for row in resources.get("devices", [])]


def settings_v2(resources: Mapping[str, Any]) -> list[Setting]:
    """PURE: the same for version 2, where devices are not a matter of files."""
    cpu, memory, pids = (resources.get(k, {}) for k in ("cpu", "memory", "pids"))
    limit, both = memory.get("limit"), memory.get("swap")
    swap = None if both is None else "max" if both < 0 else max(0, both - (limit or 0))
    shares, quota = cpu.get("shares"), cpu.get("quota")
    rows = [
        ("memory.max", limit),
        ("memory.swap.max", swap),
        ("cpu.weight", None if shares is None else 1 + (max(2, shares) - 2) * 9999 // 262142),
        ("cpu.max", None if quota is None else f"{quota} {cpu.get('period', 100_000)}"),
        ("cpuset.cpus", cpu.get("cpus")),
        ("cpuset.mems", cpu.get("mems")),
        ("pids.max", pids.get("limit")),
    ]
    return [Setting("", file, str(value)) for file, value in rows if value is not None]


class Cgroup:
    """The cgroup at `path` ("/imagetool/ID"), in every hierarchy that is there."""

    def __init__(self, path: str) -> None:
        if ".." in path.split("/") or not path.startswith("/"):
            raise SandboxError(f"cgroup path {path!r} is not absolute and plain")
        self.path = path
        self._version = version()

    @classmethod
    def create(cls, path: str, resources: Mapping[str, Any]) -> Cgroup:
        """Make it and set its limits; on failure nothing is left."""
        group = cls(path)
        try:
            for directory in group.directories():
                _make_again(directory)
            group._limit(resources)
        except BaseException:
            group.remove()
            raise
        return group

    def directories(self) -> list[str]:
        if self._version == 2:
            return [ROOT + self.path]
        if self._version == 1:
            return [f"{ROOT}/{name}{self.path}" for name in V1 if _is_mounted(name)]
        return []

    def add(self, pid: int) -> None:
        for directory in self.directories():
            _write(f"{directory}/cgroup.procs", str(pid))

    def pids(self) -> list[int]:
        found: set[int] = set()
        for directory in self.directories():
            found.update(int(line) for line in _read(f"{directory}/cgroup.procs").split())
        return sorted(found - {0})

    def freeze(self, frozen: bool) -> None:
        """Stop or continue every member; returns when the kernel says that it is so."""
        if self._version == 2:
            file, word, state = f"{ROOT}{self.path}/cgroup.freeze", str(int(frozen)), f"frozen {int(frozen)}"
            _write(file, word)
            _until(lambda: state in _read(f"{ROOT}{self.path}/cgroup.events"))
        elif self._version == 1:
            file, word = f"{ROOT}/freezer{self.path}/freezer.state", "FROZEN" if frozen else "THAWED"
            _write(file, word)
            _until(lambda: _read(file).strip() == word)

    def is_frozen(self) -> bool:
        """Whether `freeze` has stopped it, or is about to."""
        if self._version == 2:
            return _read(f"{ROOT}{self.path}/cgroup.freeze").strip() == "1"
        return self._version == 1 and _read(f"{ROOT}/freezer{self.path}/freezer.state").startswith("FR")

    def change(self, resources: Mapping[str, Any]) -> None:
        """Other limits for a cgroup that is there. A limit of memory may wait for that of memory and swap."""
        try:
            self._limit(resources)
        except SandboxError:
            swap = {"memory": {k: v for k, v in resources.get("memory", {}).items() if k == "swap"}}
            self._limit(swap)
            self._limit(resources)

    def oom_killed(self) -> bool:
        """Whether the kernel has killed a member for want of memory."""
        events = f"{ROOT}{self.path}/memory.events" if self._version == 2 else \
            f"{ROOT}/memory{self.path}/memory.oom_control"  # fmt: skip
        rows = (line.split() for line in _read(events).splitlines())
        return any(name == "oom_kill" and count != "0" for name, count in rows)

    def kill(self) -> None:
        """SIGKILL to every member."""
        from signal import SIGKILL  # whoever only looks need not wait for it

        for pid in self.pids():
            try:
                os.kill(pid, SIGKILL)
            except ProcessLookupError:
                continue

    def remove(self) -> None:
        """End the members and remove the cgroup; it need not exist."""
        for directory in self._everywhere():
            _remove(directory, self.kill)
            _prune(os.path.dirname(directory))

    def _everywhere(self) -> list[str]:
        """Also the hierarchies without a limit of ours: an OCI runtime makes its cgroup in each."""
        if self._version != 1:
            return self.directories()
        return [f"{ROOT}/{name}{self.path}" for name in sorted(os.listdir(ROOT))]

    def _limit(self, resources: Mapping[str, Any]) -> None:
        rows = settings_v2(resources) if self._version == 2 else settings_v1(resources)
        for controller, file, text in rows:
            directory = f"{ROOT}/{controller}{self.path}" if controller else ROOT + self.path
            try:
                _write(f"{directory}/{file}", text)
            except FileNotFoundError as error:
                if file.endswith(("memsw.limit_in_bytes", "swap.max")):  # a kernel without swap accounting
                    continue
                raise SandboxError(f"cannot set {file}: this machine has no such control") from error
            except OSError as error:
                raise SandboxError(f"cannot set {file} to {text}: {error.strerror}") from error


def _is_mounted(name: str) -> bool:
    """Controllers that are mounted together have links to one directory."""
    return os.path.ismount(os.path.realpath(f"{ROOT}/{name}"))


def _device(row: Mapping[str, Any]) -> Setting:
    kind = row.get("type", "a")
    numbers = f" {row.get('major', '*')}:{row.get('minor', '*')} {row['access']}"
    return Setting(
        "devices",
        "devices.allow" if row["allow"] else "devices.deny",
        kind + (numbers if kind != "a" else ""),
    )


def _make_again(directory: str) -> None:
    for _ in range(100):
        try:
            return _make(directory)
        except FileNotFoundError:  # another container was the parent's last member and has just removed it
            continue
    raise SandboxError(f"cannot create the cgroup {directory}")


def _prune(directory: str) -> None:
    """Remove the parents that only containers needed, while they are empty."""
    hierarchy = directory.count("/") <= ROOT.count("/") + 1
    if hierarchy and (directory == ROOT or os.path.ismount(directory)):
        return
    try:
        os.rmdir(directory)
    except OSError:
        return
    _prune(os.path.dirname(directory))


def _make(directory: str) -> None:
    parent = os.path.dirname(directory)
    if not os.path.isdir(parent):
        _make(parent)
    try:
        os.mkdir(directory, 0o755)
    except FileExistsError:
        return
    except FileNotFoundError:
        raise
    except OSError as error:
        raise SandboxError(f"cannot create the cgroup {directory}: {error.strerror}") from error
    if directory.startswith(f"{ROOT}/cpuset/"):  # version 1 refuses members while these are empty
        for file in ("cpuset.cpus", "cpuset.mems"):
            _write(f"{directory}/{file}", _read(f"{parent}/{file}").strip())
    elif os.path.exists(f"{parent}/cgroup.subtree_control"):
        for name in set(V2) & set(_read(f"{parent}/cgroup.controllers").split()):
            _write(f"{parent}/cgroup.subtree_control", f"+{name}")


def _remove(directory: str, kill: Any) -> None:
    for attempt in range(200):  # the kernel lets go of the members some time after their end
        try:
            os.rmdir(directory)
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            kill()
            time.sleep(0.001 * min(attempt + 1, 20))
        else:
            return
    raise SandboxError(f"cannot remove the cgroup {directory}", hint="a process in it does not end")


def _until(done: Any) -> None:
    for attempt in range(500):
        if done():
            return
        time.sleep(0.001 * min(attempt + 1, 20))
    raise SandboxError("the container's processes do not freeze")


def _delegated() -> bool:
    return os.access(f"{ROOT}/cgroup.subtree_control", os.W_OK)


def _read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read()
    except (FileNotFoundError, OSError):
        return ""


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)
