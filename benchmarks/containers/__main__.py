"""The command line: `python -m benchmarks.containers [WORKLOAD…]`."""

from __future__ import annotations

import sys

from benchmarks.containers.inputs import layout
from benchmarks.containers.processes import move_apart
from benchmarks.containers.programs import PROGRAMS
from benchmarks.containers.targets import PACKAGES, TARGETS
from benchmarks.containers.workloads import WORKLOADS
from benchmarks.programs.main import Comparison

COMPARISON = Comparison(
    "benchmarks.containers",
    "Measure imagetool and its peers with containers and builds.",
    WORKLOADS,
    PROGRAMS,
    TARGETS,
    PACKAGES,
    layout,
    runs=5,
    before=move_apart,
)

if __name__ == "__main__":
    sys.exit(COMPARISON.main())
