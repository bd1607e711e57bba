"""What the command lines of all benchmarks have in common: their options, and what becomes of the figures."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.harness import Measured
from benchmarks.system import Failed


def parser(module: str, description: str, workloads: Iterable[str], runs: int) -> argparse.ArgumentParser:
    """Workloads, rounds and files to write; a benchmark adds what is its own."""
    made = argparse.ArgumentParser(prog=f"python -m {module}", description=description)
    made.add_argument(
        "workloads", nargs="*", metavar="WORKLOAD", help=f"of {', '.join(workloads)} (default: all)"
    )
    made.add_argument("--runs", "--rounds", type=int, default=runs, help=f"counted rounds (default: {runs})")
    made.add_argument("--json", type=Path, help="keep every sample here")
    made.add_argument(
        "--add", action="store_true", help="keep what that file has of other workloads, in the tables too"
    )
    made.add_argument("--table", type=Path, help="write the tables here (Markdown)")
    return made


def parse(made: argparse.ArgumentParser, workloads: Iterable[str]) -> argparse.Namespace:
    """What was asked for; without a word, all workloads."""
    arguments, known = made.parse_args(), list(workloads)
    unknown = [name for name in arguments.workloads if name not in known]
    if unknown or arguments.runs < 1:
        made.error(f"no such workload: {unknown[0]}" if unknown else "--runs must be at least 1")
    if arguments.add and arguments.json is None:
        made.error("--add needs --json: the file that is added to")
    arguments.workloads = arguments.workloads or known
    return arguments


def measured_by_root(why: str, measure: Callable[[], list[Measured]]) -> list[Measured] | None:
    """What `measure` gives; None, and it is said, if it cannot. `why` root is needed."""
    if os.geteuid():
        print(f"benchmarks: {why} needs root", file=sys.stderr)
        return None
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what runs and is mounted ends
    try:
        return measure()
    except Failed as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return None


def with_earlier(
    arguments: argparse.Namespace, known: Iterable[str], new: Sequence[Measured]
) -> list[Measured]:
    """With `--add` also what the file has of other workloads: all that are `known`, in that order."""
    found = {one.workload: one for one in new}
    if arguments.add and arguments.json.exists():
        rows = json.loads(arguments.json.read_text())["measured"]
        found = {row["workload"]: Measured(**row) for row in rows} | found
    return [found[name] for name in known if name in found]


def publish(
    arguments: argparse.Namespace, facts: Mapping[str, str], measured: Sequence[Measured], table: str
) -> None:
    print(table)
    if arguments.json:
        record = {"machine": facts, "runs": arguments.runs, "measured": [asdict(one) for one in measured]}
        arguments.json.write_text(json.dumps(record, indent=1) + "\n")
    if arguments.table:
        arguments.table.write_text(table + "\n")


def status(measured: Iterable[Measured], ours: str) -> int:
    """Of the command: 1 if one of ours, by how its name begins, has failed or was wrong."""
    return int(any(name.startswith(ours) for one in measured for name in (*one.failed, *one.wrong)))
