"""What is timed: actions on a mount, each in a process of its own (`python -m benchmarks.actions NAME ARGS`).

So a mount that hangs can be given up. An action times only the part that counts, in milliseconds, and then
states facts about the result. They are compared: a peer whose facts differ was fast at something else.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.system import cpu_and_switches

BLOCK = 1 << 20


class Outcome(NamedTuple):
    times: dict[str, float]
    facts: dict[str, Any]


class _Server:
    """The process that serves the mount, and the CPU time it took for what was timed, in ms."""

    pid: int | None = None
    spent = 0.0


def _timed(work: Callable[[], object]) -> float:
    before = cpu_and_switches(_Server.pid)[0] if _Server.pid else 0.0
    start = time.perf_counter_ns()
    work()
    took = (time.perf_counter_ns() - start) / 1e6
    if _Server.pid:
        _Server.spent += cpu_and_switches(_Server.pid)[0] - before
    return took


def _command(*argv: str, out: int = subprocess.DEVNULL, cwd: str | None = None) -> None:
    subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=out, check=True, env=_ENVIRONMENT, cwd=cwd)


_ENVIRONMENT = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C.UTF-8",
    "HOME": "/nonexistent",
    "PYTHONDONTWRITEBYTECODE": "1",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    **{f"GIT_{who}_{what}": value
       for who in ("AUTHOR", "COMMITTER")
       for what, value in (("NAME", "bench"), ("EMAIL", "bench@example.test"), ("DATE", "1700000000 +0000"))},
}  # fmt: skip


def find(mount: str, scratch: str, once: bool = False) -> Outcome:
    """Names and attributes of everything, as `find -printf` with a size asks for them; then once more."""
    times = {}
    listing = Path(scratch) / "listing"
    for state in ("cold", "warm")[: 1 if once else 2]:
        with listing.open("wb") as out:
            times[state] = _timed(lambda: _command("find", mount, "-printf", r"%y %s %P\n", out=out.fileno()))
    # A directory's size is each file system's own affair.
    rows = sorted(
        row[2:] if row[:1] != b"d" else row.split(b" ", 2)[2] for row in listing.read_bytes().splitlines()
    )
    return Outcome(times, {"files": len(rows), "listing": hashlib.sha256(b"\n".join(rows)).hexdigest()[:16]})


def names(mount: str, scratch: str) -> Outcome:
    """Names and types only, as plain `find` asks for them."""
    listing = Path(scratch) / "listing"
    times = {}
    for state in ("cold", "warm"):
        with listing.open("wb") as out:
            times[state] = _timed(lambda: _command("find", mount, out=out.fileno()))
    return Outcome(times, {"files": listing.read_bytes().count(b"\n")})


def read(mount: str) -> Outcome:
    """Every byte of every file, by tar into a pipe (into /dev/null it reads nothing); then once more."""
    sizes = []

    def tar() -> None:
        argv = ["tar", "-C", mount, "--numeric-owner", "--one-file-system", "-cf", "-", "."]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as writer:
            count = subprocess.run(
                ["wc", "-c"], stdin=writer.stdout, capture_output=True, check=True, text=True
            )
        sizes.append(int(count.stdout))

    times = {state: _timed(tar) for state in ("cold", "warm")}
    return Outcome(times, {"bytes": sizes[0], "again": sizes[1], "digest": tree_digest(mount)})


def tree_digest(top: str) -> str:
    """Of names, types, modes, owners, contents and link targets below `top`, and of the files' times."""
    total = hashlib.sha256()
    for home, directories, files in os.walk(os.fsencode(top)):
        directories.sort()
        for name in sorted(directories + files):
            path = os.path.join(home, name)
            facts = os.lstat(path)
            kind = stat.S_IFMT(facts.st_mode)
            row: list[object] = [
                os.path.relpath(path, os.fsencode(top)),
                facts.st_mode,
                facts.st_uid,
                facts.st_gid,
                facts.st_rdev,
            ]
            if kind == stat.S_IFREG:
                with open(path, "rb") as file:
                    row += [facts.st_mtime_ns, facts.st_size, hashlib.file_digest(file, "sha256").digest()]
            elif kind == stat.S_IFLNK:
                row.append(os.readlink(path))
            total.update(repr(row).encode())
    return total.hexdigest()[:16]


MODULES = "json sqlite3 ssl asyncio decimal email.message http.client xml.etree.ElementTree unittest logging"


def python(mount: str) -> Outcome:
    """Start the mount's own Python in a chroot and import ten modules: the mean of five, after one."""
    program = "\n".join(f"import {name}" for name in MODULES.split())
    argv = ["chroot", mount, "/usr/bin/python3", "-c", program]
    _command(*argv)
    times = [_timed(lambda: _command(*argv)) for _ in range(5)]
    said = subprocess.run(
        [*argv[:-1], program + "\nimport sys; print(len(sys.modules))"], capture_output=True, check=True
    )
    return Outcome({"warm": sum(times) / len(times)}, {"modules": int(said.stdout)})


def untar(mount: str, archive: str) -> Outcome:
    target = f"{mount}/srv/untarred"
    os.makedirs(target)
    took = _timed(lambda: _command("tar", "-C", target, "-xf", archive, "--exclude", "./source"))
    return Outcome({"all": took}, {"digest": tree_digest(target)})


def remove(mount: str) -> Outcome:
    took = _timed(lambda: _command("rm", "-rf", f"{mount}/tree"))
    return Outcome(
        {"all": took}, {"left": sorted(os.listdir(mount)), "gone": not os.path.lexists(f"{mount}/tree")}
    )


def write_read(mount: str, size: int) -> Outcome:
    """Write a file in blocks of 1 MiB, close it, read it from its start in blocks of 1 MiB."""
    path, pattern = f"{mount}/written", os.urandom(BLOCK)
    buffer = memoryview(bytearray(BLOCK))

    def write() -> None:
        with open(path, "wb", buffering=0) as file:
            for _ in range(size // BLOCK):
                file.write(pattern)

    def scan() -> None:
        with open(path, "rb", buffering=0) as file:
            while file.readinto(buffer):
                pass

    _take_memory(size + size // 4)
    times = {"write": _timed(write), "read": _timed(scan)}
    times["both"] = times["write"] + times["read"]
    right = os.stat(path).st_size == size
    with open(path, "rb", buffering=0) as file:
        right = right and all(file.read(BLOCK) == pattern for _ in range(size // BLOCK))
    return Outcome(times, {"right": right})


def _take_memory(size: int) -> None:
    """Uses so much memory once: a virtual machine first has to get from its host what it has not used for a while."""
    with mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_POPULATE):
        pass


def sqlite(mount: str) -> Outcome:
    """1,000 commits of one row each, with sqlite's defaults (rollback journal, synchronous=FULL)."""
    path = f"{mount}/numbers.db"
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("create table numbers(n integer primary key, text text)")

    def commit_all() -> None:
        for number in range(1000):
            database.execute("begin")
            database.execute("insert into numbers values(?, ?)", (number, f"row {number}"))
            database.execute("commit")

    took = _timed(commit_all)
    database.close()
    again = sqlite3.connect(path)
    facts = {"rows": again.execute("select count(*), sum(n) from numbers").fetchone(),
             "whole": again.execute("pragma integrity_check").fetchone()}  # fmt: skip
    return Outcome({"all": took}, facts)


def git(mount: str) -> Outcome:
    """A repository of 2,000 files of the lower layer: init, add, commit, status."""
    top = f"{mount}/source"
    steps = {
        "init": ["init", "-q"],
        "add": ["add", "-A"],
        "commit": ["commit", "-q", "-m", "all"],
        "status": ["status"],
    }
    times = {name: _timed(partial(_command, "git", *argv, cwd=top)) for name, argv in steps.items()}
    times["all"] = sum(times.values())

    def say(*argv: str) -> str:
        return subprocess.run(
            ["git", *argv], cwd=top, env=_ENVIRONMENT, capture_output=True, check=True, text=True
        ).stdout

    _command("git", "fsck", "--full", cwd=top)
    return Outcome(
        times, {"commit": say("rev-parse", "HEAD").strip(), "changes": say("status", "--porcelain")}
    )


def chmod(mount: str) -> Outcome:
    path = f"{mount}/big"
    took = _timed(lambda: os.chmod(path, 0o640))
    facts = os.stat(path)
    return Outcome({"all": took}, {"mode": facts.st_mode, "size": facts.st_size, "digest": _digest(path)})


def unlink(mount: str) -> Outcome:
    path = f"{mount}/big"
    took = _timed(lambda: os.unlink(path))
    return Outcome({"all": took}, {"gone": not os.path.lexists(path), "left": sorted(os.listdir(mount))})


def _digest(path: str) -> str:
    with open(path, "rb", buffering=0) as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()[:16]


def stall(mount: str) -> Outcome:
    """The slowest lookup that one process makes while another one's first write copies a large file up.

    Every lookup is for a name that was never asked for, so that none is answered from the kernel's cache.
    """
    path = f"{mount}/big"
    start = time.perf_counter_ns()
    writer = os.fork()
    if not writer:
        with open(path, "r+b", buffering=0) as file:
            file.write(b"changed!")
        os._exit(0)
    waits: list[float] = []
    while os.waitpid(writer, os.WNOHANG)[0] == 0:
        asked = time.perf_counter_ns()
        os.path.lexists(f"{mount}/none-{len(waits)}")
        waits.append((time.perf_counter_ns() - asked) / 1e6)
    took = (time.perf_counter_ns() - start) / 1e6
    times = {"worst": max(waits), "median": sorted(waits)[len(waits) // 2], "copy-up": took}
    return Outcome(times, {"size": os.stat(path).st_size, "digest": _digest(path)})


ACTIONS: dict[str, Callable[..., Outcome]] = {
    action.__name__: action
    for action in (find, names, read, python, untar, remove, write_read, sqlite, git, chmod, unlink, stall)
}

if __name__ == "__main__":
    given = json.loads(sys.argv[2])
    _Server.pid = given.pop("server")
    outcome = ACTIONS[sys.argv[1]](**given)
    if _Server.spent:
        outcome.times["server CPU"] = _Server.spent
    json.dump(outcome._asdict(), sys.stdout)
