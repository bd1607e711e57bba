"""The command line: `python -m benchmarks [WORKLOAD…]`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks import cli
from benchmarks.harness import Measured, measure
from benchmarks.inputs import FULL, QUICK, Inputs
from benchmarks.peers import Peer
from benchmarks.picture import draw
from benchmarks.report import report
from benchmarks.system import machine
from benchmarks.targets import TECHNIQUES
from benchmarks.workloads import WORKLOADS

PEERS = [
    "bare",
    "overlayfs",
    "fuse-overlayfs",
    "unionfs-fuse",
    "unionfs:dir",
    "unionfs:tar",
    "unionfs:dir,top=overlay",
    "unionfs:tar,top=overlay",
    "unionfs:dir,driver=pyfuse3",
]
METACOPY = "overlayfs:metacopy=on"  # the kernel's quickest, where it is not its default


def main() -> int:
    arguments = _parse()
    measured = cli.measured_by_root("mounting the peers", lambda: _measure(arguments))
    if measured is None:
        return 1
    facts, whole = machine(), cli.with_earlier(arguments, WORKLOADS, measured)
    cli.publish(arguments, facts, whole, report(facts, whole))
    if arguments.svg:
        arguments.svg.write_text(draw(whole))
    return cli.status(measured, "unionfs:")


def _measure(arguments: argparse.Namespace) -> list[Measured]:
    inputs = Inputs(QUICK if arguments.quick else FULL)
    return [
        measure(WORKLOADS[name], _peers(arguments, name), inputs, arguments.runs)
        for name in arguments.workloads
    ]


def _parse() -> argparse.Namespace:
    parser = cli.parser("benchmarks", "Measure the union and its peers.", WORKLOADS, 5)
    parser.add_argument(
        "--peers", nargs="+", metavar="PEER", help=f"see benchmarks/peers.py (default: {' '.join(PEERS)})"
    )
    parser.add_argument(
        "--techniques",
        nargs="?",
        const="dir",
        choices=["dir", "tar"],
        help="ours, each technique off in turn",
    )
    parser.add_argument(
        "--quick", action="store_true", help="small inputs and one round: does it work at all?"
    )
    parser.add_argument("--svg", type=Path, help="draw the picture here")
    arguments = cli.parse(parser, WORKLOADS)
    if arguments.quick:
        arguments.runs = 1
    return arguments


def _peers(arguments: argparse.Namespace, workload: str) -> list[Peer]:
    if arguments.peers:
        return [Peer(name) for name in arguments.peers]
    if arguments.techniques:
        return [Peer(",".join([f"unionfs:{arguments.techniques}", *off])) for off in TECHNIQUES.values()]
    return [Peer(name) for name in PEERS + [METACOPY] * (workload == "chmod")]


if __name__ == "__main__":
    sys.exit(main())
