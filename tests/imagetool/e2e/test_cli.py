"""The command line as such: help, mistakes, statuses, completion, and that nothing is imported that is not used."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from imagetool.cli import COMMANDS, IMAGE, SYSTEM
from tests.support.imagetool import PROGRAM, Cli
from tests.support.oci import Layout

EVERY = [
    *([name] for name in COMMANDS),
    *(["image", name] for name in IMAGE),
    *(["system", name] for name in SYSTEM),
]


@pytest.mark.parametrize("words", EVERY, ids=" ".join)
def test_every_command_has_help(words: list[str]) -> None:
    from click.testing import CliRunner

    from imagetool.cli import program

    done = CliRunner().invoke(program, [*words, "--help"], prog_name="imagetool")
    assert done.exit_code == 0, done.output
    assert "Usage: imagetool " in done.output
    assert done.output.count("\n\n") >= 2  # usage, what it does, options


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["imags"], "unknown command 'imags' (did you mean images?)"),
        (["image", "lss"], "unknown command 'lss' (did you mean ls?)"),
        (["image", "1s"], "unknown command '1s' (did you mean ls?)"),
        (["explore", "x"], "unknown command 'explore' (did you mean image explore?)"),
        (["zzz"], "unknown command 'zzz' (see: imagetool --help)"),
        (["images", "--quite"], "--quiet"),
        (["pull"], "(see: imagetool pull --help)"),
        (["--log-level", "loud", "images"], "'loud'"),
        (["pull", "UPPER"], "a repository is written in lower case: upper"),
        (["pull", "a", "--platform", "linux/arm64", "--all-platforms"], "exclude each other"),
        (["pull", "a", "--platform", "a/b/c/d"], "write OS/ARCH"),
        (["pull", "a", "--max-layer-size", "huge"], "invalid size 'huge'"),
        (["push", "a", "--compression", "lzma"], "unknown compression"),
        (["save", "nix", "-o", "x"], "No such image: nix"),
        (["load", "-i", "nothing"], "cannot read nothing: No such file or directory"),
        (["import", "nothing"], "cannot read nothing: No such file or directory"),
        (["import", "-c", "RUN x", "nothing"], "RUN is not a valid change"),
        (["mount", "--pull", "never", "nix"], "No such image: nix"),
        (["mount", "-o", "upperdir=x", "nix"], "mount option 'upperdir=x' cannot be given"),
        (["mount", "-o", "speed=9", "nix"], "mount option 'speed=9' cannot be given"),
        (["umount"], "name what to unmount"),
        (["umount", "nix"], "'nix' is not mounted (see: imagetool mounts)"),
        (["copy", "ftp://x", "y"], "docker://NAME"),
        (["copy", "oci:", "y"], "names no file"),
        (["login", "--password-stdin", "x.test"], "--password-stdin needs --username"),
        (["login", "x.test"], "standard input is not a terminal"),
        (["login", "-u", "me", "x.test"], "standard input is not a terminal"),
        (["images", "--filter", "dangling=maybe"], "true or false"),
        (["images", "--filter", "until=yesterday"], "invalid time 'yesterday'"),
        (["images", "--format", "{{.ID"], "template"),
        (["tag", "nix", "nox"], "No such image: nix"),
        (["untag", "nix"], "No such image: nix"),
        (["rmi", "nix"], "No such image: nix"),
        (["history", "nix"], "No such image: nix"),
        (["image", "diff", "nix", "nox"], "No such image: nix"),
        (["export", "nix"], "No such image: nix"),
        (["completion", "tcsh"], "'tcsh'"),
        (["--root", "/proc/nothing", "images"], "cannot open the store"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_gets_one_line(cli: Cli, words: list[str], said: str) -> None:
    line = cli.run(*words, code=125).stderr
    assert line.startswith("Error: ")
    assert said in line


def test_of_several_names_the_right_ones_are_done(cli: Cli) -> None:
    cli("pull", "-q", "ubuntu", "debian")
    done = cli.run("rmi", "nix", "ubuntu", "nox", code=125)
    assert done.stderr == "Error: No such image: nix\nError: No such image: nox\n"
    assert cli("images", "--format", "{{.Repository}}") == "debian\n"


def test_quiet_shows_results_only(cli: Cli) -> None:
    done = cli.run("--quiet", "mount", "debian")
    assert (done.stdout.count("\n"), done.stderr) == (1, "")
    done = cli.run("--quiet", "system", "check")
    assert (done.stdout, done.stderr) == ("", "")


def test_a_closed_pipe_and_a_full_disk_are_no_tracebacks(cli: Cli) -> None:
    cli("pull", "-q", "ubuntu")
    reader, writer = os.pipe()
    os.close(reader)
    with subprocess.Popen(
        [*PROGRAM, "images"], stdout=writer, stderr=subprocess.PIPE, env=cli.env
    ) as process:
        os.close(writer)
        assert process.stderr
        assert process.stderr.read() == b""
    assert process.returncode == 141
    with open("/dev/full", "wb") as full:
        done = subprocess.run([*PROGRAM, "images"], stdout=full, stderr=subprocess.PIPE, env=cli.env)
    assert (done.returncode, done.stderr) == (125, b"Error: No space left on device\n")


def test_a_file_that_cannot_be_written_is_named_once(cli: Cli) -> None:
    cli("pull", "-q", "ubuntu")
    missing = "No such file or directory"
    assert (
        cli.error("save", "-o", "no/a.tar", "ubuntu")
        == f"Error: cannot write an archive: no/a.tar: {missing}"
    )
    assert cli.error("copy", "ubuntu", "oci:/proc/x:1") == f"Error: cannot write /proc/x: {missing}"


def test_what_goes_into_a_pipe_that_nobody_reads_ends_like_any_program(cli: Cli) -> None:
    cli("pull", "-q", "ubuntu")
    for words in ("save ubuntu", "export ubuntu", "image explore ubuntu", "inspect ubuntu"):
        reader, writer = os.pipe()
        os.close(reader)
        done = subprocess.run(
            [*PROGRAM, *words.split()], stdout=writer, stderr=subprocess.PIPE, env=cli.env, text=True
        )
        os.close(writer)
        assert (words, done.returncode, done.stderr) == (words, 141, "")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8:strict"])
def test_what_is_no_text_is_shown_all_the_same(cli: Cli, tmp_path: Path, encoding: str) -> None:
    layout = Layout(tmp_path / "oci")
    layout.tag("x", layout.image([{"f": b"x"}], Labels={"half": "a\ud800b", "whole": "é"}))
    cli("copy", "-q", f"oci:{layout.root}:x", "odd")
    words = ["inspect", "-f", "{{json .Config.Labels}} \udcff", "odd"]
    done = subprocess.run(
        [*PROGRAM, *map(os.fsencode, words)],
        capture_output=True,
        env=cli.env | {"PYTHONIOENCODING": encoding},
    )
    assert done.stderr == b""
    assert done.stdout == '{"half":"a\ufffdb","whole":"é"} '.encode() + b"\xff\n"


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("words", ["images", "info"])
def test_a_stream_may_be_closed(cli: Cli, words: str, closed: str) -> None:
    line = f"exec {shlex.join(PROGRAM)} {words} {closed}"
    done = subprocess.run(["sh", "-c", line], env=cli.env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_archive_does_not_go_to_a_terminal(cli: Cli) -> None:
    cli("pull", "-q", "ubuntu")
    assert "not written to a terminal" in cli.terminal("save", "ubuntu")
    assert "not read from a terminal" in cli.terminal("load")


def test_a_pull_on_a_terminal_draws_its_layers(cli: Cli) -> None:
    shown = cli.terminal("pull", "ubuntu")
    assert "Pull complete" in shown
    assert "\x1b[" in shown
    assert "Status: Downloaded newer image for ubuntu:latest" in shown


def test_a_list_imports_only_what_it_needs(cli: Cli) -> None:
    """A start that takes moments: what costs tens of milliseconds is for those who ask for it."""
    imported = cli.imports("images")
    assert "imagetool.cli" in imported
    assert not imported & {
        "trio", "ssl", "rich", "httpcore2", "asyncio", "dataclasses", "zstandard", "ctypes", "logging", "ast",
        "platform",
    }  # fmt: skip


def test_json_of_version_and_info(cli: Cli) -> None:
    import imagetool

    assert json.loads(cli("version", "--format", "json"))["Version"] == imagetool.__version__
    assert cli("--version") == f"imagetool version {imagetool.__version__}\n"
    found = json.loads(cli("info", "--format", "json"))
    assert found["DockerRootDir"] == str(cli.root)
    assert found["Images"] == 0
    assert f"Root Dir: {cli.root}" in cli("info")


# --- completion


def test_bash_completes_commands_options_and_images(cli: Cli) -> None:
    cli("pull", "-q", "ubuntu")

    def complete(*words: str) -> set[str]:
        out = cli("x", _IMAGETOOL_COMPLETE="bash_complete", COMP_WORDS=" ".join(["imagetool", *words]),
                  COMP_CWORD=str(len(words)))  # fmt: skip
        return {line.partition(",")[2] for line in out.splitlines()}

    assert {"images", "image", "import"} <= complete("im")
    assert "--digests" in complete("images", "--di")
    assert complete("rmi", "ub") == {"ubuntu:latest"}
    assert complete("run", "--rm", "-p", "80:80", "ub") == {"ubuntu:latest"}
    assert complete("run", "ubuntu", "ub") == {""}
    assert complete("umount", "ub") == complete("copy", "ub") == {"ubuntu:latest"}
    cli("create", "--name", "ubiquitous", "ubuntu", "sh")
    assert complete("rm", "ub") == complete("exec", "-it", "ub") == {"ubiquitous"}
    assert complete("inspect", "ub") == {"ubiquitous", "ubuntu:latest"}


TYPED = """
source "$1"
typed() {
    COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
    _imagetool_completion imagetool 2>/dev/null
    echo "${COMPREPLY[*]}"
}
typed imagetool rmi ""
typed imagetool rmi ubuntu ":"
typed imagetool rmi ubuntu : n
typed imagetool rmi ubuntu:n
typed imagetool rmi ubuntu : new r.example : 5000/ # what bash makes of names that a person types
typed imagetool image explore --ht
COMP_WORDBREAKS=${COMP_WORDBREAKS//:}
typed imagetool rmi ubuntu:n
"""


def test_bash_completes_what_comes_after_a_colon(cli: Cli, tmp_path: Path) -> None:
    cli("pull", "-q", "ubuntu")
    cli("tag", "ubuntu", "ubuntu:new")
    cli("tag", "ubuntu", "r.example:5000/x/y")
    (tmp_path / "script").write_text(cli("completion", "bash"))
    path = {"PATH": f"{Path(sys.executable).parent}:{cli.env['PATH']}"}
    done = subprocess.run(
        ["bash", "--norc", "-c", TYPED, "bash", tmp_path / "script"],
        capture_output=True, text=True, check=True, env=cli.env | path, timeout=60,
    )  # fmt: skip
    assert done.stdout.splitlines() == [
        "r.example:5000/x/y:latest ubuntu:latest ubuntu:new",
        "latest new",
        "new",
        "new",
        "5000/x/y:latest",
        "--html",
        "ubuntu:new",
    ]


def test_fish_completes_commands_options_and_images(cli: Cli, tmp_path: Path) -> None:
    cli("pull", "-q", "ubuntu")
    (tmp_path / "script").write_text(cli("completion", "fish"))
    path = {"PATH": f"{Path(sys.executable).parent}:{cli.env['PATH']}"}

    def complete(line: str) -> list[str]:
        done = subprocess.run(
            ["fish", "--no-config", "-c", f"source {tmp_path}/script; complete -C {line!r}"],
            capture_output=True, text=True, check=True, env=cli.env | path, timeout=60,
        )  # fmt: skip
        return done.stdout.splitlines()

    assert complete("imagetool rmi ub") == ["ubuntu:latest"]
    assert complete("imagetool rmi ubuntu:l") == ["ubuntu:latest"]
    assert "images\tList images" in complete("imagetool im")
    assert complete("imagetool image r") == ["rm\tRemove images"]
    assert complete("imagetool images --tr")[0].startswith("--tree\t")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_accept_their_completion(cli: Cli, shell: str, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text(cli("completion", shell))
    assert shutil.which(shell), f"{shell} is not installed: see scripts/setup"
    subprocess.run([shell, "-n", script], check=True, capture_output=True, timeout=20)
    assert "_IMAGETOOL_COMPLETE" in script.read_text()
