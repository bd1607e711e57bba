"""The command line of a comparison: programs, workloads, a registry for as long as it lasts, the tables."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from benchmarks import cli
from benchmarks.harness import Measured
from benchmarks.inputs import FULL, Inputs
from benchmarks.programs.commands import Program
from benchmarks.programs.registry import registry
from benchmarks.programs.report import OURS, Target, machine, report
from benchmarks.programs.rounds import Workload, clear, measure

P = TypeVar("P", bound=Program)


class Comparison(NamedTuple, Generic[P]):
    """`layout` makes the OCI layout that has the images of the workloads as its tags; `before` comes first."""

    module: str
    description: str
    workloads: Mapping[str, Workload[P]]
    programs: Mapping[str, type[P]]
    targets: Sequence[Target]
    packages: Sequence[str]
    layout: Callable[[Inputs], Path]
    runs: int
    before: Callable[[], None] = lambda: None

    def main(self) -> int:
        arguments = self._parse()
        measured = cli.measured_by_root("the programs that are compared", lambda: self._measure(arguments))
        if measured is None:
            return 1
        facts, whole = machine(self.packages), cli.with_earlier(arguments, self.workloads, measured)
        cli.publish(arguments, facts, whole, report(facts, whole, self.targets, arguments.runs))
        return cli.status(measured, OURS)

    def _parse(self) -> argparse.Namespace:
        parser = cli.parser(self.module, self.description, self.workloads, self.runs)
        installed = [name for name, kind in self.programs.items() if kind.installed()]
        parser.add_argument(
            "--programs", nargs="+", choices=self.programs, default=installed, metavar="PROGRAM",
            help=f"of {', '.join(self.programs)} (default: those that are installed)",
        )  # fmt: skip
        return cli.parse(parser, self.workloads)

    def _measure(self, arguments: argparse.Namespace) -> list[Measured]:
        self.before()
        home, inputs, measured = Path(tempfile.mkdtemp(prefix="bench.", dir="/var/tmp")), Inputs(FULL), []
        try:
            with registry(home / "registry") as source:
                for workload in (self.workloads[name] for name in arguments.workloads):
                    names = {image: source.fill(self.layout(inputs), image) for image in workload.images}
                    programs = [self.programs[name] for name in arguments.programs]
                    measured.append(measure(workload, programs, names, home, inputs, arguments.runs))
        finally:
            clear(home)
        return measured
