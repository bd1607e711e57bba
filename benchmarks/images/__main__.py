"""The command line: `python -m benchmarks.images [WORKLOAD…]`."""

from __future__ import annotations

import sys

from benchmarks.images.inputs import layout
from benchmarks.images.programs import PROGRAMS
from benchmarks.images.targets import PACKAGES, TARGETS
from benchmarks.images.workloads import WORKLOADS
from benchmarks.programs.main import Comparison

COMPARISON = Comparison(
    "benchmarks.images",
    "Measure imagetool and its peers with images.",
    WORKLOADS,
    PROGRAMS,
    TARGETS,
    PACKAGES,
    layout,
    runs=3,
)

if __name__ == "__main__":
    sys.exit(COMPARISON.main())
