"""Who is measured: each peer mounts the same stack its own way, and is named as on the command line.

bare                        the lower directory itself, or a copy of it on the tmpfs where the workload writes
overlayfs[:OPTIONS]         the kernel's
fuse-overlayfs[:OPTIONS]    Debian's
unionfs-fuse[:OPTIONS]      Debian's
unionfs:dir[,OPTIONS]       ours, over the directory
unionfs:tar[,OPTIONS]       ours, over the tar; top=overlay puts the kernel's overlayfs on top
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks.inputs import Layer
from benchmarks.system import Failed, mounted, run, unmount, wait_until_gone, watchdog


class Place(NamedTuple):
    """Where one mount happens: fresh directories on a tmpfs."""

    target: Path
    upper: Path
    work: Path
    empty: Path
    log: Path


class Mount(NamedTuple):
    path: Path
    pid: int | None  # of the process that serves it, None if the kernel does


class Peer:
    """The name of a peer, taken apart."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.kind, _, rest = name.partition(":")
        known = {"bare", "overlayfs", "fuse-overlayfs", "unionfs-fuse", "unionfs"}
        self.options = [option for option in rest.split(",") if option]
        self.form = self.options.pop(0) if self.kind == "unionfs" and self.options else "dir"
        if self.kind not in known or self.form not in {"dir", "tar"}:
            raise Failed(
                f"no such peer: {name} (known: {', '.join(sorted(known))}, unionfs:dir, unionfs:tar)"
            )

    @property
    def ours(self) -> bool:
        return self.kind == "unionfs"

    @property
    def in_user_space(self) -> bool:
        return self.kind not in {"bare", "overlayfs"}

    def can_mount(self, layers: Sequence[Layer]) -> bool:
        return all((layer.tar if self.form == "tar" else layer.directory) is not None for layer in layers)

    def command(
        self, layers: Sequence[Layer], place: Place, *, writable: bool, foreground: bool
    ) -> list[str]:
        """What to execute in order to mount `layers`, top first."""
        lowers = [str(layer.tar if self.form == "tar" else layer.directory) for layer in layers]
        top = [f"upperdir={place.upper}", f"workdir={place.work}"] if writable else []
        target, flag = str(place.target), ["-f"] if foreground else []
        match self.kind:
            case "overlayfs":
                # The kernel wants two layers where there is no top.
                lowers += [] if writable or len(lowers) > 1 else [str(place.empty)]
                options = [f"lowerdir={':'.join(lowers)}", *top, *self.options]
                return ["mount", "-t", "overlay", "overlay", "-o", ",".join(options), target]
            case "unionfs-fuse":
                branches = [f"{place.upper}=RW"] * writable + [f"{lower}=RO" for lower in lowers]
                return ["unionfs-fuse", *flag, "-o", ",".join(["cow,hide_meta_files", *self.options]),
                        ":".join(branches), target]  # fmt: skip
            case _:
                program = "fuse-overlayfs" if self.kind == "fuse-overlayfs" else our_program()
                options = [f"lowerdir={':'.join(lowers)}", *top, *self.options]
                return [program, *flag, "-o", ",".join(options), target]

    @contextmanager
    def mount(
        self, layers: Sequence[Layer], place: Place, *, writable: bool, limit: float
    ) -> Iterator[Mount]:
        """The stack, mounted; unmounted and its process gone at the end, after `limit` seconds at most."""
        if self.kind == "bare":
            yield Mount(_bare(layers, place, writable=writable), None)
            return
        process = None
        try:
            with watchdog(place.target, limit):
                argv = self.command(layers, place, writable=writable, foreground=True)
                if self.in_user_space:
                    process = _serve(argv, place)
                else:
                    run(argv)
                yield Mount(place.target, process.pid if process else None)
        finally:
            unmount(place.target)
            if process is not None:
                _end(process)


def our_program() -> str:
    """What is installed beside this interpreter: Debian's unionfs-fuse calls itself unionfs, too."""
    return str(Path(sys.prefix) / "bin/unionfs")


def _bare(layers: Sequence[Layer], place: Place, *, writable: bool) -> Path:
    directory = layers[0].directory
    if directory is None:
        raise Failed("a bare directory needs a layer that is one")
    if writable:
        run(["cp", "-a", f"{directory}/.", place.upper], timeout=600)
    return place.upper if writable else directory


def _serve(argv: list[str], place: Place) -> subprocess.Popen[bytes]:
    with place.log.open("wb") as log:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    end = time.monotonic() + 60
    while not mounted(place.target):
        if process.poll() is not None or time.monotonic() > end:
            process.kill()
            process.wait()
            said = place.log.read_text(errors="replace").strip().splitlines() or ["it said nothing"]
            raise Failed(f"{argv[0]} did not mount: {said[-1]}")
        time.sleep(0.001)
    os.statvfs(place.target)  # it may be mounted before it answers, and its start is not to be measured
    return process


def _end(process: subprocess.Popen[bytes]) -> None:
    """A server ends by itself once its mount is gone; it is killed if not."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(10)
        return
    process.kill()
    process.wait()
    wait_until_gone(process.pid)
