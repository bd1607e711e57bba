"""What the comparisons of programs decide without running one: targets, verdicts, tables, the memory of processes."""

from __future__ import annotations

import argparse
import os
import subprocess
from pathlib import Path

import pytest

from benchmarks import cli
from benchmarks.containers import targets as containers
from benchmarks.containers.__main__ import COMPARISON as CONTAINERS
from benchmarks.containers.processes import memory_of, snapshot
from benchmarks.harness import Measured
from benchmarks.images.__main__ import COMPARISON as IMAGES
from benchmarks.inputs import FULL, Inputs
from benchmarks.programs.commands import Program, spend
from benchmarks.programs.main import Comparison
from benchmarks.programs.report import Target, report, verdicts
from benchmarks.programs.rounds import Case, Workload, measure
from benchmarks.report import rounds
from benchmarks.system import Failed

README = (Path(__file__).parents[2] / "benchmarks/README.md").read_text()
SAMPLES = {"ms": {"imagetool": [7.0, 9.0, 8.0], "podman": [10.0, 12.0, 11.0], "ctr": [20.0]}}


def one(workload: str = "run") -> Measured:
    return Measured(workload, "a title", "", SAMPLES)


@pytest.mark.parametrize("comparison", [IMAGES, CONTAINERS], ids=["images", "containers"])
def test_targets_name_workloads_and_programs_that_take_part(comparison: Comparison[Program]) -> None:
    for target in comparison.targets:
        workload = comparison.workloads[target.workload]
        for name in (*target.ours, *(name.partition("/")[0] for name in target.of)):
            program = comparison.programs[name](Path("/nowhere"))
            assert workload.can(program), f"{name} does not do {target.workload}"


def test_the_readme_tells_of_every_workload_of_containers() -> None:
    section = README.partition("## Containers")[2]
    assert [name for name in CONTAINERS.workloads if f"**{name}**" not in section] == []


def test_the_fastest_of_the_others_and_the_median_count() -> None:
    (verdict,) = verdicts([one()], [Target("run", "ms", "", 0.7, ("ctr", "podman", "absent"))])
    assert (verdict.value, verdict.limit, verdict.reached) == (8.0, pytest.approx(7.7), False)


def test_a_figure_may_be_judged_by_another_one_of_its_own() -> None:
    more = Measured("commit", "", "", {"few": {"imagetool": [10.0]}, "many": {"imagetool": [12.0]}})
    (verdict,) = verdicts([more], [Target("commit", "many", "", 1.2, ("imagetool/few",))])
    assert (verdict.limit, verdict.reached) == (12.0, True)


def test_what_was_not_measured_is_not_judged() -> None:
    assert not list(verdicts([one("build")], containers.TARGETS))
    assert not list(verdicts([one()], [Target("run", "ms", "", 1.0, ("docker",))]))


def test_the_rounds_of_each_workload_are_told() -> None:
    made = [
        Measured(name, f"the {name}", "", {"all": {"ours": [1.0] * n}})
        for name, n in (("a", 5), ("b", 9), ("c", 5))
    ]
    assert rounds(made) == "5 rounds (9 of “the b”)"
    assert rounds(made[:1]) == "5 rounds"


def test_the_table_has_ratios_and_who_had_fewer_rounds() -> None:
    text = report({"cpu": "2"}, [one()], [Target("run", "ms", "10 ms", plus=10.0)], 3)
    assert "| a title | ms | 10 ms | 10 | 8 | yes |" in text
    assert "| a title | ms | 8 | 11 (1.4) | 20 (2.5) |" in text
    assert "Fewer rounds: a title, ctr: 1." in text


class Quick(Program):
    name = "quick"


class Slow(Program):
    name = "slow:one"


class Broken(Program):
    name = "broken"


def test_rounds_turn_warm_up_and_go_on_without_who_fails(tmp_path: Path) -> None:
    seen: list[str] = []

    def once(case: Case[Program]) -> dict[str, float]:
        assert case.folder.is_dir()
        assert case.program.home.is_dir()
        assert (case.image, case.name) == ("box", "host/box")
        if case.program.name == "broken":
            raise Failed("no way")
        seen.append(case.program.name)
        return {"ms": float(len(seen))}

    workload: Workload[Program] = Workload("any", "", ["box"], lambda one: True, once, slow=["slow:one"])
    programs = [Quick, Slow, Broken]
    result = measure(workload, programs, {"box": "host/box"}, tmp_path, Inputs(FULL), 3)
    assert seen.count("quick") == 4
    assert result.samples["ms"].keys() == {"quick", "slow:one"}
    assert [len(values) for values in result.samples["ms"].values()] == [3, 1]
    assert result.failed == {"broken": "no way"}
    assert os.listdir(tmp_path) == []


def test_a_command_that_fails_or_hangs_says_so() -> None:
    assert spend([["echo", "said"]]).said == "said\n"
    with pytest.raises(Failed, match="broken pieces"):
        spend([["sh", "-c", "echo broken pieces; exit 3"]])
    with pytest.raises(Failed, match=r"sleep 60: -9"):
        spend([["sleep", "60"]], timeout=0.1)


def test_who_leaves_something_running_is_not_waited_for() -> None:
    used = spend([["sh", "-c", "sleep 60 & echo $!"]], timeout=30)
    os.kill(int(used.said), 9)


def test_memory_is_that_of_the_processes_that_have_come() -> None:
    before = snapshot()
    with subprocess.Popen(["sleep", "60"]) as process:
        try:
            new = snapshot() - before
            used = memory_of([process.pid])
        finally:
            process.kill()
    assert process.pid in new
    assert 0 < used.pss <= used.rss < 20
    assert memory_of([process.pid]) == (0, 0)


def test_a_run_of_some_workloads_is_added_to_the_results(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    arguments = argparse.Namespace(add=True, json=file, table=None, runs=3)
    for name in ("b", "a", "b"):
        whole = cli.with_earlier(arguments, ["a", "b", "c"], [one(name)])
        cli.publish(arguments, {}, whole, "")
    assert whole == [one("a"), one("b")]
    assert cli.with_earlier(argparse.Namespace(add=False, json=file), ["a", "b"], [one("b")]) == [one("b")]
