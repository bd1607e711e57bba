"""The command line: `python -m benchmarks.images [WORKLOAD…]`."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path

from benchmarks.harness import Measured
from benchmarks.images.inputs import Registry, layout, registry
from benchmarks.images.programs import PROGRAMS, Program
from benchmarks.images.report import machine, report
from benchmarks.images.workloads import WORKLOADS, Case, Workload, clear
from benchmarks.inputs import FULL, Inputs
from benchmarks.system import Failed


def main() -> int:
    arguments = _parse()
    if os.geteuid():
        print("benchmarks: the programs that are compared need root", file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what runs and is mounted ends
    home = Path(tempfile.mkdtemp(prefix="images-bench.", dir="/var/tmp"))
    try:
        with registry(home / "registry") as source:
            measured = [
                measure(WORKLOADS[name], [PROGRAMS[one] for one in arguments.programs], source, home, arguments.runs)
                for name in arguments.workloads or WORKLOADS
            ]  # fmt: skip
    except Failed as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    finally:
        clear(home)
    return _publish(arguments, measured)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.images", description="Measure imagetool and its peers."
    )
    parser.add_argument(
        "workloads", nargs="*", metavar="WORKLOAD", help=f"of {', '.join(WORKLOADS)} (default: all)"
    )
    parser.add_argument("--programs", nargs="+", choices=PROGRAMS, default=_installed(), metavar="PROGRAM")
    parser.add_argument("--runs", type=int, default=3, help="counted rounds (default: 3)")
    parser.add_argument("--json", type=Path, help="keep every sample here")
    parser.add_argument("--table", type=Path, help="write the tables here (Markdown)")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.workloads if name not in WORKLOADS]
    if unknown or arguments.runs < 1:
        parser.error(f"no such workload: {unknown[0]}" if unknown else "--runs must be at least 1")
    return arguments


def _installed() -> list[str]:
    return [name for name in PROGRAMS if name == "imagetool" or shutil.which(name)]


def measure(
    workload: Workload, programs: Sequence[type[Program]], source: Registry, home: Path, runs: int
) -> Measured:
    """Programs in turn, `runs` rounds, after one that is not counted. A program that fails is out."""
    result = Measured(workload.name, workload.title, "")
    inputs = Inputs(FULL)
    name = source.fill(layout(inputs), workload.image)
    cases = [
        Case(kind(home / kind.name), workload.image, name, inputs, home / "work")
        for kind in programs
        if workload.can(kind(home))
    ]
    with ExitStack() as stack:
        if not workload.fresh:
            for case in cases:
                with _guarded(result, case):
                    stack.enter_context(_ready(workload, case))
        for turn in range(-1, runs):
            offset = max(turn, 0) % max(len(cases), 1)
            for case in cases[offset:] + cases[:offset]:
                if case.program.name not in result.failed:
                    with _guarded(result, case):
                        _round(result, workload, case, turn)
    return result


@contextmanager
def _guarded(result: Measured, case: Case) -> Iterator[None]:
    """A program that fails must not end the whole run."""
    try:
        yield
    except Exception as error:
        result.failed[case.program.name] = str(error) or type(error).__name__
        print(f"{result.workload}: {case.program.name}: {error}", file=sys.stderr)


@contextmanager
def _ready(workload: Workload, case: Case) -> Iterator[None]:
    """An empty store, and what the workload prepares in it."""
    case.program.home.mkdir()
    try:
        with case.program.running():
            workload.prepare(case)
            yield
    finally:
        clear(case.program.home)


def _round(result: Measured, workload: Workload, case: Case, turn: int) -> None:
    with ExitStack() as stack:
        if workload.fresh:
            stack.enter_context(_ready(workload, case))
        case.folder.mkdir()
        stack.callback(clear, case.folder)
        figures = workload.once(case)
        if turn < 0 and (wrong := workload.check(case)):
            result.wrong[case.program.name] = wrong
    if turn >= 0:
        result.add(case.program.name, figures)
    what = "  ".join(f"{value:.0f} {metric}" for metric, value in figures.items())
    print(f"{workload.name} {'warm-up' if turn < 0 else turn}: {case.program.name}: {what}", file=sys.stderr)


def _publish(arguments: argparse.Namespace, measured: list[Measured]) -> int:
    facts = machine()
    table = report(facts, measured, arguments.runs)
    print(table)
    if arguments.json:
        record = {"machine": facts, "runs": arguments.runs, "measured": [asdict(one) for one in measured]}
        arguments.json.write_text(json.dumps(record, indent=1) + "\n")
    if arguments.table:
        arguments.table.write_text(table + "\n")
    return 1 if any("imagetool" in {**one.failed, **one.wrong} for one in measured) else 0


if __name__ == "__main__":
    sys.exit(main())
