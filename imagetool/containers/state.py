"""What became of a container: recorded by its monitor, and judged by whoever reads it.

A recorded "running" is believed only while a process of that id and start time is alive: the monitor may have
been killed, and the machine may have been started anew.
"""

from __future__ import annotations

import json
import os

from imagetool.runtime import leases
from imagetool.store import disk
from unionfs.namedtuple import NamedTuple

FILE = "state.json"
_UNSEEN = "its end was seen by nobody: its monitor had been killed, or the machine stopped"
LOST = 255  # the exit code of a container whose end nobody saw, as Docker has it


class State(NamedTuple):
    """status: "created", "running", "restarting" or "exited". Times are seconds since 1970; 0: not yet."""

    status: str = "created"
    pid: int = 0
    started: str = ""  # start time of `pid` and the boot, see `leases.started`
    started_at: float = 0.0
    finished_at: float = 0.0
    exit_code: int = 0
    error: str = ""
    address: str = ""
    ports: tuple[tuple[str, int, int, str], ...] = ()  # as published: ip, host, container, protocol
    restarts: int = 0
    paused: bool = False
    oom_killed: bool = False  # a process of it, for want of memory

    @property
    def running(self) -> bool:
        return self.status == "running"


def read(directory: str) -> State:
    """As it was recorded; a file that is not whole says as much as none."""
    try:
        with open(f"{directory}/{FILE}", "rb") as file:
            fields = json.load(file)
        return State(**fields | {"ports": tuple((r[0], r[1], r[2], r[3]) for r in fields["ports"])})
    except (FileNotFoundError, ValueError, TypeError, KeyError, IndexError):
        return State()


def seen(directory: str, *, watched: bool) -> State:
    """As it is: one that runs has a process. `watched`: somebody holds the container's lock, as its monitor does."""
    found = read(directory)
    if found.running and not is_alive(found.pid, found.started):
        text = "its end is being recorded" if watched else _UNSEEN
        return found._replace(status="exited", exit_code=LOST, pid=0, address="", ports=(), error=text)
    if found.status == "restarting" and not watched:
        return found._replace(status="exited", pid=0)
    return found


def write(directory: str, state: State) -> None:
    """By rename, so that a reader sees one or the other. It need not outlive a boot: nothing that runs does."""
    with disk.errors("cannot record the container's state"):
        temporary = f"{directory}/{FILE}.{os.getpid()}"
        with open(temporary, "w") as file:
            json.dump(state._asdict(), file)
        os.rename(temporary, f"{directory}/{FILE}")


def settle(directory: str) -> None:
    """Records what is true, for whoever holds the lock and is no monitor: it neither runs nor will."""
    judged = seen(directory, watched=False)
    if judged != read(directory):
        write(directory, judged)


def is_alive(pid: int, started: str) -> bool:
    """Whether that very process is there and has not ended; one that nobody has waited for has."""
    if not pid or leases.started(pid) != started:
        return False
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False
