"""What the documents name exists: tests, behaviours, options, files and benchmark rows; and every deviation is told."""

from __future__ import annotations

import re
from fnmatch import filter as filter_names
from fnmatch import fnmatch
from pathlib import Path

import pytest

import tests.conformance.behaviours  # noqa: F401 -- fills the table
from benchmarks.targets import TECHNIQUES
from benchmarks.workloads import WORKLOADS
from tests.conformance.deviations import DEVIATIONS
from tests.conformance.kit import TABLE
from unionfs import __version__, cli, options
from unionfs.fuse.options import ServerOptions

PROJECT = Path(__file__).parents[2]
DOCUMENTS = (
    "README.md",
    "ARCHITECTURE.md",
    "SEMANTICS.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
)
OURS = ("kernel-", "pyfuse3-")  # how our targets' names begin


def text(name: str) -> str:
    return (PROJECT / name).read_text()


def claims(section: str = "") -> list[str]:
    """The list items of SEMANTICS.md, or of a section of it: one a deviation."""
    return re.findall(r"^- (.*?)(?=\n- |\n\n|\Z)", section or text("SEMANTICS.md"), re.S | re.M)


def shown_by(claim: str) -> list[str]:
    return re.findall(r"`([^`]+)`", claim.partition("Shown by")[2])


def test_names() -> set[str]:
    found = (
        re.findall(r"^def (test_\w+)", path.read_text(), re.M) for path in PROJECT.glob("tests/**/test_*.py")
    )
    return {name for names in found for name in names}


test_names.__test__ = False  # type: ignore[attr-defined]


def test_every_claim_of_semantics_is_shown_by_what_exists() -> None:
    known = test_names()
    assert len(claims()) > 30
    for claim in claims():
        assert shown_by(claim), f"nothing shows: {claim}"
        for name in shown_by(claim):
            assert name in known or filter_names(TABLE, name), f"there is no test and no behaviour {name}"


def test_every_deviation_of_our_drivers_is_in_semantics() -> None:
    told = {
        name for claim in claims() for pattern in shown_by(claim) for name in filter_names(TABLE, pattern)
    }
    for row in DEVIATIONS:
        if any(target.startswith(OURS) for target in row.targets.split()):
            differ = {name for pattern in row.behaviours.split() for name in filter_names(TABLE, pattern)}
            assert differ <= told, f"SEMANTICS.md does not tell of {sorted(differ - told)}: {row.why}"


def test_overlayfs_differs_where_semantics_says_so() -> None:
    section = re.search(r"^## Where kernel overlayfs.*?(?=^## )", text("SEMANTICS.md"), re.S | re.M)
    assert section
    for claim in claims(section[0]):
        for name in filter(TABLE.__contains__, shown_by(claim)):
            rows = [
                row for row in DEVIATIONS if any(filter_names([name], one) for one in row.behaviours.split())
            ]
            targets = {target for row in rows for target in row.targets.split()}
            assert targets, f"{name} is the same everywhere"
            assert all(fnmatch(target, "*overlay*") for target in targets), f"{name} differs on {targets}"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_linked_and_named_files_exist(name: str) -> None:
    place = (PROJECT / name).parent
    linked = re.findall(r"\]\((?!https?:)([^)#]+)\)", text(name))
    named = re.findall(
        r"`((?:\./)?(?:unionfs|imagetool|tests|scripts|benchmarks|\.ci)/[\w./-]*)`", text(name)
    )
    started = re.findall(r"^(?:sudo )?(\./scripts/\S+)", text(name), re.M)
    missing = [path for path in linked if not (place / path).exists()]
    missing += [path for path in named + started if not (PROJECT / path).exists()]
    assert missing == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_options_exist(name: str) -> None:
    words = re.findall(r"`(\w+=[\w|.]*)`", text(name))
    words += [
        word for o in re.findall(r" -o (\w+=\S+)", text(name)) for word in options.split(o.strip("`"), ",")
    ]
    unknown = [word for word in words if not options.is_known(word) and word != "lowerdir="]
    assert unknown == []


def test_help_names_every_option_with_a_value() -> None:
    """But for those that only mount helpers and other programs write."""
    silent = {"fscontext", "defcontext", "rootcontext", "lowerdir+"}
    names = {name for name in options._VALUES if not re.search(rf"\b{re.escape(name)}=?", cli.USAGE)}
    assert names - silent == set()


def test_techniques_have_a_switch_and_a_row() -> None:
    rows = re.findall(r"^\| (\d) \| .*? \| (.*?) \| (.*?) \|$", text("ARCHITECTURE.md"), re.M)
    assert [int(number) for number, _, _ in rows] == list(range(1, 10))
    measured = {word.partition("=")[0] for words in TECHNIQUES.values() for word in words}
    for _, switch, workloads in rows:
        for word in re.findall(r"`([^`]+)`", switch):
            name = word.removeprefix("ServerOptions.").partition("=")[0]
            assert name in ServerOptions._fields if "." in word else options.is_known(word), word
            assert name in measured, f"no row of the benchmarks switches {name}"
        assert set(re.findall(r"`([^`]+)`", workloads)) <= set(WORKLOADS)


def test_the_changelog_has_this_version() -> None:
    assert re.search(rf"^## \[({re.escape(__version__)}|Unreleased)\]", text("CHANGELOG.md"), re.M)
