"""User namespaces: which ids an unprivileged caller may map, and writing the maps.

Ranges come from /etc/subuid and /etc/subgid and are written by newuidmap(1) and newgidmap(1); without them
the caller's own id is the only one there is (user_namespaces(7)).
"""

from __future__ import annotations

import os

from imagetool.runtime import linux
from imagetool.runtime.errors import SandboxError
from unionfs.namedtuple import NamedTuple

Row = tuple[int, int, int]  # inside, outside, size


class Maps(NamedTuple):
    uid: tuple[Row, ...]
    gid: tuple[Row, ...]

    @property
    def single(self) -> bool:
        """Only one id exists inside: no process can change its user, no file has another owner."""
        return sum(row[2] for row in self.uid) == 1


def plan_maps(uid: int, gid: int, name: str, subuid: str, subgid: str, *, helpers: bool) -> Maps:
    """PURE: the caller is root inside; subordinate ranges, if `helpers` can write them, follow from 1 on."""
    users, groups = _ranges(subuid, name, uid), _ranges(subgid, name, uid)
    if not (helpers and users and groups):
        return Maps(((0, uid, 1),), ((0, gid, 1),))
    return Maps(_stacked(uid, users), _stacked(gid, groups))


def available_maps(uid: int, gid: int) -> Maps:
    """The maps for a caller, from the host's files."""
    helpers = all(_which(tool) for tool in ("newuidmap", "newgidmap"))
    return plan_maps(uid, gid, _login(uid), _text("/etc/subuid"), _text("/etc/subgid"), helpers=helpers)


def write_maps(pid: int, maps: Maps) -> None:
    """Map ids for the user namespace of `pid`, which was just made by it; done in the namespace above."""
    if os.geteuid() == 0:
        _write(pid, "uid_map", _lines(maps.uid))
        _write(pid, "gid_map", _lines(maps.gid))
    elif maps.single:
        _write(pid, "setgroups", "deny")  # else an unprivileged gid_map is refused
        _write(pid, "uid_map", _lines(maps.uid))
        _write(pid, "gid_map", _lines(maps.gid))
    else:
        _helper("newuidmap", pid, maps.uid)
        _helper("newgidmap", pid, maps.gid)


def enter(maps: Maps) -> None:
    """Make the calling process root of a new user and mount namespace. It must have one thread only."""
    waiting, ready = os.pipe()
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(ready)
            os.read(waiting, 1)
            write_maps(parent, maps)
            code = 0
        finally:
            os._exit(code)
    os.close(waiting)
    try:
        linux.unshare(linux.CLONE_NEWUSER | linux.CLONE_NEWNS)
    except OSError as error:
        raise SandboxError(
            f"cannot create a user namespace: {error.strerror}",
            hint="see /proc/sys/user/max_user_namespaces and kernel.apparmor_restrict_unprivileged_userns",
        ) from error
    finally:
        os.close(ready)
        _, status = os.waitpid(child, 0)
    if status:
        raise SandboxError("cannot map user ids", hint="check /etc/subuid, /etc/subgid and newuidmap(1)")
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)


def _ranges(text: str, name: str, uid: int) -> list[tuple[int, int]]:
    found = []
    for line in text.splitlines():
        fields = line.strip().split(":")
        if (
            len(fields) == 3
            and fields[0] in (name, str(uid))
            and fields[1].isdecimal()
            and fields[2].isdecimal()
        ):
            found.append((int(fields[1]), int(fields[2])))
    return [row for row in found if row[1]]


def _stacked(own: int, ranges: list[tuple[int, int]]) -> tuple[Row, ...]:
    rows, inside = [(0, own, 1)], 1
    for start, size in ranges:
        rows.append((inside, start, size))
        inside += size
    return tuple(rows)


def _lines(rows: tuple[Row, ...]) -> str:
    return "".join(f"{inside} {outside} {size}\n" for inside, outside, size in rows)


def _write(pid: int, file: str, text: str) -> None:
    with open(f"/proc/{pid}/{file}", "w") as target:
        target.write(text)


def _helper(tool: str, pid: int, rows: tuple[Row, ...]) -> None:
    import subprocess  # only here: root and single-id callers start without it

    words = [str(number) for row in rows for number in row]
    done = subprocess.run([tool, str(pid), *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SandboxError(f"{tool} failed: {done.stderr.strip()}", hint="check /etc/subuid and /etc/subgid")


def _which(tool: str) -> bool:
    return any(os.access(f"{d}/{tool}", os.X_OK) for d in os.environ.get("PATH", os.defpath).split(":"))


def _login(uid: int) -> str:
    import pwd  # the host's own account: here the name service is wanted

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""


def _text(path: str) -> str:
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""
