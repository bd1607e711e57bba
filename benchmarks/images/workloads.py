"""What is measured: what each program does before, what it does in each round, and what is timed of it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from benchmarks.images import inputs as images
from benchmarks.images.inputs import Registry, registry
from benchmarks.images.programs import Program, spend
from benchmarks.inputs import Inputs
from benchmarks.system import Failed, mounted, status_field, unmount

Figures = dict[str, float]
LISTED = 1_000  # images in the store that is listed


class Case(NamedTuple):
    """One program at one workload. `name` is the image in the registry; `folder` is empty before."""

    program: Program
    image: str
    name: str
    inputs: Inputs
    folder: Path


class Workload(NamedTuple):
    """`prepare` is done once, or, if `fresh`, before each round with an empty store; `once` gives figures.

    `check` looks at the result, outside of all times; it gives what is wrong with it.
    """

    name: str
    title: str
    image: str
    can: Callable[[Program], bool]
    once: Callable[[Case], Figures]
    prepare: Callable[[Case], None] = lambda case: None
    fresh: bool = False
    check: Callable[[Case], str] = lambda case: ""


def pull(case: Case) -> Figures:
    os.sync()
    used = spend(case.program.pull(case.name))
    return {"ms": used.seconds * 1000, "peak MiB": _peak(case.program, used.peak)}


def right(case: Case) -> str:
    """Whether the files of what was pulled are all there."""
    with _files(case) as place:
        if place is None:
            return ""
        found = sum(len(folders) + len(files) for _, folders, files in os.walk(place))
    expected = images.entries(case.image, case.inputs)
    return "" if found == expected else f"{found} names, not {expected}"


@contextmanager
def _files(case: Case) -> Iterator[Path | None]:
    unpacked = case.program.home / "bundle/rootfs"
    if unpacked.exists():
        yield unpacked
        return
    target = case.folder / "files"
    commands = case.program.mount(case.name, target)
    if not commands:
        yield None
        return
    place = case.program.mounted_at(spend(commands).said, target)
    try:
        yield place
    finally:
        spend(case.program.unmount(case.name, target))


def pulled(case: Case) -> None:
    spend(case.program.pull(case.name))


def push(case: Case) -> Figures:
    """To an empty registry, and once more when all is there."""
    program = case.program
    with registry(case.folder / "registry") as other:
        new = f"{other.host}/benchmark/{case.image}:1"
        spend(program.rename(case.name, new))
        os.sync()
        first = spend(program.push(case.name, new))
        again = [spend(program.push(case.name, new)) for _ in range(3)]
        _require(other, case.image)
    peak = _peak(program, max(first.peak, *(used.peak for used in again)))
    seconds = sorted(used.seconds for used in again)[1]
    return {"empty ms": first.seconds * 1000, "again ms": seconds * 1000, "peak MiB": peak}


def _require(other: Registry, image: str) -> None:
    argv = ["skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{other.host}/benchmark/{image}:1"]
    if subprocess.run(argv, stdout=subprocess.DEVNULL, check=False).returncode:
        raise Failed("what was pushed is not in the registry")


def mount(case: Case) -> Figures:
    """From exec to a directory that was listed."""
    target = case.folder / "mount"
    commands = case.program.mount(case.name, target)
    used = spend(commands)
    try:
        if len(os.listdir(case.program.mounted_at(used.said, target))) < 2:
            raise Failed("the mounted image has no files")
        return {"ms": used.seconds * 1000}
    finally:
        spend(case.program.unmount(case.name, target))
        with suppress(FileNotFoundError):
            target.rmdir()


def listing(case: Case) -> Figures:
    used = spend(case.program.images())
    if used.said.count("benchmark/") < LISTED:
        raise Failed(f"not {LISTED} images are listed")
    return {"ms": used.seconds * 1000}


def loaded(case: Case) -> None:
    archive = images.archive_of_many(LISTED)
    spend(case.program.load(archive), timeout=900)
    spend(case.program.images())


def _peak(program: Program, own: float) -> float:
    """MiB of the largest of its processes; a daemon does the work for its client."""
    return max(own, status_field(program.server, "VmHWM")) if program.server else own


def clear(folder: Path) -> None:
    """Nothing is mounted below it, and it is gone: overlay mounts of stores outlive their programs."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines()[::-1]:
        place = Path(line.split()[4])
        if place.is_relative_to(folder) and mounted(place):
            unmount(place)
    shutil.rmtree(folder, ignore_errors=True)


def _pulls(program: Program) -> bool:
    return bool(program.pull(""))


def _pushes(program: Program) -> bool:
    return bool(program.push("", ""))


def _lists(program: Program) -> bool:
    return bool(program.load(Path()))


def _mounts(program: Program) -> bool:
    return type(program).mount is not Program.mount


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("pull-debian", "pull of a Debian, 60 MB", "debian", _pulls, pull, fresh=True, check=right),
        Workload("pull-nine", "pull of nine layers, 140 MB", "nine", _pulls, pull, fresh=True, check=right),
        Workload("pull-many", "pull of 30,000 small files", "many", _pulls, pull, fresh=True, check=right),
        Workload("push", "push of nine pulled layers", "nine", _pushes, push, prepare=pulled),
        Workload("mount", "mount of the Debian, exec to listing", "debian", _mounts, mount, prepare=pulled),
        Workload("images", "list 1,000 images", "debian", _lists, listing, prepare=loaded),
    )
}  # fmt: skip
