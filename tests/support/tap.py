"""Runs test scripts that speak the Test Anything Protocol, several at a time, and sums up."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

LIMIT = 600  # seconds for one script: the longest takes about ten


class Outcome(NamedTuple):
    name: str
    passed: int
    failures: list[str]  # the lines of the tests that failed, and what else went wrong


def run_all(scripts: Path, folder: Path, jobs: int, chosen: Sequence[str] = ()) -> int:
    """Runs every *.t below `scripts` in `folder`; prints failures and counts; 0 if nothing failed."""
    paths = sorted(path for path in scripts.rglob("*.t") if _is_chosen(str(path), chosen))
    with ThreadPoolExecutor(jobs) as pool:
        outcomes = list(pool.map(lambda path: _run(path, scripts, folder), paths))
    for outcome in outcomes:
        for line in outcome.failures:
            print(f"{outcome.name}: {line}")
    failed = sum(len(outcome.failures) for outcome in outcomes)
    passed = sum(outcome.passed for outcome in outcomes)
    print(f"{passed} passed, {failed} failed, in {len(outcomes)} files")
    return 1 if failed or not passed else 0


def _is_chosen(path: str, chosen: Sequence[str]) -> bool:
    return not chosen or any(part in path for part in chosen)


def _run(path: Path, scripts: Path, folder: Path) -> Outcome:
    name = str(path.relative_to(scripts))
    try:
        done = subprocess.run(
            ["sh", path], cwd=folder, capture_output=True, text=True, errors="replace", timeout=LIMIT
        )
    except subprocess.TimeoutExpired:
        return Outcome(name, 0, [f"no end after {LIMIT} s"])
    return summary(name, done.stdout)


def summary(name: str, text: str) -> Outcome:
    """What the TAP output says. A test marked TODO may fail; one that the plan promised must have run."""
    plan = re.search(r"^1\.\.(\d+)", text, re.MULTILINE)
    seen = re.findall(r"^(?:not )?ok\b.*", text, re.MULTILINE)
    failures = [line for line in seen if line.startswith("not") and "# TODO" not in line]
    if not plan or int(plan[1]) != len(seen):
        failures.append(f"{len(seen)} tests ran of {plan[1] if plan else 'no plan'}")
    return Outcome(name, len(seen) - sum(line.startswith("not") for line in seen), failures)
