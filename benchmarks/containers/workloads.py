"""What is measured: what each program does before, what it does in each round, and what is timed of it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count

from benchmarks.containers import inputs
from benchmarks.containers.processes import memory_of, snapshot
from benchmarks.containers.programs import Containers
from benchmarks.programs import rounds
from benchmarks.programs.commands import Argv, spend
from benchmarks.programs.rounds import Figures, Workload

Case = rounds.Case[Containers]
TOPS = ("imagetool:overlay", "imagetool:fuse")
NETWORKS = ("none", "host", "bridge")
SETTLED = 1.0  # seconds until a container's processes do nothing any more
CHANGE = f"echo changed >> {inputs.CHANGED}"
_numbers = count(1)


def pulled(case: Case) -> None:
    for name in case.names.values():
        spend(case.program.pull(name), timeout=120)


def run(case: Case) -> Figures:
    """From exec to exit, in each kind of network."""
    commands = {network: case.program.run(case.name, network) for network in NETWORKS}
    return {f"{network} ms": _ms(argv) for network, argv in commands.items() if argv}


def life(case: Case) -> Figures:
    """With the host's network, which all have: `run -d` ends when the container runs."""
    program, name = case.program, _new_name()
    try:
        detached = _ms(program.detach(case.name, name, "host"))
        executed = _ms(program.execute(name))
        spend(program.stop(name))
        started = _ms(program.start(name))
        spend(program.execute(name))
    finally:
        spend(program.remove(name))
    return {"run -d ms": detached, "exec ms": executed, "start ms": started}


def memory(case: Case) -> Figures:
    """All processes that are there for one container: not the daemons, which serve all of them."""
    name, before = _new_name(), snapshot()
    spend(case.program.detach(case.name, name, "bridge"))
    try:
        time.sleep(SETTLED)
        used = memory_of(snapshot() - before)
    finally:
        spend(case.program.remove(name))
    return {"PSS MiB": used.pss, "RSS MiB": used.rss}


def commit(case: Case) -> Figures:
    """After a change in one file, in an image of few files and in one of many."""
    figures = {}
    for image, title in (("few", "100 files"), ("many", "30,000 files")):
        with _container(case, case.names[image], f"echo changed >> {inputs.CHANGED}") as (name, _):
            os.sync()
            figures[f"{title} ms"] = _ms(case.program.commit(name, f"changed-{image}"))
    return figures


def committed(case: Case) -> str:
    """Whether each new image has the change."""
    said = [_shown(case, f"changed-{image}", f"cat {inputs.CHANGED}") for image in case.names]
    return "" if all(text.endswith("changed") for text in said) else "the change is not in the new image"


def build(case: Case) -> Figures:
    """Cold: no step is taken from a cache, all are put into it; cached: the same once more."""
    figures = {}
    for network in ("own", "host"):
        for cached in (False, True):
            os.sync()
            argv = case.program.build(inputs.stages(), case.name, "built", network, cached=cached)
            figures[f"{'cached' if cached else 'cold'}, {network} network ms"] = _ms(argv)
    return figures


def built(case: Case) -> str:
    sizes = [path.stat().st_size for path in inputs.stages().glob("part00/unit00/*")]
    said = _shown(case, "built", "cat /srv/count")
    return "" if said == f"{sum(sizes)} /srv/all" else f"the image has {said}"


def copy(case: Case) -> Figures:
    os.sync()
    return {"cached ms": _ms(_copied(case))}


def copied(case: Case) -> None:
    pulled(case)
    spend(_copied(case))


def complete(case: Case) -> str:
    said = _shown(case, "copied", "busybox find /srv -type f | wc -l")
    return "" if said == str(inputs.COPIED + 1) else f"the image has {said} files"


def _copied(case: Case) -> list[Argv]:
    return case.program.build(inputs.copy(), case.name, "copied", "own", cached=True)


def _shown(case: Case, image: str, script: str) -> str:
    """What it prints in a container of the image."""
    with _container(case, image, script) as (_, said):
        return said.strip()


@contextmanager
def _container(case: Case, image: str, script: str) -> Iterator[tuple[str, str]]:
    """The name of a container that has carried it out, and what it said."""
    name = _new_name()
    said = spend(case.program.change(image, name, script)).said
    try:
        yield name, said
    finally:
        spend(case.program.remove(name))


def _ms(commands: list[Argv]) -> float:
    return spend(commands, timeout=120).seconds * 1000


def _new_name() -> str:
    """Of a container that was not there before."""
    return f"bench{next(_numbers)}"


def _of(*names: str) -> Callable[[Containers], bool]:
    return lambda program: program.name in names


_RUN = _of("imagetool", "podman", "docker", "ctr")
_HOLD = _of(*TOPS, "podman", "docker", "ctr")
_COMMIT = _of(*TOPS, "buildah", "buildah:fuse")
_BUILD = _of("imagetool", "buildah", "docker")
_BOX, _SIZES = ("busybox",), ("few", "many")

WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("run", "`run --rm busybox true`", _BOX, _RUN, run, pulled),
        Workload("life", "`run -d`, `exec true`, `start`", _BOX, _RUN, life, pulled),
        Workload("memory", "memory of a container that runs", _BOX, _HOLD, memory, pulled, runs=3),
        Workload("commit", "commit after a change in one file", _SIZES, _COMMIT, commit, pulled, check=committed,
                 slow=["buildah:fuse"]),
        Workload("build", "build of six steps in two stages", _BOX, _BUILD, build, pulled, check=built),
        Workload("copy", "COPY of 40,000 files", _BOX, _BUILD, copy, copied, check=complete, runs=3,
                 slow=["buildah"]),
    )
}  # fmt: skip
