"""What is measured: what each program does before, what it does in each round, and what is timed of it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmarks.images import inputs as images
from benchmarks.images.programs import Images
from benchmarks.programs import rounds
from benchmarks.programs.commands import spend
from benchmarks.programs.registry import Registry, registry
from benchmarks.programs.rounds import Figures, Workload
from benchmarks.system import Failed, status_field

LISTED = 1_000  # images in the store that is listed
Case = rounds.Case[Images]


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
    spend(case.program.load(archive), timeout=120)  # who needs longer is out
    spend(case.program.images())


def _peak(program: Images, own: float) -> float:
    """MiB of the largest of its processes; a daemon does the work for its client."""
    return max(own, status_field(program.server, "VmHWM")) if program.server else own


def _pulls(program: Images) -> bool:
    return bool(program.pull(""))


def _pushes(program: Images) -> bool:
    return bool(program.push("", ""))


def _lists(program: Images) -> bool:
    return bool(program.load(Path()))


def _mounts(program: Images) -> bool:
    return type(program).mount is not Images.mount


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("pull-debian", "pull of a Debian, 60 MB", ["debian"], _pulls, pull, fresh=True, check=right),
        Workload("pull-nine", "pull of nine layers, 140 MB", ["nine"], _pulls, pull, fresh=True, check=right),
        Workload("pull-many", "pull of 30,000 small files", ["many"], _pulls, pull, fresh=True, check=right),
        Workload("push", "push of nine pulled layers", ["nine"], _pushes, push, prepare=pulled),
        Workload("mount", "mount of the Debian, exec to listing", ["debian"], _mounts, mount, prepare=pulled),
        Workload("images", "list 1,000 images", ["debian"], _lists, listing, prepare=loaded),
    )
}  # fmt: skip
