"""The command line: `python -m benchmarks [WORKLOAD…]`."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from dataclasses import asdict
from pathlib import Path

from benchmarks.harness import Measured, measure
from benchmarks.inputs import FULL, QUICK, Inputs
from benchmarks.peers import Peer
from benchmarks.picture import draw
from benchmarks.report import report
from benchmarks.system import Failed, machine
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
    if os.geteuid():
        print("benchmarks: mounting the peers needs root", file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what is mounted gets unmounted
    try:
        measured = [
            measure(
                WORKLOADS[name],
                _peers(arguments, name),
                Inputs(QUICK if arguments.quick else FULL),
                arguments.runs,
            )
            for name in arguments.workloads or WORKLOADS
        ]
    except Failed as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    return _publish(arguments, measured)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measure the union and its peers."
    )
    parser.add_argument(
        "workloads", nargs="*", metavar="WORKLOAD", help=f"of {', '.join(WORKLOADS)} (default: all)"
    )
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
    parser.add_argument("--runs", type=int, default=5, help="counted rounds (default: 5)")
    parser.add_argument(
        "--quick", action="store_true", help="small inputs and one round: does it work at all?"
    )
    parser.add_argument("--json", type=Path, help="keep every sample here")
    parser.add_argument("--table", type=Path, help="write the tables here (Markdown)")
    parser.add_argument("--svg", type=Path, help="draw the picture here")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.workloads if name not in WORKLOADS]
    if unknown or arguments.runs < 1:
        parser.error(f"no such workload: {unknown[0]}" if unknown else "--runs must be at least 1")
    if arguments.quick:
        arguments.runs = 1
    return arguments


def _peers(arguments: argparse.Namespace, workload: str) -> list[Peer]:
    if arguments.peers:
        return [Peer(name) for name in arguments.peers]
    if arguments.techniques:
        return [Peer(",".join([f"unionfs:{arguments.techniques}", *off])) for off in TECHNIQUES.values()]
    return [Peer(name) for name in PEERS + [METACOPY] * (workload == "chmod")]


def _publish(arguments: argparse.Namespace, measured: list[Measured]) -> int:
    facts = machine()
    table = report(facts, measured, arguments.runs)
    print(table)
    if arguments.json:
        record = {"machine": facts, "runs": arguments.runs, "measured": [asdict(one) for one in measured]}
        arguments.json.write_text(json.dumps(record, indent=1) + "\n")
    if arguments.table:
        arguments.table.write_text(table + "\n")
    if arguments.svg:
        arguments.svg.write_text(draw(measured))
    ours = [peer for one in measured for peer in (*one.failed, *one.wrong) if peer.startswith("unionfs:")]
    return 1 if ours else 0


if __name__ == "__main__":
    sys.exit(main())
