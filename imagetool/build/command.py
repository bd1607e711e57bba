"""What a RUN executes, as a value."""

from __future__ import annotations

from collections.abc import Mapping

from imagetool.runtime.options import Mount
from unionfs.namedtuple import NamedTuple


class Command(NamedTuple):
    """`network` is "default", "none" or "host"."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    workdir: str = "/"
    user: str = ""
    network: str = "default"
    insecure: bool = False
    mounts: tuple[Mount, ...] = ()
