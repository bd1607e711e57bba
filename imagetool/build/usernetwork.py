"""The network of a stage's RUN steps for who may not make links: pasta or slirp4netns, a network in user space.

It ends with the stage, and with the build whatever its end. Without them the steps have a loopback only, and are told.
"""

from __future__ import annotations

from imagetool.build.network import Network
from imagetool.containers import rootless
from imagetool.runtime import usernet
from imagetool.runtime.errors import NetworkError

_ALONE = "RUN has no network but a loopback"


class UserNetwork(Network):
    """The same as `Network` for the user of a namespace."""

    def __init__(self) -> None:
        super().__init__()
        self._link: usernet.UserNet | None = None
        self.servers = (usernet.NAME_SERVER,)

    def prepare(self) -> None:
        """Nothing takes long."""

    def path(self) -> str:
        if not self._thread:
            self._hold()
            self._connect(int(self._path.split("/")[4]))
        return self._path

    def close(self) -> None:
        if self._link:
            self._link.close()
        super().close()

    def _connect(self, tid: int) -> None:
        if not usernet.available():
            self.notes.append(
                f"{_ALONE}: neither pasta nor slirp4netns is installed (or build with --network host)"
            )
            return
        try:
            self._link = usernet.connect(tid)
            self.address = usernet.ADDRESS
        except NetworkError as error:
            self.notes.append(f"{_ALONE}: {error}")


def network_of() -> Network:
    """What this process can give to the steps of a stage."""
    return UserNetwork() if rootless.active() else Network()
