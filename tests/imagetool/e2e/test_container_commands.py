"""The commands for containers, as somebody uses them who knows Docker's."""

from __future__ import annotations

import io
import json
import os
import re
import socket
import subprocess
import tarfile
import time
from itertools import count
from pathlib import Path

import pytest

from tests.imagetool.e2e.containers import BOX, FOREVER, column, fetched, processes, traces
from tests.support.imagetool import PROGRAM, Cli
from tests.support.process import wait_until

pytestmark = pytest.mark.timeout(120)


def test_a_container_is_made_without_what_only_its_start_needs(box: Cli) -> None:
    imported = box.imports("create", *BOX, "echo")
    assert "imagetool.containers.folder" in imported
    assert not imported & {"ctypes", "ipaddress", "random", "platform", "imagetool.containers.prepare"}


def test_a_start_that_fails_gives_its_address_back(box: Cli) -> None:
    """It is reserved before there is anything that could be connected."""
    made = box("create", "--user", "nobody-here", "busybox", "true").strip()
    assert "unable to find user" in box.error("start", made)
    wait_until(lambda: traces(box, [made]) == [], 20, "all has gone")
    assert "unable to find user" in box.error("run", "--rm", "--user", "nobody-here", "busybox", "true")
    wait_until(lambda: not processes(box), 20, "all processes have gone")


def test_inspect_finds_containers_and_images(box: Cli) -> None:
    made = box("create", "--name", "one", "--label", "a=b", *BOX, "echo").strip()
    both = json.loads(box("inspect", "one", "busybox"))
    assert [row["Id"] == made for row in both] == [True, False]
    assert both[0]["Config"]["Labels"] == {"a": "b"}
    assert "SizeRw" not in both[0]
    assert box("inspect", "-s", "-f", "{{.SizeRw}} {{.State.Status}}", "one") == "0 created\n"
    assert json.loads(box("inspect", "/one"))[0]["Id"] == made
    assert box.run("inspect", "nobody", code=125).stderr == "Error: No such object: nobody\n"
    assert "No such image: one" in box.run("inspect", "--type", "image", "one", code=125).stderr
    assert (
        "No such container: busybox" in box.run("inspect", "--type", "container", "busybox", code=125).stderr
    )


def test_run_shows_the_streams_that_are_asked_for(box: Cli) -> None:
    script = ("sh", "-c", "read line; echo out $line; echo err >&2; exit 3")
    for streams, out, err in (
        ((), "out\n", "err\n"),
        (("stdout",), "out\n", ""),
        (("STDERR",), "", "err\n"),
        (("stdout", "stderr"), "out\n", "err\n"),
    ):
        words = [word for stream in streams for word in ("-a", stream)]
        done = box.run("run", "--rm", *words, *BOX, *script, code=3)
        assert (done.stdout, done.stderr) == (out, err)
    typed = box.run("run", "-ia", "stdin", "--name", "typed", *BOX, *script, code=3, text="word\n")
    assert (len(typed.stdout.strip()), typed.stderr) == (64, "")
    assert box.run("logs", "typed").stdout == "out word\n"
    assert "Conflicting options" in box.error("run", "-da", "stdout", *BOX, *script)
    assert "'output' is not one of" in box.error("run", "-a", "output", *BOX, *script)


def test_stats(box: Cli) -> None:
    assert len(box("stats", "--no-stream").splitlines()) == 1
    box("run", "-d", "--name", "busy", "-m", "64m", *BOX, *FOREVER)
    head, row = box("stats", "--no-stream").splitlines()
    assert re.split(r"\s{2,}", head) == [
        "CONTAINER ID", "NAME", "CPU %", "MEM USAGE / LIMIT", "MEM %", "NET I/O", "BLOCK I/O", "PIDS",
    ]  # fmt: skip
    assert re.fullmatch(r"[0-9a-f]{12}   busy +\d+\.\d\d% +\S+ / 64MiB +\d+\.\d\d% .* [12]", row), row
    assert box("stats", "--no-stream", "--format", "{{.Name}}", "busy") == "busy\n"
    assert "No such container" in box.error("stats", "--no-stream", "nobody")


def test_pause(box: Cli) -> None:
    count = "i=0; while :; do i=$((i+1)); echo $i > /n; busybox sleep 0.05; done"
    box("run", "-d", "--name", "pp", *BOX, "sh", "-c", count)
    wait_until(lambda: box("exec", "pp", "cat", "/n") > "1", 10, "the first numbers")
    assert box("pause", "pp") == "pp\n"
    assert re.search(r"Up .+ \(Paused\)", box("ps"))
    assert "is already paused" in box.error("pause", "pp")
    assert "is paused, unpause the container before exec" in box.error("exec", "pp", "echo")
    upper = Path(box("inspect", "-f", "{{.GraphDriver.Data.UpperDir}}", "pp").strip())
    before = (upper / "n").read_text()
    time.sleep(0.3)
    assert (upper / "n").read_text() == before
    assert box("ps", "-q", "--filter", "status=paused") != ""
    assert box("unpause", "pp") == "pp\n"
    wait_until(lambda: (upper / "n").read_text() not in ("", before), 10, "further numbers")
    box("pause", "pp")
    assert box("stop", "-t", "0", "pp") == "pp\n"
    assert "is not running" in box.error("pause", "pp")


def test_a_paused_container_can_be_removed(box: Cli) -> None:
    box("run", "-d", "--name", "pp", *BOX, *FOREVER)
    box("pause", "pp")
    assert box("rm", "-f", "pp") == "pp\n"


def test_update_changes_limits_and_the_policy(box: Cli) -> None:
    box("run", "-d", "--name", "uu", "-m", "64m", *BOX, *FOREVER)
    assert box("update", "-m", "128m", "--pids-limit", "50", "--restart", "on-failure:4", "uu") == "uu\n"
    shown = "{{.HostConfig.Memory}} {{.HostConfig.PidsLimit}} {{.HostConfig.RestartPolicy.MaximumRetryCount}}"
    assert box("inspect", "-f", shown, "uu") == f"{128 << 20} 50 4\n"
    assert " / 128MiB" in box("stats", "--no-stream", "uu")
    box("update", "-m", "32m", "uu")
    assert " / 32MiB" in box("stats", "--no-stream", "uu")
    box("restart", "-t", "1", "uu")
    assert " / 32MiB" in box("stats", "--no-stream", "uu")
    assert "nothing to change" in box.error("update", "uu")


def test_a_policy_that_comes_late_counts(box: Cli) -> None:
    box(
        "run",
        "-d",
        "--name",
        "uu",
        *BOX,
        "sh",
        "-c",
        "until busybox test -e /go; do busybox sleep 0.1; done; exit 3",
    )
    box("update", "--restart", "on-failure:2", "uu")
    box("exec", "uu", "busybox", "touch", "/go")
    assert box("wait", "uu") == "3\n"
    assert box("inspect", "-f", "{{.RestartCount}}", "uu") == "2\n"


def test_prune_removes_what_does_not_run(box: Cli) -> None:
    kept = box("run", "-d", *BOX, *FOREVER).strip()
    gone = [box("create", *BOX, "echo").strip(), box("create", "--label", "keep", *BOX, "echo").strip()]
    assert gone[1] in box("container", "prune", "-f", "--filter", "label=keep")
    assert f"Deleted Containers:\n{gone[0]}\n" in box("container", "prune", "-f")
    assert box("ps", "-aq", "--no-trunc").split() == [kept]
    assert "until=TIME" in box.error("container", "prune", "-f", "--filter", "name=x")


def test_rm_after_the_end_waits_for_the_monitor(box: Cli) -> None:
    for number in range(5):
        box("run", "-d", "--name", f"rm{number}", *BOX, "busybox", "sleep", "0.2")
        box("wait", f"rm{number}")
        assert box("rm", f"rm{number}") == f"rm{number}\n"


def test_export_has_the_changes_too(box: Cli) -> None:
    box("run", "--name", "ee", *BOX, "sh", "-c", "echo new > /n; busybox rm /bin/ls; busybox ln /n /hard")
    with tarfile.open(fileobj=io.BytesIO(box.raw("export", "ee"))) as tar:
        names = tar.getnames()
        assert {"n", "hard", "bin/busybox"} <= set(names)
        assert not {"bin/ls", "proc", "etc/hosts"} & set(names)
        assert tar.extractfile("n").read() == b"new\n"  # type: ignore[union-attr]
    box("export", "-o", "x.tar", "ee")
    box("import", "x.tar", "flat")
    assert box("run", "--rm", "--network", "none", "flat", "cat", "/hard") == "new\n"


def test_logs_since_and_until(box: Cli) -> None:
    box("run", "--name", "ll", *BOX, "sh", "-c", "echo one; busybox sleep 1.2; echo two")
    first, second = (line.split()[0] for line in box("logs", "-t", "ll").splitlines())
    assert box("logs", "--since", second, "ll") == "two\n"
    assert box("logs", "--until", first, "ll") == "one\n"
    assert box("logs", "--since", "1h", "ll") == "one\ntwo\n"
    assert "invalid time" in box.error("logs", "--since", "noon", "ll")


def test_top_takes_the_options_of_ps(box: Cli) -> None:
    box("run", "-d", "--name", "tt", *BOX, "busybox", "sleep", "60")
    assert box("top", "tt", "-eo", "pid,comm").split()[:2] == ["PID", "COMMAND"]
    assert "show no PID" in box.error("top", "tt", "-eo", "comm")


def test_switches_may_have_values(box: Cli) -> None:
    box("run", "--rm=false", "--name", "kept", *BOX, "echo")
    assert box("run", "--rm=true", *BOX, "echo", "--rm=false") == "--rm=false\n"
    assert box("ps", "-a", "--no-trunc=false", "--format", "{{.Names}}") == "kept\n"
    assert box("commit", "--pause=false", "kept").startswith("sha256:")


def test_exec_with_an_environment_file_and_all_rights(box: Cli) -> None:
    box("run", "-d", "--name", "xx", *BOX, *FOREVER)
    (box.folder / "vars").write_text("# two\nA=1\nB=2\n")
    assert box("exec", "--env-file", "vars", "-e", "B=3", "xx", "sh", "-c", "echo $A $B") == "1 3\n"
    rights = "busybox grep CapEff /proc/self/status"
    assert box("exec", "xx", "sh", "-c", rights) != box("exec", "--privileged", "xx", "sh", "-c", rights)
    box("exec", "-d", "xx", "sh", "-c", "echo done > /d")
    wait_until(lambda: "A /d" in box("diff", "xx"), 10, "what was left alone")
    assert box.error("exec", "xx", "nonesuch", code=127).endswith("'nonesuch' not found or does not exist.")
    box("exec", "xx", "sh", "-c", "exit 9", code=9)


def test_exec_by_way_of_pipes(box: Cli) -> None:
    """All that is typed comes back, an end is an end, and the process has nothing of the caller's."""
    box("run", "-d", "--name", "xx", *BOX, *FOREVER)
    typed = os.urandom(3_000_000).hex()
    assert box("exec", "-i", "xx", "cat", text=typed) == typed
    assert box("exec", "-i", "xx", "busybox", "head", "-c", "3", text=typed) == typed[:3]
    ends = "for n in 0 1 2; do busybox readlink /proc/self/fd/$n; done"
    kinds = box("exec", "xx", "sh", "-c", ends).splitlines()
    assert [kind.partition(":")[0] for kind in kinds] == ["/dev/null", "pipe", "pipe"]
    assert (
        box("exec", "xx", "sh", "-c", "busybox sleep 1000 & echo left") == "left\n"
    )  # nobody's child is waited for
    assert box("exec", "-u", "1234", "xx", "sh", "-c", "echo again > /dev/stdout") == "again\n"
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*PROGRAM, "exec", "xx", "busybox", "yes"], env=box.env, stdout=full, timeout=60
        )
    assert done.returncode not in (0, 125)


def test_the_home_of_exec_is_the_user_s_unless_somebody_chose_one(box: Cli) -> None:
    say = ("sh", "-c", "echo $HOME")
    box("run", "-d", "--name", "none", *BOX, *FOREVER)
    box("run", "-d", "--name", "chosen", "-e", "HOME=/mine", *BOX, *FOREVER)
    assert box("exec", "-u", "7", "none", *say) == "/\n"
    assert box("exec", "-u", "7", "-e", "HOME=/other", "none", *say) == "/other\n"
    assert box("exec", "-u", "7", "chosen", *say) == "/mine\n"


def test_who_ran_out_of_memory(box: Cli) -> None:
    script = "test -e /again && exit 0; echo > /again; x=1; while :; do x=$x$x; done"
    box("run", "--name", "mm", "-m", "16m", *BOX, "sh", "-c", script, code=137)
    shown = "{{.State.OOMKilled}} {{.State.ExitCode}}"
    assert box("inspect", "-f", shown, "mm") == "true 137\n"
    box("start", "-a", "mm")
    assert box("inspect", "-f", shown, "mm") == "false 0\n"


def test_hosts_name_servers_groups_and_labels(box: Cli) -> None:
    (box.folder / "labels").write_text("a=1\n\n# no\nb\n")
    run = ("run", "--rm", "--add-host", "db:10.9.8.7", "--dns", "9.9.9.9", "--group-add", "77")
    out = box(*run, *BOX, "sh", "-c", "cat /etc/hosts /etc/resolv.conf; busybox id -G")
    assert "10.9.8.7\tdb\n" in out
    assert out.endswith("nameserver 9.9.9.9\n0 77\n")
    box("create", "--name", "labels", "--label-file", "labels", "--label", "a=2", *BOX, "echo")
    assert json.loads(box("inspect", "-f", "{{json .Config.Labels}}", "labels")) == {"a": "2", "b": ""}
    assert box("ps", "-a", "--format", '{{.Names}}{{.Label "a"}}{{.Label "c"}}') == "labels2\n"
    assert "'x' is not an IP address" in box.error("run", "--dns", "x", *BOX, "echo")


def test_cidfile(box: Cli) -> None:
    made = box("run", "-d", "--cidfile", "cid", *BOX, "echo").strip()
    assert (box.folder / "cid").read_text() == made
    assert "container ID file found" in box.error("run", "--cidfile", "cid", *BOX, "echo")
    assert column(box, "ID", "--no-trunc") == made


def test_all_exposed_ports_are_published(box: Cli) -> None:
    serve = "busybox mkdir /w; echo served > /w/index.html; exec busybox httpd -f -p 80 -h /w"
    box("run", "-d", "--name", "web", "-P", "--expose", "80", "busybox", "sh", "-c", serve)
    address = box("port", "web", "80").strip()
    assert re.fullmatch(r"0\.0\.0\.0:\d+", address)

    assert fetched(int(address.rpartition(":")[2])) == "served\n"


def test_udp_is_published(box: Cli) -> None:
    echo = (
        "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('', 53))\n"
        "while True: s.sendto(*s.recvfrom(100))"
    )
    host = [word for path in ("/usr", "/lib", "/lib64") for word in ("-v", f"{path}:{path}:ro")]
    command = ("busybox", "/usr/bin/python3", "-c", echo)
    box("run", "-d", "--name", "udp", "-p", "127.0.0.1:0:53/udp", *host, *command)
    port = int(box("port", "udp", "53/udp").rpartition(":")[2])

    def answered() -> bool:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(1)
            client.sendto(b"ping", ("127.0.0.1", port))
            try:
                return client.recv(100) == b"ping"
            except OSError:
                return False

    wait_until(answered, 20, "the echo")


def test_a_failing_start_leaves_one_line(box: Cli) -> None:
    taken = box("create", "--name", "first", *BOX, "echo").strip()
    assert taken in box.error("create", "--name", "first", *BOX, "echo")
    for arguments, text in (
        (("--network", "nowhere"), "network nowhere not found"),
        (("-v", "x:y:z:w"), "invalid volume"),
        (("--mount", "type=bind,src=/nowhere,dst=/x"), "bind source path does not exist"),
        (("--mount", "type=volume,src=../../x,dst=/x"), "invalid volume name"),
        (("--ulimit", "x"), "invalid ulimit"),
        (("--cap-add", "FOO"), "unknown capability"),
        (("-u", "nobody2"), "unable to find user nobody2"),
        (("-w", "x"), "not an absolute path"),
        (("--runtime", "nonesuch"), "'nonesuch' is not installed"),
        (("--pull", "never", "nonesuch"), "No such image: nonesuch"),
        (("--sysctl", "kernel.hostname=x"), "is not one that the container has for itself"),
        (("--security-opt", "magic=1"), "unsupported security option"),
    ):
        assert text in box.error("run", "--rm", *arguments, "busybox", "echo"), arguments
    assert box("ps", "-aq", "--no-trunc").split() == [taken]
    assert not [name for name in os.listdir(box.root / "containers") if name != taken]


@pytest.mark.parametrize("count", [20])
def test_many_that_stay(box: Cli, count: int) -> None:
    made = [
        subprocess.Popen(
            [*PROGRAM, "run", "-d", *BOX, *FOREVER], stdout=subprocess.PIPE, text=True, env=box.env
        )
        for _ in range(count)
    ]
    ids = [each.communicate(timeout=100)[0].strip() for each in made]
    assert sorted(box("ps", "-q", "--no-trunc").split()) == sorted(ids)
    done = box.run("rm", "-f", ids[0], "nobody", *ids[1:])
    assert done.stdout.split() == ids
    assert done.stderr.startswith("Error: No such container: nobody")


def test_cp_in_all_forms(box: Cli) -> None:
    """Docker's table of sources and targets (docs: "docker container cp", extended description)."""
    box("run", "-d", "--name", "cc", *BOX, "sh", "-c", f"busybox mkdir -p /have/in; {FOREVER[2]}")
    wait_until(lambda: "A /have/in" in box("diff", "cc"), 10, "the directory")
    (box.folder / "file").write_text("text")
    (box.folder / "file").chmod(0o4775)
    (box.folder / "dir/sub").mkdir(parents=True)
    (box.folder / "dir/sub/leaf").write_text("leaf")
    (box.folder / "link").symlink_to("file")
    os.mkfifo(box.folder / "pipe")
    for source, target in (
        ("file", "/have"), ("file", "/have/other"), ("file", "/have/other"), ("file", "have/relative"),
        ("dir", "/have"), ("dir", "/new"), ("dir/.", "/have/in"), ("dir", "/new"), ("link", "/have"),
    ):  # fmt: skip
        box("cp", source, f"cc:{target}")
    box("cp", "-L", "link", "cc:/have/followed")
    box("cp", "-a", "-q", "file", "cc:/have/archived")
    look = (
        "cd /have; busybox find . /new | busybox sort; busybox stat -c %a%u file; test -L link && echo link"
    )
    shown = box("exec", "cc", "sh", "-c", f"{look}; cat followed").splitlines()
    wanted = [".", "./archived", "./dir", "./dir/sub", "./dir/sub/leaf", "./file", "./followed", "./in", "./in/sub",
              "./in/sub/leaf", "./link", "./other", "./relative", "/new", "/new/dir", "/new/dir/sub",
              "/new/dir/sub/leaf", "/new/sub", "/new/sub/leaf"]  # fmt: skip
    assert shown == [*wanted, "47750", "link", "text"]
    for source, target, text in (
        ("file", "cc:/nowhere/", "no such directory"), ("file", "cc:/nowhere/x", "no such directory"),
        ("dir", "cc:/have/file", "cannot copy a directory over the file"), ("missing", "cc:/", "no such file"),
        ("cc:/missing", "x", "No such file"), ("cc:/have/file", "pipe", "neither a file nor a directory"),
        ("file", "other", "one of the two must be a container's"), ("nobody:/x", "y", "No such container"),
    ):  # fmt: skip
        assert text in box.error("cp", source, target), (source, target)
    box("cp", "cc:/have/dir", "back")
    box("cp", "cc:/have/dir/.", "back")
    box("cp", "cc:/have/file", "back")
    assert sorted(path.relative_to(box.folder / "back").as_posix() for path in (box.folder / "back").rglob("*")) == [
        "file", "sub", "sub/leaf",
    ]  # fmt: skip
    assert (
        box.folder / "back/file"
    ).stat().st_mode & 0o7777 == 0o775  # nobody gets a setuid program by the way
    with tarfile.open(fileobj=io.BytesIO(box.raw("cp", "cc:/have/dir", "-"))) as tar:
        assert tar.getnames() == ["dir", "dir/sub", "dir/sub/leaf"]
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        entry = tarfile.TarInfo("from/tar")
        entry.uid, entry.size = 33, 4
        tar.addfile(entry, io.BytesIO(b"data"))
    box.raw("cp", "-", "cc:/have", data=buffer.getvalue())
    assert (
        box("exec", "cc", "sh", "-c", "cat /have/from/tar; busybox stat -c %u /have/from/tar") == "data33\n"
    )


def test_cp_to_a_link_goes_where_it_leads(box: Cli) -> None:
    (box.folder / "file").write_text("text")
    (box.folder / "real").write_text("old")
    for name, target in (("link", "real"), ("dangling", "made")):
        (box.folder / name).symlink_to(target)
    script = "echo old > /tmp/real; busybox ln -s real /tmp/link; busybox ln -s /tmp/made /tmp/dangling"
    box("run", "--name", "cc", *BOX, "sh", "-c", script)
    for name in ("link", "dangling"):
        box("cp", "file", f"cc:/tmp/{name}")
        box("cp", "cc:/tmp/real", name)
        assert (box.folder / name).is_symlink()
    assert [(box.folder / name).read_text() for name in ("real", "made")] == ["text", "text"]
    box("commit", "cc", "linked")
    script = "cd /tmp; cat real made; busybox readlink link; busybox readlink dangling"
    assert (
        box("run", "--rm", "--network", "none", "linked", "sh", "-c", script) == "texttextreal\n/tmp/made\n"
    )


def test_a_container_that_swaps_links_gains_nothing_from_cp(box: Cli) -> None:
    """Whatever a directory is when cp looks: in the container it stays in the container."""
    outside = box.folder / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    swap = (
        f"busybox mkdir /d /e; echo mine > /d/secret; busybox ln -s {outside} /l;"
        "while :; do busybox mv /d /e/d; busybox mv /l /d; busybox mv /d /l; busybox mv /e/d /d; done"
    )
    box("run", "-d", "--name", "swap", *BOX, "sh", "-c", swap)
    (box.folder / "planted").write_text("planted")

    def cp(source: str, target: str) -> None:
        done = subprocess.run([*PROGRAM, "cp", source, target], capture_output=True, env=box.env, cwd=box.folder,
                              timeout=60)  # fmt: skip
        assert done.returncode in (0, 125)

    def copies() -> set[str]:
        return {path.read_text() for path in box.folder.glob("copy*")}

    numbers = count()

    def copied_once() -> bool:
        cp("swap:/d/secret", f"copy{next(numbers)}")
        return bool(copies()) and next(numbers) > 20

    wait_until(copied_once, 60, "a copy of the container's own file")
    assert copies() == {"mine\n"}
    for _ in range(8):
        cp("planted", "swap:/d/planted")
    assert os.listdir(outside) == ["secret"]


def test_a_link_where_a_volume_goes_leads_nowhere_else(box: Cli) -> None:
    outside = box.folder / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    box("run", "--name", "ll", *BOX, "sh", "-c", f"busybox ln -s {outside} /data")
    box("commit", "ll", "linked")
    script = "busybox ls /data/; echo x > /data/f"
    assert box("run", "--rm", "--network", "none", "-v", "vol:/data", "linked", "sh", "-c", script) == ""
    assert os.listdir(outside) == ["secret"]
    assert os.listdir(box.root / "volumes/vol") == ["f"]
