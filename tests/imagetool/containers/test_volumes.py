"""Volumes as Docker has them: made, listed, looked at, removed; never while a container has them."""

from __future__ import annotations

import json
import os
import re

import pytest

from tests.imagetool.e2e.containers import BOX, FOREVER
from tests.support.imagetool import Cli

pytestmark = pytest.mark.timeout(120)
UNNAMED = re.compile(r"[0-9a-f]{64}")


def test_create_ls_inspect_rm(box: Cli) -> None:
    assert box("volume", "create", "--label", "team=db", "--label", "x", "data") == "data\n"
    assert box("volume", "create", "data") == "data\n"
    unnamed = box("volume", "create").strip()
    assert UNNAMED.fullmatch(unnamed)
    lines = box("volume", "ls").splitlines()
    assert re.split(r"\s{2,}", lines[0]) == ["DRIVER", "VOLUME NAME"]
    assert sorted(line.split()[1] for line in lines[1:]) == sorted([unnamed, "data"])
    assert sorted(box("volume", "ls", "-q").split()) == sorted([unnamed, "data"])
    (found,) = json.loads(box("volume", "inspect", "data"))
    assert found["Labels"] == {"team": "db", "x": ""}
    assert found["Mountpoint"] == str(box.root / "volumes/data")
    assert (found["Driver"], found["Scope"], found["Name"]) == ("local", "local", "data")
    assert box("volume", "inspect", "-f", '{{.Name}} {{index .Labels "team"}}', "data") == "data db\n"
    assert (
        box("volume", "ls", "--format", "{{.Name}} {{.Labels}}", "--filter", "name=dat")
        == "data team=db,x=\n"
    )
    assert box("volume", "rm", "data", unnamed).split() == ["data", unnamed]
    assert os.listdir(box.root / "volumes") == []


def test_filters(box: Cli) -> None:
    box("volume", "create", "--label", "a=1", "--label", "b", "one")
    box("volume", "create", "--label", "a=2", "two")
    box("create", "-v", "two:/t", *BOX, "echo")

    def shown(*filters: str) -> list[str]:
        return box("volume", "ls", "-q", *[w for text in filters for w in ("--filter", text)]).split()

    assert shown("label=a") == ["one", "two"]
    assert shown("label=a=2") == ["two"]
    assert shown("label=a", "label=b") == ["one"]
    assert shown("name=one", "name=two") == ["one", "two"]
    assert shown("name=one", "label=a=2") == []
    assert (shown("dangling=true"), shown("dangling=false")) == (["one"], ["two"])
    assert "invalid filter" in box.error("volume", "ls", "--filter", "color=red")
    assert "invalid filter" in box.error("volume", "ls", "--filter", "dangling=perhaps")


def test_what_a_container_has_is_not_removed(box: Cli) -> None:
    made = box("run", "-d", "-v", "data:/d", *BOX, *FOREVER).strip()
    other = box("create", "-v", "data:/d:ro", *BOX, "echo").strip()
    error = box.error("volume", "rm", "data")
    assert error.startswith("Error: remove data: volume is in use - [")
    assert made in error
    assert other in error
    assert "volume is in use" in box.error("volume", "rm", "-f", "data")
    assert box("volume", "prune", "-a", "-f") == "Total reclaimed space: 0B\n"
    box("rm", "-f", "-v", made, other)
    assert box("volume", "ls", "-q") == "data\n"
    assert box("volume", "rm", "data") == "data\n"


def test_errors_are_docker_s(box: Cli) -> None:
    assert box.error("volume", "rm", "none").startswith("Error: get none: no such volume")
    assert box("volume", "rm", "-f", "none") == "none\n"
    assert "get none: no such volume" in box.run("volume", "inspect", "none", code=125).stderr
    for bad in ("../x", "a/b", ".hidden", "-", "x" * 254):
        assert "invalid volume name" in box.error("volume", "create", "--", bad), bad
    assert "a label needs a name" in box.error("volume", "create", "--label", "=x", "data")
    assert "no such volume" in box.error("volume", "rm", "../containers")


def test_unnamed_volumes_stay_until_they_are_asked_to_go(box: Cli) -> None:
    made = box("create", "-v", "/d", "-v", "named:/n", *BOX, "echo").strip()
    (unnamed,) = (name for name in box("volume", "ls", "-q").split() if name != "named")
    assert UNNAMED.fullmatch(unnamed)
    box("rm", made)
    assert box("volume", "ls", "-q").split() == sorted([unnamed, "named"])
    out = box("volume", "prune", "-f")
    assert out.startswith(f"Deleted Volumes:\n{unnamed}\n\nTotal reclaimed space: ")
    assert box("volume", "ls", "-q") == "named\n"
    made = box("run", "-d", "-v", "/d", "-v", "named:/n", *BOX, "echo").strip()
    box("wait", made)
    box("rm", "-v", made)
    assert box("volume", "ls", "-q") == "named\n"
    box("run", "--rm", "-v", "/d", "-v", "named:/n", *BOX, "echo")
    assert box("volume", "ls", "-q") == "named\n"


def test_system_prune_with_volumes(box: Cli) -> None:
    box("run", "-v", "/d", "-v", "named:/n", *BOX, "sh", "-c", "echo x > /d/f")
    assert "anonymous volumes" in box("system", "prune", "--volumes", text="n\n")
    box("system", "prune", "-f")
    assert len(box("volume", "ls", "-q").split()) == 2
    assert "Deleted Volumes:" in box("system", "prune", "-f", "--volumes")
    assert box("volume", "ls", "-q") == "named\n"


def test_prune_by_label(box: Cli) -> None:
    box("volume", "create", "--label", "keep", "one")
    box("volume", "create", "two")
    assert "two" not in box("volume", "prune", "-a", "-f", "--filter", "label=keep")
    assert box("volume", "ls", "-q") == "two\n"
    assert "This will remove all volumes" in box("volume", "prune", "-a", text="n\n")
    assert box("volume", "ls", "-q") == "two\n"


def test_volumes_from_another_container(box: Cli) -> None:
    box(
        "run",
        "--name",
        "first",
        "-v",
        "/d",
        "-v",
        "named:/n",
        *BOX,
        "sh",
        "-c",
        "echo 1 > /d/f; echo 2 > /n/f",
    )
    look = "cat /d/f /n/f; echo 3 > /d/g"
    assert box("run", "--name", "second", "--volumes-from", "first", *BOX, "sh", "-c", look) == "1\n2\n"
    done = box.run("run", "--rm", "--volumes-from", "first:ro", *BOX, "sh", "-c", look, code=1)
    assert "Read-only file system" in done.stderr
    box("rm", "-v", "first")
    assert box("start", "-a", "second") == "1\n2\n"  # what another one has stays
    assert "No such container" in box.error("run", "--volumes-from", "nobody", *BOX, "echo")
    assert "invalid --volumes-from" in box.error("run", "--volumes-from", "second:rx", *BOX, "echo")
    mine = box("run", "--rm", "--volumes-from", "second", "-v", "/n", *BOX, "ls", "/n")
    assert mine == ""  # what is asked for itself comes first
    box("rm", "second")


def test_df_has_docker_s_rows(box: Cli) -> None:
    box("run", "-d", "-v", "data:/d", *BOX, "sh", "-c", f"echo x > /d/f; echo y > /g; {FOREVER[2]}")
    box("create", *BOX, "echo")
    box("volume", "create", "idle")
    rows = {row["Type"]: row for row in map(json.loads, box("system", "df", "--format", "json").splitlines())}
    assert list(rows)[:4] == ["Images", "Containers", "Local Volumes", "Build Cache"]
    assert (rows["Containers"]["TotalCount"], rows["Containers"]["Active"]) == ("2", "1")
    assert (rows["Local Volumes"]["TotalCount"], rows["Local Volumes"]["Active"]) == ("2", "1")
    assert rows["Build Cache"]["Active"] == "0"
    head = box("system", "df").splitlines()[0]
    assert re.split(r"\s{2,}", head) == ["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"]
    assert re.search(
        r"^VOLUME NAME +LINKS +SIZE\ndata +1 +\S+\nidle +0 +\S+$", box("system", "df", "-v"), re.M
    )
